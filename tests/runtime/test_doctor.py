"""The doctor, on faked machines."""

import sys
import tempfile
from dataclasses import replace
from importlib import metadata

import pytest

from edge_sphereface.detection.mtcnn import WEIGHTS_PACKAGE
from edge_sphereface.doctor import checks, examine, machine, render
from edge_sphereface.doctor.machine import Machine, read_machine
from edge_sphereface.inference.session import SessionConfig


@pytest.fixture
def pi():
    """A healthy Raspberry Pi 5."""
    return Machine(
        python="3.11.2",
        system="linux",
        processor="aarch64",
        pointer_bits=64,
        cpu_model="Raspberry Pi 5 Model B Rev 1.0",
        cpu_flags=frozenset({"fp", "asimd", "asimddp"}),
        memory_mib=8049,
        affinity_cpus=4,
        cgroup_cpus=None,
        usable_cpus=4,
        wheels={"onnxruntime": "1.32.0", "opencv-python-headless": "5.0.0.93", "numpy": "2.4.6"},
        providers=("CPUExecutionProvider",),
        onnxruntime_error="",
        accelerators=(),
    )


def test_a_healthy_machine(pi, lasting_cache):
    report = examine(machine=pi)
    assert report.fit
    assert {finding.status for finding in report.findings} == {"ok"}
    assert "This machine is fit. 12 ok, 0 warnings, 0 failures" in render(report)


def test_every_finding_that_is_not_ok_says_what_to_do(pi):
    sick = replace(
        pi,
        python="3.9.1",
        processor="armv7l",
        pointer_bits=32,
        memory_mib=256,
        cgroup_cpus=1.0,
        usable_cpus=1,
        wheels={},
        providers=(),
        onnxruntime_error="onnxruntime cannot be imported",
        accelerators=("NVIDIA GPU",),
    )
    report = examine(machine=sick, threads=8)
    assert not report.fit
    for finding in report.findings:
        assert finding.status == "ok" or finding.action, finding
    assert "NOT fit" in render(report)


@pytest.mark.parametrize(
    ("version", "flags", "processor", "status"),
    [
        ("1.21.0", set(), "aarch64", "fail"),
        ("1.21.0", {"asimddp"}, "aarch64", "warn"),
        ("1.21.0", set(), "x86_64", "ok"),
        ("1.21.1", set(), "aarch64", "ok"),
        ("1.23.2", set(), "aarch64", "ok"),
        ("1.24.0", set(), "aarch64", "warn"),
        ("1.25.1", set(), "arm64", "warn"),
        ("1.26.0", set(), "aarch64", "warn"),
        ("1.26.0", set(), "x86_64", "ok"),
        ("1.27.0", set(), "aarch64", "ok"),
        ("1.32.0", set(), "aarch64", "ok"),
    ],
)
def test_known_bad_onnxruntime(pi, version, flags, processor, status):
    wheels = {**pi.wheels, "onnxruntime": version}
    finding = checks.check_onnxruntime(replace(pi, wheels=wheels, cpu_flags=frozenset(flags), processor=processor))
    assert finding.status == status
    assert status == "ok" or "1.27" in finding.action


