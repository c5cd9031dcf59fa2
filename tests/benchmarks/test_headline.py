"""The headline of a report: the fastest form of each runtime, within one precision and one run."""

import pytest

from benchmarks import headline
from benchmarks.case_row import CaseRow, Failure, Measurement
from benchmarks.headline import Run
from benchmarks.static_int8 import PRECISION
from edge_sphereface.evaluation.timing import LatencySummary

FACTS = {"settings": "x", "graph": "", "threads": 1, "batch": 1, "provider": "cpu"}


def row(label, ms, *, correct=True, **facts):
    measured = Measurement(
        version="1",
        load_ms=1.0,
        first_ms=1.0,
        peak_rss_mib=None,
        latency=LatencySummary(samples=2, min_ms=ms, median_ms=ms, p95_ms=ms * 1.1, p99_ms=ms * 1.2),
        median_ms_per_face=ms,
        max_abs_error=0.0,
        min_cosine=1.0,
        correct=correct,
        samples_ms=(ms, ms),
        starts=1,
        start_samples=(2,),
    )
    named = {**FACTS, "contender": "edge", "precision": "float32", **facts}
    return CaseRow(label=label, model=f"{label}.onnx", measured=measured, failure=None, **named)


FAILED = CaseRow(
    label="ncnn",
    model="plain.onnx",
    contender="ncnn",
    precision="float32",
    measured=None,
    failure=Failure(error="no wheel"),
    **FACTS,
)
ROWS = [
    row("plain", 20.0, graph="plain"),
    row("winograd", 12.0, graph="winograd"),
    row("edge_sphereface, tuned: winograd", 11.0, contender="edge_tuned", graph="winograd"),
    row("int8", 4.0, precision="int8"),
    row("static", 8.0, precision=PRECISION),
    row("OpenVINO: plain", 14.0, contender="openvino"),
    row("OpenVINO: int8", 4.5, contender="openvino", precision="int8"),
    row("OpenVINO: NNCF's INT8", 4.2, contender="openvino", precision="int8"),
    row("onnxruntime: static", 8.2, contender="onnxruntime_plain", precision=PRECISION),
    row("fast but wrong", 0.1, contender="opencv_dnn", correct=False),
    FAILED,
    row("plain", 60.0, batch=4),
]


def test_the_fastest_of_each_runtime_and_precision():
    found = headline.entries(ROWS)
    assert [(entry.precision, entry.runtime, entry.measured.latency.median_ms) for entry in found] == [
        ("float32", "edge_sphereface", 11.0),
        ("float32", "OpenVINO", 14.0),
        ("int8", "edge_sphereface", 4.0),
        ("int8", "OpenVINO", 4.2),
        ("int8", "onnxruntime", 8.0),
    ]
    assert [entry.form for entry in found] == [
        "winograd (winograd), tuned session", "plain", "int8", "NNCF's INT8", "quantize_static: static.onnx",
    ]  # fmt: skip
    assert [entry.is_ours for entry in found] == [True, False, True, False, False]
    assert {entry.batch for entry in found} == {1}
    assert "NNCF's INT8" in headline.text(found)


def test_a_model_of_another_tool_is_not_ours_whatever_runs_it():
    assert headline.is_ours(row("int8", 4.0, precision="int8"))
    assert not headline.is_ours(row("static", 4.0, precision=PRECISION))


def test_a_contender_of_another_version_keeps_its_name():
    (entry,) = headline.entries([row("x", 1.0, contender="tflite")])
    assert (entry.runtime, entry.is_ours) == ("tflite", False)
    assert headline.entries([row("x", 1.0, precision="ternary")]) == []


def test_rows_of_two_runs_are_not_mixed():
    second = [row("half", 1.0), row("half", 2.0, threads=2)]
    runs = headline.split_runs([*ROWS, row("plain", 9.0, threads=2), *second])
    assert [len(rows) for rows in runs] == [len(ROWS) + 1, 2]
    chosen = headline.choose(Run(rows=tuple(rows), busy="") for rows in runs)
    assert chosen.entries[0].measured.latency.median_ms == 11.0


@pytest.mark.parametrize("busy", ["", "other programs kept up to 1.50 of 2 processors busy"])
def test_the_run_with_the_most_of_our_precisions_is_shown(busy):
    plain = Run(rows=tuple(ROWS[:3]), busy="another")
    whole = Run(rows=tuple(ROWS), busy=busy)
    for runs in ([plain, whole], [whole, plain]):
        assert headline.choose(runs).busy == busy
    assert headline.choose([]).entries == ()
