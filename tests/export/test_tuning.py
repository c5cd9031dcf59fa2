"""Tuning: stages are measured apart, combinations together, and only what is proven is written."""

import json
import shutil

import pytest

from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.evaluation.model_selection import Setting
from edge_sphereface.evaluation.timing import Deadline
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path
from export.plain import open_plain
from export.rewrite.fast import rewrite
from export.rewrite.tile import StageForm, read_stages
from export.tuning import search
from export.tuning.near_exact import LEAST_COSINE, make_near_exact
from export.tuning.search import Candidates, combinations, measure_stages

FAST, LARGE = StageForm.parse("2x2"), StageForm.parse("4x4w")
FEW = Candidates(ways=("w", "ps"), sizes=("2x2", "4x4"), first=("3x3",))


@pytest.fixture
def few_tiles(monkeypatch):
    monkeypatch.setattr(search, "CANDIDATES", FEW)


def test_every_stage_is_measured_by_itself(small_model, few_tiles):
    _, plain = open_plain(small_model, "cpu")
    told = []
    times = measure_stages(
        plain, Setting(threads=1), batch=2, rounds=3, reporter=lambda what: told.append(what) or (lambda *_: None)
    )
    assert list(times) == [1, 2, 3, 4]
    for ways in times.values():
        assert {StageForm(), *map(StageForm.parse, ("2x2w", "2x2ps", "4x4w", "4x4ps"))} <= set(ways)
        assert all(median > 0 for median in ways.values())
    assert told[:2] == ["stage 1, forms: 3, 1 thread", "stage 1, forms: 1, 1 thread"]


def test_a_stage_that_runs_out_of_time_keeps_its_direct_form(small_model):
    """Each stage takes an equal share of the time; what was tried until then is compared."""
    _, plain = open_plain(small_model, "cpu")
    now = iter(range(1000))
    deadline = Deadline(20, lambda: next(now))
    times = measure_stages(
        plain,
        Setting(threads=1),
        batch=1,
        rounds=2,
        reporter=lambda _: lambda *_: None,
        candidates=FEW,
        deadline=deadline,
    )
    assert list(times) == [1, 2, 3, 4]
    assert all(StageForm() in ways for ways in times.values())
    tried = [len(ways) for ways in times.values()]
    assert max(tried) < 6, "3 forms of the first group, one of the second and of the third, one with first tiles"
    assert tried[-1] == 1


@pytest.mark.slow
def test_a_search_without_time_writes_nothing_and_says_why(small_model, tmp_path, few_tiles, export_cli):
    words = ("tune", small_model, "--threads", "1", "--max-seconds", "0.001", "-o", tmp_path / "t.onnx")
    code, shown, _ = export_cli(*words)
    assert code == 1
    assert "cut short by the time limit: the forms of stages for 1 thread, arena: tried 1 of stage 1" in shown
    assert "cut short by the time limit: the comparison of whole networks" in shown
    assert list(tmp_path.iterdir()) == []


def test_each_group_of_forms_follows_from_those_before():
    """The fastest way with all sizes, the next one with the best sizes, then tiles of the first layer."""
    times = {}
    groups = Candidates(ways=("", "w", "s"), sizes=("2x2", "4x3"), first=("3x3",)).groups(times)
    assert list(map(str, next(groups))) == ["direct", "2x2", "2x2w", "2x2s"]
    times.update(zip(map(StageForm.parse, ("direct", "2x2", "2x2w", "2x2s")), (4.0, 3.0, 9.0, 2.0), strict=True))
    assert list(map(str, next(groups))) == ["4x3s"]
    times[StageForm.parse("4x3s")] = 1.0
    assert list(map(str, next(groups))) == ["4x3"]
    times[StageForm.parse("4x3")] = 5.0
    assert list(map(str, next(groups))) == ["3x3s+4x3s"]
    assert list(groups) == []


def test_direct_convolutions_that_are_fastest_leave_the_first_layer():
    times = {}
    groups = Candidates(ways=("",), sizes=("2x2", "4x4"), first=("3x3",)).groups(times)
    times.update(zip(next(groups), (1.0, 2.0), strict=True))
    times.update(dict.fromkeys(next(groups), 3.0))
    assert list(filter(None, groups)) == []


TIMES = {1: {StageForm(): 5.0, FAST: 3.0, LARGE: 2.0}, 2: {StageForm(): 4.0, FAST: 4.5, LARGE: 6.0}}


def test_the_fastest_combinations_come_first():
    got = combinations(TIMES, lambda _: 1.0, max_growth=9, count=3)
    assert got == [{1: LARGE}, {1: LARGE, 2: FAST}, {1: FAST}]


