"""The proof on arm64, with this machine in the emulator's place: every feature, every bound, every way to fail."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_sphereface
from benchmarks.__main__ import build_parser
from benchmarks.arm64 import commands, instructions, marked, models, report, smoke
from benchmarks.arm64.agreement import Agreement, compare
from benchmarks.arm64.runner import Job, Run, Runner
from benchmarks.emulation.debian import EmulationError
from benchmarks.emulation.emulator import Emulator, this_python
from edge_sphereface.cli.runner import run
from edge_sphereface.json_output import json_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the forms are made."""
    return tmp_path_factory.mktemp("arm64")


@pytest.fixture(scope="module")
def made(small_checkpoint, folder):
    """Every form of the narrow network."""
    return models.prepare(small_checkpoint, folder=folder)


PACKAGES = Path(edge_sphereface.__file__).parents[1]
"""Where the package is imported from: what an installed wheel is on a core."""


def call(capsys, *words):
    code = run(build_parser(), [str(word) for word in words])
    return code, capsys.readouterr()


@pytest.mark.slow
def test_every_feature_runs_and_agrees(made, folder, small_checkpoint, this_machine, capsys, tmp_path, require_schema):
    """On two processors, with this machine in the place of both. What passed does not run again."""
    (tmp_path / "x.whl").touch()
    output = tmp_path / "results"
    words = ["arm64", "--processors", "cortex-a72", "haswell", "--checkpoint", small_checkpoint, "--folder", folder]
    words += ["--wheel", tmp_path / "x.whl", "-o", output]
    arguments = build_parser().parse_args([str(word) for word in words])
    outcome = commands.run_arm64(arguments, this_machine)
    result = json.loads(json_text(outcome.result))
    require_schema("benchmarks arm64", result)
    assert outcome.passed
    assert result["passed"]
    core, other = result["processors"]
    assert [line["feature"] for line in core["features"]] == list(smoke.ALL_FEATURES)
    assert all(line["passed"] for line in core["features"])
    assert [line["feature"] for line in other["features"]] == ["imports", "int8 embedding"]
    assert result["here"]["passed"]
    found = core["agreement"]
    assert found["faces"] == [1, 1]
    assert found["landmark_px"] == found["crop_levels"] == found["similarity"] == 0
    assert found["float_error"] == {"plain": 0, "rewritten": 0, "winograd": 0}
    assert found["int8_identical"] == {"portable": 1, "arm64": 1, "x86-vnni": 1}
    assert {row["form"]: row["instructions"] for row in result["instructions"]} == {
        "plain": 1000,
        "rewritten": 250,
        "winograd": 250,
        "portable": 250,
        "arm64": 250,
    }
    assert result.keys() - {"environment"} == {
        "model", "crops", "wheel", "emulator", "release", "here", "int8_targets", "processors", "instructions",
        "occupied_mib", "passed",
    }  # fmt: skip
    assert list(core) == [
        "processor", "title", "versions", "doctor", "features", "agreement", "seconds", "problems", "passed",
    ]  # fmt: skip
    assert list(result["instructions"][0]) == ["processor", "form", "instructions"]
    assert json.loads((output / "arm64.json").read_text()) == result
    page = (output / "arm64.md").read_text()
    assert "1 of 1" in page
    assert "0 (0.25)" in page
    assert page.rstrip().endswith("PASSED")
    assert "cortex-a72   verify model" in capsys.readouterr().err
    again = json.loads(json_text(commands.run_arm64(arguments, this_machine).result))
    assert again.pop("environment")
    assert again.items() <= result.items()
    told = capsys.readouterr().err
    assert "cortex-a72   passed in an earlier run" in told
    assert "verify model" not in told


@pytest.mark.slow
@pytest.mark.checkout
def test_what_is_imported_is_the_installed_wheel(made, tmp_path):
    """And the first feature fails where the package comes from elsewhere, such as a checkout."""
    installed = Emulator(folder=tmp_path).install_here(smoke.build_wheel(tmp_path))
    job = replace(smoke.features_job(made, smoke.HERE, installed, tmp_path), features=("imports",))
    for packages, passed in ((installed, True), (None, False)):
        done = Runner(lambda _: None).features("x", this_python(packages), job)
        assert [line.passed for line in done.lines] == [passed]
        assert not done.died


