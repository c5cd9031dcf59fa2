"""Regressions: beyond noise and beyond five percent, or not called one."""

import json

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.comparison import compare
from edge_sphereface.cli.runner import UsageError, run


def result(ms, noise=0.02, seed=0, **more):
    samples = np.random.default_rng(seed).normal(ms, ms * noise, 100)
    row = {"label": "x", "contender": "edge", "threads": 1, "batch": 1, "samples_ms": samples.tolist()}
    row |= {"start_samples": [20] * 5, **more}
    return {"environment": {}, "rows": [row]}


@pytest.mark.parametrize(
    ("new", "noise", "verdict"),
    [(10.0, 0.02, "same"), (10.4, 0.02, "same"), (12.0, 0.02, "slower"), (8.0, 0.02, "faster"), (11.5, 1.0, "same")],
)
def test_verdicts(new, noise, verdict):
    (change,), only = compare(result(10.0, noise), result(new, noise, seed=1))
    assert (change.verdict, only) == (verdict, [])
    assert change.low <= change.ratio <= change.high


def test_a_wrong_answer_is_a_regression_however_fast():
    assert compare(result(10), result(1, correct=False))[0][0].verdict == "wrong"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"samples_ms": [1.0, "x"]}, r"samples_ms\[1\] must be a finite number"),
        ({"samples_ms": []}, "samples_ms must be a list of length 1"),
        ({"samples_ms": [1.0], "start_samples": [2]}, "add up to 1 samples, not 2"),
        ({"samples_ms": [0.0, 0.0]}, "median of every start must be above 0"),
    ],
)
def test_invalid_samples_are_refused(row, fault):
    bad = {"environment": {}, "rows": [{"label": "x", **row}]}
    with pytest.raises(UsageError, match=fault):
        compare(bad, bad)


def test_cases_in_one_result_only_are_named():
    changes, only = compare(result(10), result(10, label="y"))
    assert changes == []
    assert len(only) == 2


def test_command(tmp_path, capsys):
    for name, ms in {"old": 10, "new": 20}.items():
        (tmp_path / name).write_text(json.dumps(result(ms)))
    assert run(build_parser(), ["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 1
    assert "slower" in capsys.readouterr().out
    assert run(build_parser(), ["compare", str(tmp_path / "new"), str(tmp_path / "old"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slower"] == 0
    (tmp_path / "bad").write_text("{}")
    assert run(build_parser(), ["compare", str(tmp_path / "bad"), str(tmp_path / "old")]) == 2


def null_result(random, starts):
    """One program: every start is lucky or unlucky as a whole, by 8 %, and its samples differ by 2 % more."""
    luck = np.repeat(random.lognormal(np.log(10), 0.08, starts), 20)
    return {"samples_ms": (luck * random.lognormal(0, 0.02, len(luck))).tolist(), "start_samples": [20] * starts}


@pytest.mark.slow
@pytest.mark.parametrize("starts", [3, 5])
def test_one_program_is_rarely_called_slower_than_itself(starts):
    """Starts differ more than the samples of one start, so only starts can be judged."""
    random = np.random.default_rng(0)
    cases = 400
    old, new = (
        {"rows": [{"label": str(case), **null_result(random, starts)} for case in range(cases)]} for _ in range(2)
    )
    verdicts = [change.verdict for change in compare(old, new)[0]]
    assert verdicts.count("slower") / cases <= 0.01
    twice = {"rows": [{**row, "samples_ms": [2 * ms for ms in row["samples_ms"]]} for row in new["rows"][: cases // 4]]}
    found = [change.verdict for change in compare(old, twice)[0]]
    assert found.count("slower") / len(found) > 0.9, "and what is slower is found"


def test_stages_of_two_models_are_two_cases():
    rows = [
        {"stage": "embed", "model": model, "detector": "yunet", "threads": 1, "batch": 1, "samples_ms": [1.0]}
        for model in ("float.onnx", "int8.onnx")
    ]
    changes, only = compare({"stages": rows}, {"stages": rows})
    assert [change.name for change in changes] == ["float.onnx embed yunet 1 1", "int8.onnx embed yunet 1 1"]
    assert only == []


def test_too_few_starts_are_not_judged(tmp_path, capsys):
    """As a result of before, which had one start."""
    old, new = result(10), result(20, start_samples=[50, 50])
    del old["rows"][0]["start_samples"]
    (change,), _ = compare(old, new)
    assert (change.verdict, change.low) == ("not judged", None)
    (tmp_path / "old").write_text(json.dumps(old))
    (tmp_path / "new").write_text(json.dumps(new))
    assert run(build_parser(), ["compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    assert "not judged" in capsys.readouterr().out
