"""Regressions: beyond noise and beyond five percent, or not called one."""

import json

import numpy as np
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.comparison import compare
from edge_sphereface.cli.contract import run


def result(ms, noise=0.02, seed=0, **more):
    samples = np.random.default_rng(seed).normal(ms, ms * noise, 100)
    row = {"label": "x", "contender": "edge", "threads": 1, "batch": 1, "samples_ms": samples.tolist(), **more}
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