def test_a_feature_that_fails_keeps_no_other_from_running(made, tmp_path):
    job = smoke.features_job(made, smoke.HERE, PACKAGES, tmp_path)
    job = replace(job, photo=tmp_path / "none.png", features=("detect", "info"))
    done = Runner(lambda _: None).features("x", this_python(PACKAGES), job)
    assert [line.passed for line in done.lines] == [False, True]
    assert "none.png" in done.errors["detect"]
    row = smoke.judged_row("cortex-a72", done, done, tmp_path, targets=["portable"])
    assert not row.passed
    assert "'detect' failed" in row.problems[0]


def test_a_process_that_dies_is_told_with_its_signal(tmp_path):
    """As onnxruntime 1.21.0 dies of an illegal instruction on a Cortex-A72."""
    script = 'import os, signal; print(\'{"feature": "imports", "passed": true, "seconds": 1, "detail": {}}\', '
    script += "flush=True); os.kill(os.getpid(), signal.SIGILL)"
    python = type("Dying", (), {"start": lambda _, __: start(script)})()
    job = Job(
        photo=tmp_path,
        mirrored=tmp_path,
        crops=tmp_path,
        floats={},
        int8={},
        features=("imports", "detect"),
        packages=tmp_path,
        output=tmp_path,
    )
    notes = []
    done = Runner(notes.append).features("cortex-a72", python, job)
    assert done.died.startswith("died of SIGILL at 'detect'")
    assert any("SIGILL" in note for note in notes)


def start(script):
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"faces": (1, 2)}, "2 faces are found instead of 1"),
        ({"landmark_px": 0.2}, "landmarks differ by 0.200 px"),
        ({"crop_levels": 2}, "pixels of crops differ by 2 levels"),
        ({"similarity": 0.01}, "the similarity of two photographs differs by 1.0e-02"),
        ({"float_error": {"plain": 2e-4}}, "float embeddings (plain) differ by 2.0e-04"),
        ({"float_error": {"plain": float("nan")}}, "float embeddings (plain) differ by nan"),
        ({"int8_cosine": {"arm64": 0.998}}, "INT8 embeddings (arm64) have a cosine of 0.998"),
        ({"int8_cosine": {"portable": 0.9993}}, "INT8 embeddings (portable)"),
    ],
)
def test_every_bound_is_judged(found, sentence):
    (problem,) = Agreement(**found).problems()
    assert sentence in problem


def test_what_is_within_bounds_is_no_problem():
    found = Agreement(
        faces=(2, 2),
        landmark_px=0.1,
        crop_levels=1,
        similarity=1e-4,
        float_error={"plain": 1e-5},
        int8_cosine={"arm64": 0.9991, "portable": 0.9996, "x86-vnni": 0.9},
    )
    assert list(found.problems()) == []
    assert list(Agreement(int8_cosine={"arm64": 0.9}).problems(targets=["portable"])) == []
    assert list(Agreement(crop_levels=2).problems(crops_judged=False)) == []


@pytest.mark.parametrize(
    ("machine", "flags", "targets"),
    [
        ("x86_64", {"avx2"}, ("portable",)),
        ("AMD64", set(), ("portable",)),
        ("x86_64", {"avx512_vnni"}, ("portable", "arm64", "x86-vnni")),
        ("aarch64", {"asimd"}, ("portable", "arm64", "x86-vnni")),
    ],
)
def test_a_machine_whose_sums_saturate_is_no_reference(machine, flags, targets):
    assert smoke.exact_targets(machine, frozenset(flags)) == targets


@pytest.mark.parametrize("name", ["cortex-a72", "haswell", smoke.HERE])
def test_what_this_machine_computes_wrongly_is_not_judged(name, tmp_path):
    """Nor what an x86-64 processor without VNNI does; 7-bit weights are judged everywhere."""
    for folder, sign in ((smoke.HERE, 1), (name, 1 if name == smoke.HERE else -1)):
        (tmp_path / folder).mkdir(exist_ok=True)
        for form in ("portable", "arm64"):
            np.save(tmp_path / folder / f"{form}.npy", np.array([[3.0, sign]]))
    done = Run(details={"int8 embedding": {"forms": ["portable", "arm64"]}})
    rows = [
        smoke.judged_row(name, done, done, tmp_path, targets=some) for some in (["portable"], ["portable", "arm64"])
    ]
    expected = {"cortex-a72": [1, 2], "haswell": [1, 1], smoke.HERE: [0, 0]}[name]
    assert [len(row.problems) for row in rows] == expected
    assert all("(portable)" in row.problems[0] for row in rows if row.problems)


