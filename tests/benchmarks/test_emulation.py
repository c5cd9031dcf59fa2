"""The emulator: what is downloaded, what a core says of itself, and the comparison of quantized models."""

import numpy as np
import pytest

from benchmarks.arm64 import models
from benchmarks.emulation import compare, debian, emulator
from benchmarks.emulation.debian import EmulationError
from benchmarks.emulation.emulator import Emulator
from benchmarks.emulation.processors import ARM64, PROCESSORS, cpuinfo, features
from edge_sphereface.cpu import read_cpuinfo
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from export.checkpoint.ckpt_writer import write_ckpt
from export.presets import Told
from export.untrained import untrained_parameters


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::edge_sphereface.model.quantization.ProcessorWarning")
def test_other_ways_to_avoid_saturation_are_the_same_weights(
    paired_models, portable_int8, vnni_int8, crops, this_machine
):
    """Here the emulator is this machine; rows for each processor and, of 8-bit models, for each variant."""
    models, processors = [portable_int8, vnni_int8], ["cortex-a72", "haswell"]
    rows = compare.compare(models, paired_models["image"], crops[:2], processors=processors, emulator=this_machine)
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
    assert "Cortex-A72" in compare.text(rows)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::edge_sphereface.model.quantization.ProcessorWarning")
def test_networks_of_other_crops(tmp_path, this_machine):
    """Another depth, crops of 112 x 112, RGB, another place of the addition: what the user tells reaches every form."""
    source, told = tmp_path / "x.ckpt", Told(color_order="RGB", pixel_scale=1 / 127.5, shortcut="before_activation")
    write_ckpt(
        source, untrained_parameters(pairs=(1, 0, 1, 0), widths=(4, 4, 4, 8), embedding_size=8, input_size=(112, 112))
    )
    made = models.prepare(source, folder=tmp_path, told=told)
    assert "SphereFace-8 (1-0-1-0)" in made.name
    crops = np.load(made.crops)
    assert crops.shape == (made.count, 112, 112, 3)
    plain = Embedder(made.floats["plain"], provider="cpu")
    assert all(path.is_file() for path in made.int8.values())
    for path in (*made.floats.values(), made.int8["portable"]):  # others are for other processors
        embedder = Embedder(path, provider="cpu")
        assert embedder.fingerprint.shortcut == "before_activation"
        assert embedder.spec.crop_shape == (112, 112, 3)
        assert agreement(plain.forward(crops), embedder.forward(crops)).min_cosine > 0.95
    rows = compare.compare(
        [made.int8["portable"]], made.floats["plain"], crops[:2], processors=["cortex-a72"], emulator=this_machine
    )
    assert [row.figures.identical for row in rows] == [1, 1]


def test_a_process_that_dies_is_told(tmp_path):
    with pytest.raises(EmulationError, match="ended with 2"):
        emulator.this_python().run([str(tmp_path / "none.py")])


def test_emulation_needs_debian(programs, tmp_path):
    programs()
    with pytest.raises(EmulationError, match="apt-get and dpkg"):
        debian.unpack_packages(["qemu-user"], tmp_path / "qemu")
    with pytest.raises(EmulationError, match="Debian"):
        Emulator(folder=tmp_path).system()
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_fails_is_told(programs, tmp_path):
    programs(apt_get="echo E: no network >&2; exit 100", dpkg="echo amd64")
    with pytest.raises(EmulationError, match="no network"):
        Emulator(folder=tmp_path).python(PROCESSORS["cortex-a72"])
    assert list(tmp_path.iterdir()) == []


DOWNLOAD = """
for word; do case $word in Dir::Cache=*) archives=${word#*=}/archives;; esac; done
case "$*" in *install*) echo > $archives/a.deb; echo > $archives/b.deb;; esac
"""
"""apt-get that downloads two packages."""


def test_what_was_broken_off_is_not_taken_for_whole(programs, tmp_path):
    """A root without its last package must not stay in the place of a whole one."""
    programs(apt_get=DOWNLOAD, dpkg="case $2 in *b.deb) echo no space >&2; exit 1;; esac")
    with pytest.raises(EmulationError, match="no space"):
        debian.unpack_packages(["python3"], tmp_path / "root", architecture="arm64")
    assert list(tmp_path.iterdir()) == []


def test_a_release_has_sources_of_its_own(programs, tmp_path):
    """Packages of another release than this machine's never come from this machine's sources."""
    seen = tmp_path / "seen"
    show = "for word; do case $word in Dir::Etc::sourcelist=*) read line < ${word#*=}; echo $line;; esac; done"
    programs(apt_get=f"{{ {show}; echo $*; }} >> {seen}", dpkg="exit 0")
    debian.unpack_packages(["python3"], tmp_path / "root", architecture="arm64", release="trixie")
    sources, words = seen.read_text().splitlines()[:2]
    assert sources.endswith("trixie main")
    assert "Dir::Etc::sourceparts=/dev/null" in words
    assert "APT::Architecture=arm64" in words
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


def test_links_make_a_core_of_a_system(tmp_path, unpacked_emulator):
    """Cores share one system and differ in /proc alone, so that they can run at the same time."""
    system = tmp_path / "arm64"
    (system / "usr" / "bin").mkdir(parents=True)
    (system / "usr" / "bin" / "python3.11").touch()
    (system / "lib").symlink_to("usr/lib")
    unpacked = unpacked_emulator(f"echo {1 << 20} 0")
    words = {name: unpacked.python(PROCESSORS[name]).words for name in ("cortex-a53", "cortex-a76")}
    loader = next(tmp_path.glob("qemu/lib/*/ld-linux-x86-64.so.2"))
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
        Emulator(folder=tmp_path).install_here(wheel)
    assert len(calls) == 2