def test_combinations_keep_to_the_memory_allowed():
    def growth(forms):
        return 1 + sum(form.rest.weight_growth() - 1 for form in forms.values())

    got = combinations(TIMES, growth, max_growth=2, count=3)
    assert got == [{1: FAST}, {}, {2: FAST}]
    assert combinations(TIMES, growth, max_growth=0.5, count=3) == []


@pytest.mark.slow
def test_tune_writes_the_fastest_with_its_proof(small_model, tmp_path, few_tiles, export_cli, cli):
    output = tmp_path / "t.onnx"
    words = ("tune", small_model, "--threads", "1", "--rounds", "5", "-o", output)
    code, shown, errors = export_cli(*words, "--json")
    result = json.loads(shown)
    names = {row["name"] for row in result["networks"]}
    assert small_model.stem in names
    assert "direct-direct-direct-direct" in names
    assert {row["way"] for row in result["stages"]} >= {"direct", "2x2w", "2x2ps", "4x4w", "4x4ps"}
    assert {row["memory_arena"] for row in result["networks"]} == {False, True}
    assert result["load"]["processors"] >= 1
    if code:  # such small networks may tie: then nothing is written
        assert not output.exists()
        return
    tuning = Embedder(output).spec.tuning
    assert "-".join(tuning.stages) in names
    assert tuning.plain_ms is None or tuning.plain_ms > tuning.tuned_ms  # not every setting is timed anew
    assert result["parity"]["passed"]
    assert cli("verify-model", output)[0] == 0
    assert "stages" in errors or "writing" in errors


def test_a_network_that_is_too_large_is_not_measured(small_model, tmp_path, few_tiles, export_cli):
    """Not even the plain one: then nothing may be written."""
    words = ("tune", small_model, "--threads", "1", "--rounds", "2", "--max-mib", "0.01", "-o", tmp_path / "t.onnx")
    code, shown, _ = export_cli(*words, "--json")
    result = json.loads(shown)
    assert code == 1
    assert result["networks"] == []
    assert all("MiB are more than 0.01" in row["reason"] for row in result["dropped"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_network_that_differs_too_much_is_not_measured(small_model, tmp_path, few_tiles, export_cli):
    words = ("tune", small_model, "--threads", "1", "--rounds", "2", "--max-error", "1e-12", "-o", tmp_path / "t.onnx")
    code, shown, _ = export_cli(*words, "--json")
    result = json.loads(shown)
    assert code == 1
    assert {row["name"] for row in result["networks"]} == {small_model.stem}
    assert result["dropped"]
    assert all("of the largest component" in row["reason"] for row in result["dropped"])


@pytest.fixture
def tuned_form(small_model, tmp_path):
    """A form as it is shipped to a device."""
    path = tmp_path / "a.onnx"
    rewrite(small_model, path, forms=read_stages(TILED), max_ratio=float("inf"), plan=Plan(rounds=1, per_round=1))
    return path


TILED = ("2x2", "direct", "direct", "direct")


def report_of(tmp_path, cli, forms, best, **changes):
    """A report that the device's command really wrote, with its choice and its machine changed."""
    content = json.loads(cli("tune", *forms, "--threads", "1", "--rounds", "3", "--json")[1])
    row = next(row for row in content["rows"] if row["model"] == str(best))
    row = {**row, "threads": 3, "memory_arena": True, "latency": {**row["latency"], "median_ms": 41.5}}
    content |= {"processor": "Raspberry Pi 4 Model B Rev 1.4", "onnxruntime": "1.20.9", "best": row, **changes}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    return path, content


@pytest.mark.slow
def test_a_device_chooses_and_the_workstation_writes(small_model, tuned_form, tmp_path, export_cli, cli):
    """Exactly the chosen form, with the device's machine and figures; nothing is timed here."""
    report, content = report_of(tmp_path, cli, [small_model, tuned_form], tuned_form)
    slow = {**content["best"], "rewrites": [], "stages": None, "latency": {**content["best"]["latency"]}}
    slow["latency"]["median_ms"] = 80.25
    report.write_text(json.dumps({**content, "rivals": [slow]}))
    output = tmp_path / "chosen.onnx"
    code, shown, errors = export_cli("tune", small_model, "--device-report", report, "-o", output)
    assert code == 0, errors
    assert "stage 1" not in errors
    tuning = Embedder(output).spec.tuning
    assert tuning.stages == TILED
    assert (tuning.processor, tuning.onnxruntime) == ("Raspberry Pi 4 Model B Rev 1.4", "1.20.9")
    assert (tuning.threads, tuning.memory_arena, tuning.pinned_threads, tuning.batch) == (3, True, False, 1)
    assert (tuning.plain_ms, tuning.tuned_ms) == (80.25, 41.5)
    assert "PASSED" in shown
    report.write_text(json.dumps({**content, "rivals": [], "rows": [content["best"]]}))
    assert export_cli("tune", small_model, "--device-report", report, "-o", output)[0] == 0
    assert Embedder(output).spec.tuning.plain_ms is None


@pytest.mark.slow
def test_another_form_than_the_device_chose_is_never_written(small_model, tuned_form, tmp_path, export_cli, cli):
    """The plain model, INT8, nothing at all, another network: each is said, and no float form takes its place."""
    output = tmp_path / "chosen.onnx"
    report, content = report_of(tmp_path, cli, [small_model, tuned_form], small_model)
    tuned = next(row for row in content["rows"] if row["stages"])
    choices = {
        "which you have": content["best"],
        "(int8), which `tune` does not make": {**tuned, "precision": "int8", "stages": None},
        "could run none": None,
        "another checkpoint": tuned,
    }
    for reason, best in choices.items():
        sha = "0" * 64 if reason == "another checkpoint" else content["source_sha256"]
        report.write_text(json.dumps({**content, "best": best, "source_sha256": sha}))
        code, shown, errors = export_cli("tune", small_model, "--device-report", report, "-o", output)
        assert code == 1, errors
        assert reason in shown
        assert not output.exists()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"rows": [], "best": 3}',
        '{"rows": [], "best": {"precision": "float32"}}',
        (
            '{"rows": [], "best": {"threads": 1, "pinned_threads": false, "memory_arena": true, "model": "a.onnx", '
            '"precision": "float32", "rewrites": [], "stages": ["9"], "latency": {"samples": 1, "median_ms": 1}}, '
            '"processor": "x", "onnxruntime": "1", "batch": 1}'
        ),
        '{"rows": [], "best": {"threads": true, "pinned_threads": false, "memory_arena": true}}',
    ],
)
def test_a_report_that_is_none(small_model, tmp_path, export_cli, content):
    report = tmp_path / "report.json"
    report.write_text(content)
    code, _, errors = export_cli("tune", small_model, "--device-report", report, "-o", tmp_path / "t.onnx")
    assert code == 2
    assert "is not a report" in errors
    assert not (tmp_path / "t.onnx").exists()