def test_differences_are_measured(tmp_path):
    """A landmark, a pixel, a component and the direction of an embedding that are moved are found."""
    face = {"box": [0, 0, 9, 9], "landmarks": {"nose": [4.0, 5.0]}}
    moved = {"box": [0, 0, 9, 9.5], "landmarks": {"nose": [4.0, 5.25]}}
    here = {
        "detect": {"faces": [face]},
        "align": {"crops": [[[1, 2, 3]]]},
        "verify": {"similarity": 0.5},
        "float embedding": {"forms": ["plain"]},
        "int8 embedding": {"forms": ["arm64"]},
    }
    there = here | {"detect": {"faces": [moved]}, "align": {"crops": [[[1, 2, 6]]]}, "verify": {"similarity": 0.25}}
    folders = tmp_path / "here", tmp_path / "there"
    embeddings = np.eye(2, 4, dtype=np.float32)
    for folder, values in zip(folders, (embeddings, embeddings + [[0, 0.5, 0, 0], [0, 0, 0, 0]]), strict=True):
        folder.mkdir()
        for form in ("plain", "arm64"):
            np.save(folder / f"{form}.npy", values.astype(np.float32))
    found = compare(here, there, folders)
    assert found.landmark_px == 0.5
    assert found.crop_levels == 3
    assert found.similarity == 0.25
    assert found.float_error["plain"] == pytest.approx(0.5)
    assert found.int8_cosine["arm64"] == pytest.approx(1 / np.sqrt(1.25))
    assert found.int8_identical["arm64"] == 0.5
    assert compare(here, here | {"detect": {"faces": []}}, folders).faces == (1, 0)
    assert compare(here, {}, folders).faces is None


def test_models_are_made_once_for_the_same_code(small_checkpoint, made, folder):
    before = made.floats["plain"].stat().st_mtime_ns
    assert models.prepare(small_checkpoint, folder=folder).floats["plain"].stat().st_mtime_ns == before


@pytest.mark.parametrize("words", [["numpy"], ["torch==2"], ["numpy=="]])
def test_other_versions_are_checked(words, capsys):
    code, shown = call(capsys, "arm64", "--with", *words)
    assert code == 2
    assert "NAME==VERSION" in shown.err


def test_versions_default_to_those_here():
    found = commands.wanted_versions(["onnxruntime==1.20.0"])
    assert found["onnxruntime"] == "1.20.0"
    assert found["numpy"] == np.__version__


@pytest.mark.parametrize("option", ["--wheel", "--checkpoint"])
def test_a_file_that_is_not_there(capsys, tmp_path, option):
    code, shown = call(capsys, "arm64", option, tmp_path / "none")
    assert code == 2
    assert "There is no file" in shown.err


# --- counts ------------------------------------------------------------------------------------------------------

