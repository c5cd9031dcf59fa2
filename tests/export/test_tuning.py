"""Tuning: stages are measured apart, combinations together, and only what is proven is written."""

import json
import shutil

import pytest

from edge_sphereface.certificate import certificate_path
from edge_sphereface.choice import Setting
from edge_sphereface.embed import Embedder
from export.plain import open_plain
from export.rewrite.tile import Tile
from export.tuning import search
from export.tuning.search import combinations, measure_stages

FAST, LARGE = Tile.parse("2x2"), Tile.parse("4x4w")


@pytest.fixture
def few_tiles(monkeypatch):
    monkeypatch.setattr(search, "TILES", (FAST, LARGE))


def test_every_stage_is_measured_by_itself(small_model, few_tiles):
    _, plain = open_plain(small_model, "cpu")
    told = []
    times = measure_stages(
        plain, Setting(threads=1), batch=2, rounds=3, reporter=lambda what: told.append(what) or (lambda *_: None)
    )
    assert list(times) == [1, 2, 3, 4]
    for ways in times.values():
        assert set(ways) == {None, FAST, LARGE}
        assert all(median > 0 for median in ways.values())
    assert told == [f"stage {number}, 1 thread" for number in (1, 2, 3, 4)]


TIMES = {1: {None: 5.0, FAST: 3.0, LARGE: 2.0}, 2: {None: 4.0, FAST: 4.5, LARGE: 6.0}}


def test_the_fastest_combinations_come_first():
    got = combinations(TIMES, lambda _: 1.0, max_growth=9, count=3)
    assert got == [{1: LARGE}, {1: LARGE, 2: FAST}, {1: FAST}]


def test_combinations_keep_to_the_memory_allowed():
    def growth(tiles):
        return 1 + sum(tile.weight_growth - 1 for tile in tiles.values())

    got = combinations(TIMES, growth, max_growth=2, count=3)
    assert got == [{1: FAST}, {}, {2: FAST}]
    assert combinations(TIMES, growth, max_growth=0.5, count=3) == []


def test_tune_writes_the_fastest_with_its_proof(small_model, tmp_path, few_tiles, export_cli, cli):
    output = tmp_path / "t.onnx"
    words = ("tune", small_model, "--threads", "1", "--rounds", "5", "-o", output)
    code, shown, errors = export_cli(*words, "--json")
    result = json.loads(shown)
    names = {row["name"] for row in result["networks"]}
    assert small_model.stem in names
    assert "direct-direct-direct-direct" in names
    assert {row["way"] for row in result["stages"]} == {"direct", "2x2", "4x4w"}
    assert {row["memory_arena"] for row in result["networks"]} == {False, True}
    if code:  # the plain model may be the fastest of such small ones: then nothing is written
        assert result["networks"][0]["name"] == small_model.stem
        assert not output.exists()
        return
    best = result["networks"][0]
    tuning = Embedder(output).spec.tuning
    assert "-".join(tuning.stages) == best["name"]
    assert tuning.memory_arena == best["memory_arena"]
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


def test_a_network_that_differs_too_much_is_not_measured(small_model, tmp_path, few_tiles, export_cli):
    words = ("tune", small_model, "--threads", "1", "--rounds", "2", "--max-error", "1e-12", "-o", tmp_path / "t.onnx")
    code, shown, _ = export_cli(*words, "--json")
    result = json.loads(shown)
    assert code == 1
    assert {row["name"] for row in result["networks"]} == {small_model.stem}
    assert result["dropped"]
    assert all("of the largest component" in row["reason"] for row in result["dropped"])


def test_a_device_chooses_and_the_workstation_writes(small_model, tmp_path, export_cli, cli):
    """Forms go to the device, its report comes back, and the form that it chose is made and proven here."""
    forms = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for form, stages in zip(
        forms, (("2x2", "direct", "direct", "direct"), ("direct", "4x4", "direct", "direct")), strict=True
    ):
        words = ("rewrite", small_model, "--stages", *stages, "--max-latency", "1000", "-o", form)
        assert export_cli(*words)[0] == 0
    report = tmp_path / "report.json"
    report.write_text(cli("tune", *forms, "--threads", "1", "--rounds", "3", "--json")[1])
    chosen = json.loads(report.read_text())["best"]["stages"]
    output = tmp_path / "chosen.onnx"
    code, shown, errors = export_cli("tune", small_model, "--device-report", report, "-o", output)
    assert code == 0, errors
    assert list(Embedder(output).spec.tuning.stages) == chosen
    assert "PASSED" in shown


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"rows": []}', '{"rows": [{"precision": "float32", "stages": ["9"]}]}']
)
def test_a_report_that_is_none(small_model, tmp_path, export_cli, content):
    report = tmp_path / "report.json"
    report.write_text(content)
    code, _, errors = export_cli("tune", small_model, "--device-report", report, "-o", tmp_path / "t.onnx")
    assert code == 2
    assert "is no report" in errors
    assert not (tmp_path / "t.onnx").exists()


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
    assert code == 1
    assert "source itself" in errors
    assert small_model.read_bytes() == before
