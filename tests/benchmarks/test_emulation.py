"""The emulator: what is downloaded, what a core says of itself, and the comparison of quantized models."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.emulation import compare, debian, emulator
from benchmarks.emulation.debian import EmulationError
from benchmarks.emulation.processors import ARM64, PROCESSORS, cpuinfo, features
from edge_sphereface.cpu import read_cpuinfo


@pytest.mark.slow
def test_other_ways_to_avoid_saturation_are_the_same_weights(
    shallow_models, portable_int8, vnni_int8, crops, monkeypatch
):
    """Here the emulator is this machine; rows for each processor and, of 8-bit models, for each variant."""
    seen = []

    def here(processor, model, folder, settings):
        seen.append((processor.qemu, settings))
        return compare._run_here(model, folder, settings)

    monkeypatch.setattr(compare, "_run_emulated", here)
    models = [portable_int8, vnni_int8]
    rows = compare.compare(models, shallow_models["image"], crops[:2], processors=["cortex-a72", "haswell"])
    assert len(rows) == 3 * (1 + 3)
    assert {row.variant for row in rows if row.weight_bits == 8} == {
        "as it is",
        "unsigned weights",
        "session.x64quantprecision=1",
    }
    assert all(row.figures.identical == 1 for row in rows)
    assert all(row.figures.cosine_min == pytest.approx(1) for row in rows)
    assert all((row.median_ms is None) == (row.processor != "this machine") for row in rows)
    by_variant = {row.variant: row.figures.to_float_min for row in rows if row.weight_bits == 8}
    assert by_variant["unsigned weights"] == pytest.approx(by_variant["session.x64quantprecision=1"], abs=1e-6)
    assert ("cortex-a72", []) in seen
    assert "Cortex-A72" in compare.text(rows)


def test_a_process_that_dies_is_told(portable_int8, tmp_path):
    (tmp_path / "batch.npy").write_bytes(b"no array")
    with pytest.raises(EmulationError, match="ended with 1"):
        compare._run_here(portable_int8, tmp_path, [])


def test_emulation_needs_debian(tmp_path, monkeypatch):
    monkeypatch.setattr(debian.shutil, "which", lambda _: None)
    with pytest.raises(EmulationError, match="apt-get and dpkg"):
        debian.unpack_packages(["qemu-user"], tmp_path / "qemu")
    with pytest.raises(EmulationError, match="Debian"):
        emulator.arm64_system(folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_fails_is_told(tmp_path, monkeypatch):
    answer = SimpleNamespace(returncode=100, stderr="E: no network", stdout="")
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    monkeypatch.setattr(debian.subprocess, "run", lambda *_, **__: answer)
    with pytest.raises(EmulationError, match="no network"):
        emulator.emulated_python(PROCESSORS["cortex-a72"], folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_broken_off_is_not_taken_for_whole(tmp_path, monkeypatch):
    """A root without its last package must not stay in the place of a whole one."""

    def run_tool(words):
        if "install" in words:
            archives = tmp_path.glob("*/cache/archives").__next__()
            for name in ("a.deb", "b.deb"):
                (archives / name).touch()
        if words[-2].endswith("b.deb"):
            raise KeyboardInterrupt
        return "amd64"

    monkeypatch.setattr(debian, "run_tool", run_tool)
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    with pytest.raises(KeyboardInterrupt):
        debian.unpack_packages(["python3"], tmp_path / "root", architecture="arm64")
    assert list(tmp_path.iterdir()) == []


def test_a_release_has_sources_of_its_own(tmp_path, monkeypatch):
    """Packages of another release than this machine's never come from this machine's sources."""
    seen = []

    def run_tool(words):
        seen.append(words)
        sources = next((word.split("=", 1)[1] for word in words if word.startswith("Dir::Etc::sourcelist")), None)
        if sources:
            seen.append(Path(sources).read_text())
        return ""

    monkeypatch.setattr(debian, "run_tool", run_tool)
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    debian.unpack_packages(["python3"], tmp_path / "root", architecture="arm64", release="trixie")
    assert any("trixie main" in line for line in seen if isinstance(line, str))
    assert "Dir::Etc::sourceparts=/dev/null" in seen[0]
    assert "APT::Architecture=arm64" in seen[0]
    assert (tmp_path / "root" / "lib").is_symlink()


@pytest.mark.parametrize("name", [name for name, core in PROCESSORS.items() if core.machine == ARM64])
def test_a_core_says_what_it_is(name, tmp_path):
    """The file that onnxruntime reads at import: the runtime's own reader finds the features in it."""
    (tmp_path / "proc").mkdir()
    dot_product = 1 << 20
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo(PROCESSORS[name], 0b11 | dot_product, 1 << 13, 2))
    _, flags = read_cpuinfo(tmp_path)
    assert flags == {"fp", "asimd", "asimddp", "i8mm"}


def test_features_follow_the_kernel():
    """Bits of a Raspberry Pi 4's and 5's own AT_HWCAP, as their kernels announce them."""
    assert features(0x8FF & ~0x78, 0) == ["fp", "asimd", "evtstrm", "crc32", "cpuid"]
    assert "asimddp" in features(1 << 20 | 1, 0)
    assert features(0, 1 << 13 | 1 << 23) == ["i8mm", "sme"]


def test_links_make_a_core_of_a_system(tmp_path, monkeypatch):
    """Cores share one system and differ in /proc alone, so that they can run at the same time."""
    system = tmp_path / "arm64"
    (system / "usr" / "bin").mkdir(parents=True)
    (system / "usr" / "bin" / "python3.11").touch()
    (system / "lib").symlink_to("usr/lib")
    loader = tmp_path / "qemu" / "lib" / "x86_64-linux-gnu" / "ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    loader.touch()
    (tmp_path / "qemu" / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "qemu" / "usr" / "bin" / "qemu-aarch64").touch()
    monkeypatch.setattr(emulator, "run_tool", lambda _: f"{1 << 20} 0")
    words = {
        name: emulator.emulated_python(PROCESSORS[name], folder=tmp_path).words for name in ("cortex-a53", "cortex-a76")
    }
    assert words["cortex-a76"][0] == str(loader)
    assert words["cortex-a76"][words["cortex-a76"].index("-cpu") + 1] == "cortex-a76"
    roots = [tmp_path / "arm64.cortex-a53", tmp_path / "arm64.cortex-a76"]
    for root in roots:
        assert str(root) in words[root.name.split(".")[1]]
        assert (root / "usr" / "bin" / "python3.11").is_file()
    assert (roots[0] / "proc" / "cpuinfo").read_text() != (roots[1] / "proc" / "cpuinfo").read_text()


def test_packages_are_installed_once(tmp_path, monkeypatch):
    """And again when a version or the wheel itself has changed."""
    calls = []
    monkeypatch.setattr(emulator, "run_tool", lambda words: calls.append(words) or "")
    wheel = tmp_path / "x-1-py3-none-any.whl"
    wheel.write_bytes(b"one")
    for content in (b"one", b"one", b"two"):
        wheel.write_bytes(content)
        emulator.install_here(wheel, folder=tmp_path)
    assert len(calls) == 2