HARNESS = """
#include "instructions.c"
static void (*translate)(plugin_id, struct block *);
static void (*call)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                    uint64_t);
static void (*execute)(unsigned, void *);
static void *argument;
static void (*touch)(unsigned, uint32_t, uint64_t, void *);
static const uint32_t code[7] = {%(code)s};
size_t qemu_plugin_tb_n_insns(const struct block *block) { return *(const size_t *)block; }
struct instruction *qemu_plugin_tb_get_insn(const struct block *block, size_t number)
{ return (void)block, (struct instruction *)&code[number]; }
uintptr_t qemu_plugin_insn_data(const struct instruction *one, void *copy, size_t length)
{
#if PLUGIN_VERSION < 3
    return (void)copy, (void)length, (uintptr_t)one;
#else
    return memcpy(copy, one, length), length;
#endif
}
void qemu_plugin_register_vcpu_mem_cb(struct instruction *one, void (*f)(unsigned, uint32_t, uint64_t, void *),
    enum register_access r, enum memory_access a, void *data) { (void)one, (void)r, (void)a, (void)data; touch = f; }
unsigned qemu_plugin_mem_size_shift(uint32_t access) { return access & 15; }
bool qemu_plugin_mem_is_store(uint32_t access) { return access >> 4; }
static void load(uint64_t address) { if (touch) touch(0, 3, address, NULL); }
static void store(uint64_t address) { if (touch) touch(0, 19, address, NULL); }
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*f)(plugin_id, struct block *)) { translate = f; }
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *b, void (*f)(unsigned, void *), enum register_access r, void *a)
{ execute = f; argument = a; }
void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, void (*f)(plugin_id, unsigned, int64_t, uint64_t, uint64_t,
    uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t)) { call = f; }
int main(int argc, char **argv) {
    size_t block = 7;
    if (qemu_plugin_install(0, 0, argc - 1, argv + 1)) return 1;
    translate(0, (struct block *)&block);
    load(0); /* before the first mark: the caches do not run */
    call(0, 0, 141, MARK, 0, 0, 0, 0, 0, 0, 0);
    store(0);
    call(0, 0, 141, MARK, 0, 0, 0, 0, 0, 0, 0);
    for (int i = 0; i < 6; i++) execute(i %% 2, argument);
    for (int i = 0; i < 16; i++) load(i * 8); /* two lines, of which the caches have the first */
    load(1000 * 64 - 4);                      /* across two lines */
    load(2 * 64), load(4 * 64);               /* out of the first level's set: line 0, which is dirty, and line 2 */
    load(0);                                  /* in the second level */
    load(8 * 64), load(16 * 64), load(24 * 64), load(32 * 64), load(40 * 64); /* out of both levels, and to memory */
    call(0, 0, 141, 1, 0, 0, 0, 0, 0, 0, 0);
    call(0, 0, 141, MARK, 0, 0, 0, 0, 0, 0, 0);
    return 0;
}
"""
CODES = {
    "fmla v0.4s, v1.4s, v2.s[1]": 0x4FA21020,
    "fadd v0.4s, v1.4s, v2.4s": 0x4E22D420,
    "ldr q0, [x0]": 0x3DC00000,
    "ldr x0, [x1]": 0xF9400020,
    "prfm pldl1keep, [x0]": 0xF9800000,
    "add x0, x0, #1": 0x91000400,
    "ret": 0xD65F03C0,
}
MULTIPLY_ADDS = {
    "fmla v0.4s, v1.4s, v2.4s": 0x4E22CC20,
    "fmla v0.8h, v1.8h, v2.8h": 0x4E420C20,
    "fmla v0.8h, v1.8h, v2.h[1]": 0x4F121020,
    "fmls v0.4s, v1.4s, v2.s[0]": 0x4F825020,
    "sdot v0.4s, v1.16b, v2.16b": 0x4E829420,
    "udot v0.4s, v1.16b, v2.4b[0]": 0x6F82E020,
    "smmla v0.4s, v1.16b, v2.16b": 0x4E82A420,
}
OTHERS = {
    "fmul v0.4s, v1.4s, v2.4s": 0x6E22DC20,
    "fmul v0.4s, v1.4s, v2.s[0]": 0x4F829020,
    "facge v0.4s, v1.4s, v2.4s": 0x6E22EC20,
    "fmax v0.4s, v1.4s, v2.4s": 0x4E22F420,
    "zip1 v0.4s, v1.4s, v2.4s": 0x4E823820,
    "dup v0.4s, v1.s[0]": 0x4E040420,
    "sshll v0.8h, v1.8b, #0": 0x0F08A420,
}


