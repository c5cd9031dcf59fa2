"""The benchmark of tuned models: its table, its limit, and processes that are started anew."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import runner
from benchmarks.__main__ import build_parser
from benchmarks.case_row import FormRow
from benchmarks.runner import Case
from benchmarks.target import text
from benchmarks.tuning import gemm_peak, measure
from benchmarks.tuning.targets import targets
from edge_sphereface.cli.runner import UsageError, run
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.image import save_image
from export.faces import astronaut
from export.rewrite.fast import rewrite
from export.rewrite.tile import read_stages


@pytest.fixture
def figures(form_rows):
    """A function that makes figures with these median latencies."""

    def make(threads=1, **times):
        return measure.Figures(
            rows=form_rows(threads, **times),
            gflop=2.0,
            product=measure.Product(size=1000, median_ms={"1": 20.0}),
            exactness=(measure.Exactness(stages=("4x4",), crops=5, min_cosine=0.999),),
        )

    return make


def test_every_line_is_judged(figures):
    times = {"plain": 20.0, "tuned": 12.0, "tuned_batch": 80.0, "openvino": 15.0, "ncnn": 13.0}
    got = {line.figure: line for line in targets(figures(**times, int8=4.0, int8_openvino=5.0))}
    assert got["1 thread: tuned over the plain export"].measured == pytest.approx(0.6)
    assert got["1 thread: tuned over the best peer (ncnn)"].measured == pytest.approx(12 / 13)
    # 2e9 flop in 20 ms are 100 GFLOP/s, so 2 GFLOP take 20 ms
    assert got["1 thread: tuned over direct convolution at 100 GFLOP/s (20.0 ms)"].measured == pytest.approx(0.6)
    assert got["1 thread: tuned, batch 8 per face over batch 1"].measured == pytest.approx(10 / 12)
    assert got["1 thread: INT8 over the best peer's (int8_openvino)"].measured == pytest.approx(0.8)
    assert got["4x4: least cosine to plain, 5 crops"].verdict == "MISSED"
    assert {line.verdict for line in got.values()} == {"reached", "MISSED"}


def test_every_int8_form_and_the_provider_are_judged_against_the_best_peer(figures):
    times = {"plain": 20.0, "openvino": 10.0, "int8_openvino": 5.0, "int8_nncf": 4.0}
    ours = {"plain_on_provider": 9.0, "int8": 6.0, "int8_for_x86_amx": 4.8, "int8_for_openvino": 3.0}
    got = {line.figure: line for line in targets(figures(**times, **ours))}
    assert got["1 thread: plain on the provider openvino over the best peer (openvino)"].measured == pytest.approx(0.9)
    expected = {"INT8": 1.5, "INT8 of target x86-amx": 1.2, "INT8 of target openvino": 0.75}
    for name, value in expected.items():
        line = got[f"1 thread: {name} over the best peer's (int8_nncf)"]
        assert line.measured == pytest.approx(value)
        assert line.verdict == ("reached" if value < 1 else "MISSED")


def test_a_ratio_has_an_interval_from_the_starts(figures):
    """Drawn from starts, within which samples are alike, not from samples; none for a few starts."""
    found = figures(plain=20.0, tuned=12.0)
    random = np.random.default_rng(0)

    def in_starts(row):
        usual = row.row.measured.latency.median_ms
        samples = (usual * np.repeat(np.exp(random.normal(0, 0.1, 10)), 10)).tolist()
        measured = replace(row.row.measured, samples_ms=tuple(samples), starts=10, start_samples=(10,) * 10)
        return replace(row, row=replace(row.row, measured=measured))

    line, *_ = targets(replace(found, rows=tuple(map(in_starts, found.rows))))
    low, high = line.interval
    assert low < line.measured < high
    assert high - low > 0.05, "ten starts that differ by a tenth tell no more"
    assert f"(95 % interval {low:.3f} to {high:.3f})" in text([line])
    assert targets(found)[0].interval is None


@pytest.mark.parametrize("twice", [True, False])
def test_int8_forms_have_different_targets(small_models, make_onnx, quantization_record, twice):
    changes = {"quantization": quantization_record, "precision": "int8"}
    paths = (make_onnx(name="a.onnx", changes=changes), make_onnx(name="b.onnx", changes=changes))
    wrong = paths if twice else (small_models["nchw"],)
    with pytest.raises(UsageError, match="two of target 'portable'" if twice else "got another one"):
        measure._by_target(wrong)
    assert measure._by_target(paths[:1]) == {"portable": paths[0]}


def test_more_threads_have_their_own_bound_and_no_limit(figures):
    got = {line.figure: line for line in targets(figures(threads=2, plain=20.0, tuned=14.1))}
    assert got["2 threads: tuned over the plain export"].verdict == "MISSED"
    assert not [figure for figure in got if "GFLOP" in figure]
    assert got["2 threads: tuned over the best peer"].verdict == "not measured"


def test_a_peer_that_failed_is_no_peer(figures, case_row):
    found = figures(plain=20.0, tuned=12.0)
    failed = FormRow(form="ncnn", row=case_row(error="no wheel"))
    (line,) = [line for line in targets(replace(found, rows=(*found.rows, failed))) if "best peer" in line.figure]
    assert line.verdict == "not measured"


def test_the_operations_of_the_network_are_counted(small_models):
    """Against the sum by hand: 2 x 9 x input x output channels x positions, and the embedding."""
    widths, cells = (8, 8, 16, 16), (56 * 48, 28 * 24, 14 * 12, 7 * 6)
    pairs, before, total = (1, 2, 4, 1), 3, 0
    for width, count, pair in zip(widths, cells, pairs, strict=True):
        total += 2 * 9 * before * width * count + 2 * pair * 2 * 9 * width * width * count
        before = width
    assert measure._flop(small_models["nchw"]) == total + 2 * 32 * 16 * 42


@pytest.mark.integration
def test_the_matrix_product_is_timed_in_a_process_of_its_own():
    samples = measure._product_ms(1)
    assert len(samples) == 30
    assert all(sample > 0 for sample in samples)
    assert gemm_peak.SIZE == 1024


@pytest.mark.integration
def test_starts_are_put_together(small_models, crops):
    """Samples of every start are kept, the worst of the rest stands."""
    case = Case(contender="edge", model=small_models["image"], label="x", threads=1, batch=1, precision="float32")
    told = []
    floats = np.zeros((len(crops), 3, 112, 96), np.float32)
    (row,) = runner.measure_restarted(
        [case], crops, floats, rounds=7, restarts=3, progress=lambda *words: told.append(words)
    )
    assert row.measured.starts == 3
    assert len(row.measured.samples_ms) == row.measured.latency.samples == 7
    assert told == [(3, 7), (5, 7), (7, 7)]
    assert row.measured.correct


@pytest.mark.slow
def test_a_start_that_fails_is_the_result(small_models, crops, tmp_path):
    case = Case(contender="edge", model=tmp_path / "no.onnx", label="x", threads=1, batch=1, precision="float32")
    floats = np.zeros((len(crops), 3, 112, 96), np.float32)
    (row,) = runner.measure_restarted([case], crops, floats, rounds=4, restarts=2)
    assert "no.onnx" in row.failure.error


@pytest.mark.slow
def test_the_command_measures_and_judges(small_models, tmp_path, capsys, require_schema):
    plain, tuned = small_models["nchw"], tmp_path / "tuned.onnx"
    stages = read_stages(("4x4", "direct", "2x2w", "direct"))
    rewrite(plain, tuned, forms=stages, max_ratio=float("inf"), plan=Plan(rounds=1, per_round=1))
    (tmp_path / "photos").mkdir()
    save_image(tmp_path / "photos" / "a.png", astronaut())
    words = ["tuning", plain, "--tuned", tuned, "--photos", tmp_path / "photos", "--peers", "--threads", "1"]
    words += ["--rounds", "4", "--restarts", "1", "--folder", tmp_path / "made", "-o", tmp_path / "t.json", "--json"]
    code = run(build_parser(), [str(word) for word in words])
    result = json.loads(capsys.readouterr().out)
    require_schema("benchmarks tuning", result)
    assert code in (0, 1)
    assert code == int(any(line["verdict"] == "MISSED" for line in result["targets"]))
    assert [row["form"] for row in result["rows"]] == ["plain", "tuned", "tuned_batch", "tuned_default"]
    assert all(row["correct"] for row in result["rows"])
    assert list(result) == ["environment", "rows", "gflop", "product", "exactness", "targets"]
    assert result["rows"][0].keys() == {
        "form", "label", "contender", "settings", "model", "precision", "graph", "threads", "batch", "provider",
        "version", "load_ms", "first_ms", "peak_rss_mib", "latency", "median_ms_per_face", "min_cosine",
        "max_abs_error", "correct", "samples_ms", "starts", "start_samples",
    }  # fmt: skip
    assert list(result["targets"][0]) == ["figure", "measured", "sense", "bound", "verdict", "why_not"]
    (exact,) = result["exactness"]
    assert list(exact) == ["stages", "crops", "min_cosine"]
    assert exact["stages"] == ["4x4", "direct", "2x2w", "direct"]
    assert exact["min_cosine"] > 0.99999
    assert json.loads((tmp_path / "t.json").read_text()) == result
