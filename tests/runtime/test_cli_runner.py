"""What every command promises: interruption, readers that leave, progress, JSON without NaN."""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from benchmarks.__main__ import build_parser as benchmarks_parser
from edge_sphereface.cli.__main__ import build_parser, main
from edge_sphereface.cli.runner import Outcome, Parser, Progress, run
from edge_sphereface.stream.outputs.events.command_hook import parse_command
from export.commands import build_parser as export_parser
from export.known_checkpoints import weights_file
from export.liveness.commands import weights_file as liveness_weights


def test_ctrl_c_gives_130(capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    parser = Parser()
    parser.set_defaults(run=interrupted)
    assert run(parser, []) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_real_ctrl_c(tmp_path):
    """SIGINT in the middle of work ends it without a traceback and with nothing half written."""
    script = f"""
import sys, time
from edge_sphereface.cli.runner import Parser, run
from edge_sphereface.storage.files import SHARED, atomic_write
def work(_):
    with atomic_write({str(tmp_path / "x")!r}, mode=SHARED) as stream:
        stream.write(b"half")
        print("ready", file=sys.stderr, flush=True)
        time.sleep(30)
parser = Parser()
parser.set_defaults(run=work)
sys.exit(run(parser, []))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_traceback(photo):
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_sphereface", "detect", photo], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""


def test_nan_is_never_printed_as_json():
    parser = Parser()
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=lambda _: Outcome({"x": float("nan")}, ""))
    with pytest.raises(ValueError, match="JSON"):
        run(parser, ["--json"])


def test_progress_is_rare_where_nobody_watches(capsys):
    """A line every ten seconds, with an estimate of the time left."""
    now = [0.0]
    progress = Progress("downloading", "MiB", clock=lambda: now[0])
    for second in range(31):
        now[0] = float(second)
        progress(second << 20, 400 << 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "downloading: 10 / 400 MiB, about 6 min left",
        "downloading: 20 / 400 MiB, about 6 min left",
        "downloading: 30 / 400 MiB, about 6 min left",
    ]


def test_the_time_of_later_steps_is_added(capsys):
    now = [0.0]
    progress = Progress("step 2", later_s=lambda step_s: 2 * step_s + 300, clock=lambda: now[0])
    now[0] = 12.0
    progress(10, 30)
    assert capsys.readouterr().err == "step 2: 10 / 30, about 24 s left, 7 min with the later steps\n"


class Terminal(io.StringIO):
    """A terminal that keeps what is written to it."""

    def isatty(self):
        return True


def test_short_work_has_no_estimate():
    now = [0.0]
    with redirect_stderr(Terminal()) as terminal:
        progress = Progress("photographs", clock=lambda: now[0])
        for now[0], done in ((4.0, 1), (6.0, 2), (9.0, 3)):
            progress(done, 3)
    shown = terminal.getvalue().split("\r")
    assert shown[1:] == ["photographs: 1 / 3", "photographs: 2 / 3, about 3 s left", f"{'photographs: 3 / 3':<34}\n"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["detekt", "x.jpg"], "detect"),
        (["gallery", "lst"], "list"),
        (["detect", "x.jpg", "--detektor", "yunet"], "--detector"),
    ],
)
def test_a_misspelling_is_recognized(words, meant, capsys):
    assert main(words) == 2
    assert f"did you mean {meant}? edge-sphereface" in capsys.readouterr().err


def test_what_is_like_nothing_is_not_guessed(capsys):
    assert main(["qqqqqq"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_progress_rewrites_its_line_on_a_terminal():
    with redirect_stderr(Terminal()) as terminal:
        progress = Progress("photographs")
        progress(1, 2)
        progress(2, 2)
    assert terminal.getvalue() == "\rphotographs: 1 / 2\rphotographs: 2 / 2\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", ["nan", "inf", "-inf", "1e999", "9" * 5000, "99999999999", "0x10", "", "1_0_", "\u00bd"]
)
@pytest.mark.parametrize(
    "words",
    [
        ["verify-model", "x.onnx", "--min-cosine"],
        ["verify-model", "x.onnx", "--max-abs-error"],
        ["verify-model", "x.onnx", "--threads"],
        ["tune", "x.onnx", "--max-mib"],
        ["watch", "0", "--fps"],
        ["watch", "0", "--statistics-s"],
        ["watch", "0", "--events-keep"],
        ["watch", "0", "--view"],
        ["calibrate-threshold", "x", "--far"],
    ],
)
def test_numbers_that_no_option_takes(cli, words, value):
    """Usage, exit code 2, in a message of bounded length; never a traceback of what is told such a number later."""
    code, _, err = cli(*words, value)
    assert code == 2, err
    assert len(err) < 7000


@pytest.mark.parametrize("words", [["doctor"], ["detect", "a.jpg", "--json"]])
def test_a_package_that_is_not_installed_is_no_traceback(words):
    code = f"""
import sys
sys.modules["numpy"] = None
from edge_sphereface.cli.__main__ import main
sys.exit(main({words!r}))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == (2 if words == ["doctor"] else 1), "1 of a check says that it failed"
    assert "The Python package numpy is not installed." in (found.stdout if "--json" in words else found.stderr)
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("words", [[], ["watch"]])
def test_no_words_are_a_usage_error(cli, words):
    code, _, err = cli(*words)
    assert code == 2, err
    assert err.startswith("error: ")


def _types(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _types(command)
        elif getattr(getattr(action.type, "__self__", None), "read", action.type) not in (
            None,
            Path,
            int,
            float,
            weights_file,
            liveness_weights,
            parse_command,
        ):
            yield action.type


def test_no_message_names_a_python_function():
    """``argparse`` names it where a type raises ``ValueError``; ``ArgumentTypeError`` says what is expected."""
    types = {kind for build in (build_parser, benchmarks_parser, export_parser) for kind in _types(build())}
    assert len(types) > 8
    for kind in types:
        with pytest.raises(argparse.ArgumentTypeError, match="five"):
            kind("five€\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["doctor", "--json"], ["completion", "bash"]])
def test_a_full_disk_under_stdout_is_no_traceback(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_sphereface", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == (2 if "doctor" in words else 1), "1 of a check says that it failed"
    assert "Cannot write to standard output: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("output", ["x" * 300 + ".png", "no/such/folder/x.png"])
def test_an_output_that_cannot_be_is_an_error(output, small_model, photo, capsys):
    words = ["verify", "--model", small_model, photo, photo, "--draw", output, "--json"]
    assert main(list(map(str, words))) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "output"


def test_a_model_that_the_environment_names_is_not_replaced(small_model, photo, monkeypatch, tmp_path, capsys):
    model = tmp_path / "m.png"
    model.write_bytes(small_model.read_bytes())
    monkeypatch.setenv("EDGE_SPHEREFACE_MODEL", str(model))
    assert main(["verify", str(photo), str(photo), "--draw", str(model)]) == 2
    assert "would be lost" in capsys.readouterr().err
    assert model.read_bytes() == small_model.read_bytes()


@pytest.mark.parametrize("option", ["--events", "--mqtt-spool"])
def test_a_recording_is_not_replaced_by_events(option, tmp_path, capsys):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"a film")
    more = ["--mqtt", "mqtt://127.0.0.1:1"] if option == "--mqtt-spool" else []
    assert main(["watch", str(film), option, str(film), *more]) == 2
    assert film.read_bytes() == b"a film"
    assert list(tmp_path.iterdir()) == [film]


def test_abbreviations_are_not_understood(capsys):
    """They would be understood by one reader of the words and not by another."""
    assert main(["watch", "0", "--conf", "c.toml"]) == 2
    assert "did you mean --config?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("enroll Ann --gallery g.db a.jpg b.jpg", {"name": "Ann", "image": [Path("a.jpg"), Path("b.jpg")]}),
        ("enroll --gallery g.db Ann --largest a.jpg", {"name": "Ann", "image": [Path("a.jpg")], "largest": True}),
        ("enroll Ann --meta a=b -- -a.jpg", {"name": "Ann", "image": [Path("-a.jpg")], "meta": [("a", "b")]}),
        ("detect a.jpg --json b.jpg", {"image": [Path("a.jpg"), Path("b.jpg")], "json": True}),
        ("gallery remove Ann --gallery g.db Bob", {"name": ["Ann", "Bob"], "gallery": "g.db"}),
        ("watch --budget-ms 50 0", {"source": "0", "budget_ms": 50.0}),
    ],
)
def test_options_may_stand_between_other_words(line, expected):
    parsed = vars(build_parser().parse_args(line.split()))
    assert {name: parsed[name] for name in expected} == expected