@pytest.mark.parametrize(
    ("wheels", "status", "words"),
    [
        (
            {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.1"},
            "fail",
            "pip uninstall -y onnxruntime onnxruntime-gpu",
        ),
        ({"onnxruntime-gpu": "1.31.1"}, "ok", ""),
        ({}, "ok", ""),
    ],
)
def test_onnxruntime_wheels(pi, wheels, status, words):
    finding = checks.check_onnxruntime(replace(pi, wheels=wheels))
    assert finding.status == status
    assert words in finding.action


@pytest.mark.parametrize(
    ("wheels", "status"),
    [
        ({"opencv-python-headless": "5.0.0.93"}, "ok"),
        ({"opencv-python": "4.10.0.84"}, "ok"),
        ({"opencv-python-headless": "4.8.1.78"}, "ok"),
        ({"opencv-python-headless": "4.8.0.76"}, "fail"),
        ({"opencv-python-headless": "5.0.0.93", "opencv-python": "4.10.0.84"}, "fail"),
    ],
)
def test_opencv_wheels(pi, wheels, status):
    assert checks.check_opencv(replace(pi, wheels=wheels)).status == status


def test_opencv_built_by_hand_or_missing(pi, monkeypatch):
    assert checks.check_opencv(replace(pi, wheels={})).status == "warn"
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert checks.check_opencv(replace(pi, wheels={})).status == "fail"


@pytest.mark.parametrize(
    ("processor", "bits", "status"),
    [
        ("armv7l", 32, "fail"),
        ("armv6l", 32, "fail"),
        ("aarch64", 32, "fail"),
        ("aarch64", 64, "ok"),
        ("x86_64", 64, "ok"),
    ],
)
def test_32_bit_arm(pi, processor, bits, status):
    finding = checks.check_architecture(
        replace(pi, processor=processor, pointer_bits=bits, onnxruntime_error="cannot be imported")
    )
    assert finding.status == status
    assert status == "ok" or "64-bit Raspberry Pi OS" in finding.action


def test_threads_against_cgroup(pi):
    limited = replace(pi, cgroup_cpus=1.5, usable_cpus=2)
    assert checks.check_threads(limited, 4).status == "warn"
    assert "use 2, the default" in checks.check_threads(limited, 4).action
    assert checks.check_threads(limited, 2).status == "ok"
    assert "cgroup limit 1.5" in checks.check_threads(limited, None).message


def test_an_accelerator_that_is_not_used(pi):
    jetson = replace(pi, accelerators=("NVIDIA GPU",))
    assert checks.check_providers(jetson).status == "warn"
    assert checks.check_providers(replace(jetson, providers=("CUDAExecutionProvider",))).status == "ok"
    assert checks.check_providers(replace(pi, accelerators=("Ascend NPU",))).status == "warn"


def test_a_cache_among_temporary_files(monkeypatch):
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", tempfile.gettempdir() + "/edge")
    finding = checks.check_cache()
    assert (finding.status, "EDGE_SPHEREFACE_HOME" in finding.action) == ("warn", True)


@pytest.fixture
def lasting_cache(monkeypatch, tmp_path):
    """A cache that the check does not take for a temporary folder, though pytest keeps it there."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/nowhere")
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_caches_files_with_their_hashes(lasting_cache):
    assert "empty" in checks.check_cache().message
    (lasting_cache / "models").mkdir(parents=True)
    (lasting_cache / "models" / "x").write_bytes(b"")
    assert (
        "models/x SHA-256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        in checks.check_cache().message
    )


def test_a_cache_that_cannot_be_written(lasting_cache, monkeypatch):
    monkeypatch.setattr(checks.os, "access", lambda *_: False)
    assert checks.check_cache().status == "warn"


def test_detectors(lasting_cache, monkeypatch):
    assert checks.check_detectors().message.startswith("MTCNN; auto chooses mtcnn, MTCNN: ")
    damaged = lasting_cache / "detectors" / checks.YUNET.name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    assert checks.check_detectors().status == "fail"
    damaged.unlink()
    monkeypatch.setitem(sys.modules, WEIGHTS_PACKAGE, None)
    assert checks.check_detectors().status == "warn"


def test_models(small_model, tmp_path):
    good = checks.check_model(small_model)
    assert (good.status, "SHA-256" in good.message) == ("ok", True)
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(small_model.read_bytes())
    assert checks.check_model(alone).status == "warn"
    assert checks.check_model(tmp_path / "no.onnx").status == "fail"
    alone.write_bytes(b"rubbish")
    assert checks.check_model(alone).status == "fail"


def test_offline_readiness(monkeypatch):
    ok = checks.Finding(check="detectors", status="ok", message="")
    bad = checks.Finding(check="detectors", status="warn", message="", action="fetch")
    no_model = checks.Finding(check="model", status="fail", message="", action="convert")
    assert checks.check_offline(ok, ok).status == "ok"
    assert checks.check_offline(bad, ok).status == "warn"
    monkeypatch.setenv("EDGE_SPHEREFACE_OFFLINE", "1")
    assert checks.check_offline(ok, ok).status == "ok"
    finding = checks.check_offline(bad, no_model)
    assert finding.status == "fail"
    assert "detectors and model" in finding.message


def test_facts_from_proc(tmp_path, monkeypatch):
    for name, text in {
        "proc/cpuinfo": "processor : 0\nFeatures : fp asimd asimddp\nModel : Raspberry Pi 4\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/meminfo": "MemTotal:        3884528 kB\nMemFree: 1 kB\n",
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
        "dev/davinci0": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    versions = {"onnxruntime": "1.21.0", "opencv-python": "4.9.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(machine.metadata, "version", version)
    facts = read_machine(tmp_path)
    assert facts.cpu_model == "Raspberry Pi 4 Model B Rev 1.4"
    assert facts.cpu_flags == {"fp", "asimd", "asimddp"}
    assert facts.memory_mib == 3793
    assert facts.cgroup_cpus == 2
    assert facts.wheels == versions
    assert facts.accelerators == ("Ascend NPU",)


def test_an_empty_root_is_no_crash(tmp_path):
    facts = read_machine(tmp_path)
    assert (facts.memory_mib, facts.cpu_model, facts.accelerators) == (None, "", ())


def test_without_onnxruntime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = examine()
    assert not report.fit
    assert "cannot be imported" in render(report)


def test_the_threads_it_names_are_the_default(small_model):
    from edge_sphereface.cpu import usable_cpus
    from edge_sphereface.inference.embedder import Embedder

    assert (
        Embedder(small_model, session=SessionConfig()).provider.threads == usable_cpus() == read_machine().usable_cpus
    )


def test_a_32_bit_system_whose_own_packages_serve(pi):
    """Debian has onnxruntime for armhf, though PyPI has not: that is a drawback and no fault."""
    assert checks.check_architecture(replace(pi, processor="armv7l", pointer_bits=32)).status == "warn"


def test_telemetry_without_onnxruntime(pi):
    finding = checks.check_telemetry(replace(pi, wheels={}, onnxruntime_error="No module"), loaded_before=False)
    assert (finding.status, finding.message) == ("ok", "none: onnxruntime cannot be imported")


@pytest.mark.parametrize(
    ("wheels", "status"),
    [({"onnxruntime": "1.32.0"}, "warn"), ({"onnxruntime-gpu": "1.29.0"}, "warn"), ({"onnxruntime": "1.28.0"}, "ok")],
)
def test_telemetry_of_an_onnxruntime_that_was_loaded_before(pi, wheels, status):
    finding = checks.check_telemetry(replace(pi, wheels=wheels), loaded_before=True)
    assert finding.status == status
    assert checks.check_telemetry(replace(pi, wheels=wheels), loaded_before=False).status == "ok"
    if status == "warn":
        assert "ORT_DISABLE_TELEMETRY=1" in finding.action
