"""Reports of devices beside one another, and beside results of the machine that makes the report."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from benchmarks import devices, plots
from benchmarks.__main__ import build_parser
from edge_sphereface.cli.runner import run


@pytest.fixture
def other(measured_board):
    """A device that could do little, and says what is missing."""
    where = replace(measured_board.environment, cpu="NVIDIA Jetson Orin Nano", governor=None)
    return replace(
        measured_board, complete=False, stopped="interrupted", quick=True, environment=where, tuning=None,
        int8_over_float=None, detectors=(), sustained=None, load=None,
    )  # fmt: skip


def test_one_row_for_each_device(measured_board, other):
    head, *rows = devices.text([measured_board, other, measured_board]).splitlines()
    assert len(rows) == 3
    assert rows[0].split("  ")[0] == "Raspberry Pi 5 Model B Rev 1.0 #1"
    assert rows[2].startswith("Raspberry Pi 5 Model B Rev 1.0 #2")
    for words in ("1 of 2", "int8 (22222222)", "20.50", "0.50 (0.49 to 0.51)", "yunet 20.5", "48.0 to 24.0", "85 C"):
        assert words in rows[0]
    assert rows[0].endswith("frequency capped now")
    assert rows[1].split() == ["NVIDIA", "Jetson", "Orin", "Nano", "1", "of", "2", *["-"] * 8]
    assert head.index("throttled") == rows[0].index("frequency capped")


def test_the_form_of_the_rate_is_named(measured_board):
    """An earlier tuning recorded the float form; INT8, measured now, is faster and ran."""
    recorded = replace(measured_board.int8_over_float.float32, latency=None)
    report = replace(measured_board, tuning=replace(measured_board.tuning, source="recorded", best=recorded, rows=()))
    assert report.fastest == report.int8_over_float.int8
    _, row = devices.text([report]).splitlines()
    assert "24.0, int8 (22222222)" in row
    assert "20.50" in row
    slower = replace(report, int8_over_float=replace(report.int8_over_float, verdict="slower"))
    assert slower.fastest == recorded


def test_a_short_part_at_the_end_is_not_the_rate_at_the_end(measured_board):
    run = measured_board.sustained
    part = replace(run.windows[0], inferences=100, rate=100.0)
    odd = replace(part, inferences=2, rate=10.0)
    ten = replace(run, windows=(*[part] * 9, odd))
    assert ten.start_rate == 100
    assert ten.end_rate == pytest.approx(102 / 1.2)


def test_a_wrong_model_is_not_hidden(measured_board):
    failed = replace(measured_board.models[0], certified=False, reason="its certificate is not met here")
    assert " FAILED " in devices.text([replace(measured_board, models=(failed,))])


def test_notes_name_what_is_missing(measured_board, other):
    text = "\n".join(devices.notes([measured_board, other]))
    for words in (
        "governor ondemand",
        "missing: detector mtcnn: it is not installed",
        "warn: cache:",
        "INCOMPLETE: interrupted",
        "a quarter of the samples",
        "governor unknown",
    ):
        assert words in text
    busy = replace(measured_board, load=replace(measured_board.load, other_processors=2.0))
    assert "Measured on a busy machine" in "\n".join(devices.notes([busy]))


@pytest.mark.slow
def test_the_curves_are_a_picture(measured_board, other):
    runs = devices.sustained_runs([measured_board, other])
    assert list(runs) == [measured_board.environment.cpu]
    picture = cv2.imdecode(np.frombuffer(plots.sustained(runs), np.uint8), cv2.IMREAD_COLOR)
    assert picture.std() > 5
    (run,) = runs.values()
    unknown = [replace(part, condition=replace(part.condition, temperature_c=None)) for part in run.windows]
    cold = replace(run, before=replace(run.before, temperature_c=None), windows=tuple(unknown))
    shorter = cv2.imdecode(np.frombuffer(plots.sustained({"x": cold}), np.uint8), cv2.IMREAD_COLOR)
    assert shorter.shape[0] < picture.shape[0], "no panel of temperatures that nobody knows"


def written(tmp_path, reports):
    for number, one in enumerate(reports):
        (tmp_path / f"{number}.json").write_text(one.to_json())
    return [str(tmp_path / f"{number}.json") for number in range(len(reports))]


@pytest.mark.slow
def test_the_command_shows_devices_of_any_kind(measured_board, other, tmp_path):
    paths = written(tmp_path, [measured_board, other])
    assert run(build_parser(), ["report", *paths, "-o", str(tmp_path / "r")]) == 0
    page = (tmp_path / "r" / "report.md").read_text()
    assert "## Devices" in page
    assert "NVIDIA Jetson Orin Nano" in page
    assert "![sustained](sustained.png)" in page
    again = str(tmp_path / "r" / "report.json")
    assert run(build_parser(), ["report", again, "-o", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report.md").read_text() == page


def test_a_damaged_report_is_refused(measured_board, tmp_path, capsys):
    values = {**json.loads(measured_board.to_json()), "models": "x"}
    (tmp_path / "x.json").write_text(json.dumps(values))
    assert run(build_parser(), ["report", str(tmp_path / "x.json"), "-o", str(tmp_path / "r")]) == 1
    assert "models must be a list" in capsys.readouterr().err


EVIL = "\x1b[2J\x1b]0;x\x07| evil | <script>\n# Injected ![a](b) $\\bad$ " + "x" * 300


def test_words_of_others_are_shown_as_they_are(measured_board):
    """Neither the terminal nor Markdown nor the plots take them for commands."""
    latency = replace(measured_board.detectors[0], name=EVIL)
    evil = replace(
        measured_board,
        complete=False,
        stopped=EVIL,
        environment=replace(measured_board.environment, cpu=EVIL, governor=EVIL, system=EVIL, versions={EVIL: EVIL}),
        detectors=(latency,),
        models=tuple(replace(model, form=EVIL, warning=EVIL) for model in measured_board.models),
        findings=tuple(replace(finding, check=EVIL, message=EVIL) for finding in measured_board.findings),
        missing=tuple(replace(part, part=EVIL, reason=EVIL) for part in measured_board.missing),
    )
    table, notes = devices.text([evil, measured_board]), "\n".join(devices.notes([evil]))
    for shown in (table, notes):
        assert shown.replace("\n", "").isprintable()
    assert len(table.splitlines()) == 3
    assert max(map(len, table.splitlines())) < 600
    assert {line.lstrip()[0] for line in notes.splitlines()} == {"*"}
    assert "\\<script\\>" in notes
    assert not re.search(r"(?<!\\)[<\[|]", notes)


@pytest.mark.slow
def test_a_name_is_no_formula_of_a_plot(measured_board):
    odd = replace(measured_board, environment=replace(measured_board.environment, cpu=r"$\bad{$"))
    assert plots.sustained(devices.sustained_runs([odd]))