def built_harness(folder, codes=CODES, interface=1):
    """The plugin in an emulator of a few lines, whose blocks have these seven instructions."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, which is not here")
    (folder / "harness.c").write_text(HARNESS % {"code": ", ".join(map(str, codes.values()))})
    words = [compiler, f"-DPLUGIN_VERSION={interface}", f"-I{instructions.SOURCE.parent}", folder / "harness.c"]
    subprocess.run([*words, "-o", folder / "harness"], check=True)
    return folder / "harness"


def test_the_plugin_counts_between_marks(tmp_path):
    """Six blocks of seven instructions on two threads, in an emulator that is a few lines."""
    program = built_harness(tmp_path)
    subprocess.run([program, f"output={tmp_path / 'counts'}"], check=True)
    counts = instructions.read_counts((tmp_path / "counts").read_text())
    assert counts == instructions.Counts(
        instructions=42, vector=12, multiply_adds=6, vector_memory=6, other_memory=12, traffic=None
    )
    assert subprocess.run([program], capture_output=True, check=False).returncode == 1


def test_the_plugin_models_caches(tmp_path):
    """Two ways of two sets below two ways of eight sets: what is loaded, missed at each level and written back."""
    output = tmp_path / "counts"
    subprocess.run([built_harness(tmp_path), f"output={output}", "caches=256:2+1024:2"], check=True)
    counts = instructions.read_counts(output.read_text(), levels=2)
    assert counts.traffic == instructions.Traffic(loaded_bytes=25 * 8, stored_bytes=0, misses=(11, 10), written_back=1)


@pytest.mark.parametrize("text", ["", "256", "256:0", "256:3", "100:1", "192:1", "256:2,512:2"])
def test_a_cache_that_cannot_be_is_refused(tmp_path, text):
    """Its sets are a power of two, and its lines have 64 bytes."""
    words = [built_harness(tmp_path), f"output={tmp_path / 'counts'}", f"caches={text}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected caches=BYTES:WAYS" in done.stderr


@pytest.mark.parametrize("interface", [1, 3])
def test_multiply_adds_are_told_from_other_arithmetic(tmp_path, interface):
    """By the code of the instruction, which the emulator returns or copies."""
    for codes, share in ((MULTIPLY_ADDS, 1), (OTHERS, 0)):
        output = tmp_path / "counts"
        subprocess.run([built_harness(tmp_path, codes, interface), f"output={output}"], check=True)
        counts = instructions.read_counts(output.read_text())
        assert (counts.vector, counts.multiply_adds) == (42, 42 * share)


def test_both_sides_know_the_mark():
    assert f"#define mark {marked.MARK:#x}u" in instructions.SOURCE.read_text().lower()


def test_an_inference_has_three_marks(made, tmp_path):
    """What counts is the second of two inferences: the difference of the last two of three marks."""

    class Marking:
        def run(self, words, plugin):
            assert words[0].endswith("marked.py")
            Path(plugin.split("output=")[1]).write_text("7 0 0 0 0\n100 0 0 0 0\n142 9 3 2 1\n")

    assert instructions.count(Marking(), Path("p.so"), made.floats["plain"], made.crops) == 42
    seen = []
    marked.main(str(made.floats["plain"]), str(made.crops), mark=lambda: seen.append(1))
    assert len(seen) == 3


def test_a_lost_mark_is_an_error(tmp_path):
    class Silent:
        def run(self, _, plugin):
            Path(plugin.split("output=")[1]).write_text("100 0 0 0 0\n")

    with pytest.raises(EmulationError, match="Expected three marks"):
        instructions.count(Silent(), Path("p.so"), Path("m.onnx"), Path("c.npy"))


def test_counts_need_a_compiler(programs, tmp_path):
    programs()
    with pytest.raises(EmulationError, match="C compiler"):
        instructions.build_plugin(Emulator(folder=tmp_path))


@pytest.mark.parametrize(("version", "interface"), [("7.2.22", 1), ("10.0.13", 2)])
def test_the_interface_follows_the_emulator(version, interface, programs, unpacked_emulator, tmp_path):
    """QEMU 9 and later load no plugins of interface 1."""
    programs(cc=f'echo "$@" > {tmp_path}/words')
    emulator = unpacked_emulator(f"echo qemu-aarch64 version {version}")
    assert version in instructions.build_plugin(emulator).name
    assert f"-DPLUGIN_VERSION={interface} " in (tmp_path / "words").read_text()


def test_a_table_is_aligned():
    lines = report.table(["a", "bb"], [["ccc", "d"]]).splitlines()
    assert lines == ["| a   | bb |", "| --- | -- |", "| ccc | d  |"]
