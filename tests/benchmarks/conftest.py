"""Quantized models, rows of contenders, programs on the path, and this machine in the place of an emulated one."""

import os
from pathlib import Path

import onnx
import pytest

import edge_sphereface
from benchmarks.case_row import CaseRow, Failure, FormRow, Measurement
from benchmarks.emulation.emulator import EmulatedPython, Emulator, this_python
from benchmarks.quantization import derived
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.evaluation.timing import LatencySummary
from export.quantization.quantize import QuantizationOptions, quantize


@pytest.fixture(scope="session")
def int8_model(paired_models, crop_folder, made_once):
    """A function that gives a narrow model, quantized for a target."""

    def give(target):
        def make(folder):
            options = QuantizationOptions(policy=derived.NO_BOUNDS, target=target, plan=Plan(rounds=5, per_round=1))
            onnx.save(quantize(paired_models["image"], crop_folder, options).model, folder / f"{target}.onnx")

        return made_once(target, make) / f"{target}.onnx"

    return give


@pytest.fixture(scope="session")
def portable_int8(int8_model):
    """A narrow model quantized for any processor."""
    return int8_model("portable")


@pytest.fixture(scope="session")
def vnni_int8(int8_model):
    """A narrow model quantized for x86 processors with VNNI."""
    return int8_model("x86-vnni")


@pytest.fixture
def programs(tmp_path_factory, monkeypatch):
    """A function that makes shell scripts the only programs on the path: by name, the script."""

    def install(**scripts):
        folder = tmp_path_factory.mktemp("programs")
        for name, script in scripts.items():
            write_program(folder / name.replace("_", "-"), script)
        monkeypatch.setenv("PATH", str(folder))
        return folder

    return install


def write_program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def unpacked_emulator(tmp_path):
    """A function that makes the folder of an emulator, whose program is a shell script."""

    def unpack(script):
        loader = tmp_path / "qemu" / "lib" / "x86_64-linux-gnu" / "ld-linux-x86-64.so.2"
        loader.parent.mkdir(parents=True, exist_ok=True)
        write_program(loader, script)
        program = tmp_path / "qemu" / "usr" / "bin" / "qemu-aarch64"
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch()
        return Emulator(folder=tmp_path)

    return unpack


class CountedPython(EmulatedPython):
    """This Python, with counts in the place of the plugin's: 1000 instructions of the plain form, 250 of others.

    With caches it runs the program, and each level misses ten lines, one of which is written back.
    """

    def run(self, arguments, plugin=""):
        if not plugin:
            return super().run(arguments)
        output, _, caches = plugin.split("output=")[1].partition(",caches=")
        if caches:
            super().run(arguments)
            levels = " 10" * len(caches.split("+"))
            lines = [f"0 0 0 0 0 0 0 0{' 0' * len(caches.split('+'))}"] * 2 + [f"500 300 200 100 50 6400 640 1{levels}"]
            Path(output).write_text("\n".join(lines))
            return ""
        count = 1000 if Path(arguments[1]).stem == "plain" else 250
        lines = [f"{sum_} 0 0 0 0" for sum_ in (0, 42, 42 + count)]
        Path(output).write_text("\n".join(lines))
        return ""


class ThisMachine(Emulator):
    """An emulator that downloads nothing: every emulated Python is this one, with this package."""

    def python(self, _, *, packages=None):
        here = this_python(packages)
        return CountedPython(here.words, here.variables)

    def version(self):
        return "1.2.3"

    def install(self, requirements, *, alone=(), name=""):
        del requirements, alone, name
        return Path(edge_sphereface.__file__).parents[1]

    def install_here(self, wheel):
        return self.install([wheel])

    def occupied_mib(self):
        return {"arm64": 71.0}


@pytest.fixture
def this_machine(tmp_path, monkeypatch):
    """This machine in the place of emulated ones, with a C compiler that makes nothing."""
    tools = tmp_path / "tools"
    tools.mkdir()
    write_program(tools / "cc", "exit 0")
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return ThisMachine(folder=tmp_path)


@pytest.fixture(scope="session")
def case_row():
    """A function that makes a row: of this median latency, or of a contender that failed."""

    def make(ms=None, *, error="", label="x", model="x.onnx", threads=1, batch=1):
        measured = ms and Measurement(
            version="1",
            load_ms=1.0,
            first_ms=1.0,
            peak_rss_mib=None,
            latency=LatencySummary(samples=2, min_ms=ms, median_ms=ms, p95_ms=ms, p99_ms=ms),
            median_ms_per_face=ms,
            max_abs_error=0.0,
            min_cosine=1.0,
            correct=True,
            samples_ms=(ms, ms),
            starts=1,
            start_samples=(2,),
        )
        return CaseRow(
            label=label,
            contender="edge",
            settings="x",
            graph="",
            model=model,
            precision="float32",
            threads=threads,
            batch=batch,
            provider="cpu",
            measured=measured,
            failure=Failure(error=error) if error else None,
        )

    return make


@pytest.fixture(scope="session")
def form_rows(case_row):
    """A function that makes a row for each form of this median latency."""

    def make(threads=1, **times):
        return tuple(
            FormRow(form=form, row=case_row(float(ms), threads=threads, batch=8 if form == "tuned_batch" else 1))
            for form, ms in times.items()
        )

    return make
