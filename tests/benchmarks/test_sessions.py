"""The settings of sessions: every one is measured, in processes of their own."""

import json

import pytest

from benchmarks import sessions
from benchmarks.__main__ import build_parser
from edge_sphereface.cli.runner import run


@pytest.mark.slow
def test_every_setting_is_measured(small_model, monkeypatch):
    monkeypatch.setattr(sessions, "_run", sessions._measure_here)
    seen = []
    rows = sessions.measure(
        [small_model], threads=[1, 2], rounds=3, starts=2, pause_ms=1, progress=lambda *step: seen.append(step)
    )
    assert [(row.threads, row.setting) for row in rows] == [
        *((1, setting) for setting in ("default", "spinning", "memory arena")),
        *((2, setting) for setting in ("default", "spinning", "memory arena", "pinned threads")),
    ]
    assert seen[-1] == (14, 14)
    for row in rows:
        assert [len(start) for start in row.samples_ms] == [3, 3]
        assert row.latency.samples == row.paused.samples == 6
        assert row.median_ms[0] <= row.latency.median_ms <= row.median_ms[1]
        assert row.cpu_ms > 0
        assert row.provider == "CPUExecutionProvider"
    assert "pinned threads" in sessions.text(rows)


def test_settings_are_those_of_the_session(small_model):
    seen = {}

    def open_session(path, config):
        seen.update(spinning=config.spinning, arena=config.memory_arena, threads=config.threads)
        raise RuntimeError

    case = sessions.Case(model=small_model, setting="memory arena", threads=2, rounds=1, pause_ms=0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(sessions, "open_session", open_session)
        sessions._measure_here(case)
    assert seen == {"spinning": False, "arena": True, "threads": 2}


@pytest.mark.slow
def test_a_file_that_is_no_model_is_an_error(tmp_path, capsys):
    (tmp_path / "x.onnx").write_bytes(b"rubbish")
    assert run(build_parser(), ["sessions", str(tmp_path / "x.onnx"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "model-format"