@pytest.mark.slow
def test_a_plain_model_that_is_wrong_here_is_no_measure(small_model, tmp_path, few_tiles, export_cli):
    """Its certificate does not hold on this machine: nothing may be made of it, and the reason is said."""
    plain = tmp_path / "plain.onnx"
    shutil.copy(small_model, plain)
    certificate = json.loads(certificate_path(small_model).read_text())
    certificate["golden"]["embeddings"][0][0] += 1
    certificate_path(plain).write_text(json.dumps(certificate))
    code, shown, _ = export_cli("tune", plain, "--threads", "1", "--rounds", "2", "-o", tmp_path / "t.onnx")
    assert code == 1
    assert "certificate does not hold" in shown
    assert not (tmp_path / "t.onnx").exists()


def test_other_forms_are_looked_at_before_the_search(small_model, make_onnx, tmp_path, export_cli):
    for other, reason in ((tmp_path / "none.onnx", "no model file"), (make_onnx(), "different checkpoints")):
        code, _, errors = export_cli("tune", small_model, "--with", other, "-o", tmp_path / "t.onnx")
        assert code == 1
        assert reason in errors
        assert "stage 1" not in errors


def test_the_source_is_never_overwritten(small_model, export_cli):
    before = small_model.read_bytes()
    code, _, errors = export_cli("tune", small_model, "-o", small_model)
    assert code == 2
    assert "is an input of this command" in errors
    assert small_model.read_bytes() == before


def test_the_near_exact_form_is_a_model_of_its_own(small_model, tmp_path):
    """It is near by a stated bound, says so, and is refused where it is not measurably faster."""
    output = tmp_path / "near.onnx"
    made = make_near_exact(small_model, output, setting=Setting(threads=1), plan=Plan(rounds=5, per_round=1))
    assert made.proof.cosines.min() >= LEAST_COSINE
    assert output.exists() == made.proof.passed == bool(made.files)
    assert made.proof.passed or made.proof.misses_latency_only
    if made.files:
        assert Embedder(output).spec.precision == "weights8"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--near-exact", "t.onnx"), "is the output of the exact form"),
        (("--near-exact", "n.onnx", "--batch", "8"), "for one face"),
        (("--near-exact", "n.onnx", "--device-report", "r.json"), "give one of them"),
        (("--near-exact", "none/n.onnx"), "There is no folder"),
    ],
)
def test_near_exact_options_are_checked_before_the_search(
    small_model, tmp_path, monkeypatch, export_cli, words, reason
):
    monkeypatch.chdir(tmp_path)
    code, _, errors = export_cli("tune", small_model, "-o", "t.onnx", *words)
    assert code in {1, 2}
    assert reason in errors
    assert "stage 1" not in errors
