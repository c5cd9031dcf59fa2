"""With ``--json`` every command of ``python -m benchmarks`` prints one JSON object, whose fields keep their names.

What would be downloaded (QEMU, Ray) has stand-ins. ``test_quantization.py``, ``test_tuning.py``, ``test_arm64.py``
and, for rows of MindSpore, ``test_ascend.py`` hold what their commands print against its schema.
"""

import json
import sys
from pathlib import Path

import cv2
import pytest

from benchmarks.__main__ import build_parser
from benchmarks.emulation.commands import run_emulate
from edge_sphereface.batch.engines import LocalEngine
from edge_sphereface.cli.runner import run
from edge_sphereface.json_output import json_text
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.untrained import untrained_parameters
from scripts.json_schemas import RECORDS

ONCE = ("--rounds", "3", "--threads", "1")
LANDMARKS = "204 101 247 103 224 128 202 140 245 142"
PEOPLE = ["ann/1", "ann/2", "ann/3", "bob/1", "bob/2", "bob/3", "cat/1", "dan/1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, astronaut):
    """A folder with a tiny network in both layouts, photographs, labeled pairs and landmarks."""
    folder = tmp_path_factory.mktemp("place")
    parameters = untrained_parameters(depth=10, widths=(4, 4, 4, 8), embedding_size=16)
    write_ckpt(folder / "x.ckpt", {f"network.{name}": values for name, values in parameters.items()})
    for layout in ("image", "nchw"):
        options = ConversionOptions(input_layout=layout, reference="numpy")
        convert(folder / "x.ckpt", folder / f"{layout}.onnx", options)
    for person in PEOPLE:
        target = folder / "lfw" / "images" / f"{person}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), astronaut)
    lines = "".join(f"{person}.png {LANDMARKS}\n" for person in PEOPLE)
    (folder / "lfw" / "lfw_landmark.txt").write_text(lines)
    pairs = "ann/1.png,ann/2.png,1\nann/1.png,bob/1.png,0\n" * 10
    (folder / "pairs.csv").write_text(f"image1_path,image2_path,label\n{pairs}")
    (folder / "eval.log").write_text("LFWACC=0.9923 std=0.0050 thd=0.3050\n")
    return folder


@pytest.fixture
def printed(capsys, place, monkeypatch, require_schema):
    """Run a command in that folder; gives what it printed, which the command's schema describes if there is one."""
    monkeypatch.chdir(place)

    def run_with_json(command, *words):
        run(build_parser(), [command, *words, "--json"])
        return described([command, *words], json.loads(capsys.readouterr().out), require_schema)

    return run_with_json


@pytest.fixture
def emulated(place, monkeypatch, this_machine, require_schema):
    """As ``printed``, for a command that emulates processors: they are this one."""
    monkeypatch.chdir(place)

    def run_here(run_command, command, *words):
        outcome = run_command(build_parser().parse_args([command, *words, "--json"]), this_machine)
        return described([command, *words], json.loads(json_text(outcome.result)), require_schema)

    return run_here


def described(words, found, require_schema):
    """What was found, which the command's schema describes."""
    (name,) = dict(RECORDS).keys() & {f"benchmarks {words[0]}", f"benchmarks {' '.join(words[:2])}"}
    require_schema(name, found)
    return found


@pytest.fixture(scope="module")
def latencies(place):
    """What ``latency`` found, and wrote to ``l.json`` in that folder."""
    words = ["latency", str(place / "image.onnx"), *ONCE, "--batches", "1", "-o", str(place / "l.json")]
    arguments = build_parser().parse_args(words)
    return arguments.run(arguments)


@pytest.fixture
def measured(latencies):
    """A file of measured latencies."""
    return "l.json"


@pytest.fixture
def int8(printed, place):
    """The network, quantized as onnxruntime does it."""
    if not (place / "int8.onnx").exists():
        printed("todays-int8", "nchw.onnx", "--photos", "lfw/images/ann", "--count", "4", "-o", "int8.onnx")
    return "int8.onnx"


def fields(found):
    """The fields of an object, and of the first object of each list."""
    return {
        name: list(value[0]) if isinstance(value, list) and value and isinstance(value[0], dict) else None
        for name, value in found.items()
        if name != "environment"
    }


LATENCY_ROW = [
    "label", "contender", "settings", "model", "precision", "graph", "threads", "batch", "provider", "version",
    "load_ms", "first_ms", "peak_rss_mib", "latency", "median_ms_per_face", "min_cosine", "max_abs_error", "correct",
    "samples_ms", "starts", "start_samples",
]  # fmt: skip
STAGE_ROW = [
    "stage", "model", "precision", "form", "provider", "detector", "shipped_detector", "threads", "batch", "faces",
    "image", "latency", "samples_ms", "starts", "start_samples",
]  # fmt: skip
LEDGER = [
    "path", "device", "precision", "batch", "includes", "latency", "faces_per_second", "machine", "origin", "source",
    "proof", "doubts",
]  # fmt: skip


@pytest.mark.slow
def test_latency(latencies, place, require_schema):
    found = described(["latency"], json.loads(json_text(latencies.result)), require_schema)
    assert json.loads((place / "l.json").read_text()) == found
    assert found.keys() == {"environment", "before", "after", "throttled", "rows", "stages"}
    assert sorted(fields(found)["rows"]) == sorted(LATENCY_ROW)
    assert sorted(fields(found)["stages"]) == sorted(STAGE_ROW)
    assert {row["stage"] for row in found["stages"]} == {
        "detect", "find", "improve", "align", "preprocess", "embed", "compare", "photograph", "video frame"
    }  # fmt: skip
    assert latencies.passed
    assert "video frame" in latencies.text


@pytest.mark.slow
def test_plan(printed, measured, capsys):
    assert printed("plan", measured, "--fps", "15", "--faces", "3", "--budget-ms", "60")["costs"]
    assert run(build_parser(), ["plan", measured, "--fps", "5", "--faces", "1", "--budget-ms", "150"]) == 0
    assert "fits" in capsys.readouterr().out


@pytest.mark.slow
def test_report(printed, measured):
    assert printed("report", measured, "-o", "report")["files"]


@pytest.mark.slow
def test_compare(printed, measured, capsys):
    assert printed("compare", measured, measured)["changes"]
    assert run(build_parser(), ["compare", measured, measured]) == 0
    compared = capsys.readouterr().out
    assert "same" in compared
    assert "not judged" not in compared, "stages have starts too"


@pytest.mark.slow
def test_sessions(printed):
    options = ("--threads", "1", "--pause-ms", "1", "--rounds", "2", "--starts", "1")
    assert fields(printed("sessions", "image.onnx", *options)) == {
        "sessions": [
            "model", "precision", "provider", "setting", "threads", "batch", "starts", "pause_ms", "latency",
            "median_ms", "paused", "paused_median_ms", "cpu_ms", "resident_mib", "samples_ms", "paused_ms",
        ]
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the memory of a process by its cause")
def test_memory(printed):
    found = printed("memory", "image.onnx", "--starts", "1", "--seconds", "1")
    assert fields(found)["memory"] == [
        "use", "model", "precision", "threads", "starts", "peak_mib", "rss_mib", "pss_mib", "starts_mib", "causes",
    ]  # fmt: skip
    for row in found["memory"]:
        causes = {cause["cause"]: cause["rss_mib"] for cause in row["causes"]}
        assert sum(causes.values()) == pytest.approx(row["rss_mib"], abs=1)
        assert row["peak_mib"] > row["rss_mib"] / 2
        assert causes["onnxruntime"] > 1


@pytest.mark.slow
def test_rhythm(printed):
    found = printed("rhythm", "nchw.onnx", "--threads", "1", "--rates", "50", "--faces", "6", "--peers", "opencv_dnn")
    assert fields(found)["rhythm"] == [
        "label", "contender", "settings", "version", "model", "precision", "threads", "faces_per_s", "cold", "latency",
        "cpu_ms", "samples_ms", "error",
    ]  # fmt: skip
    assert [(row["contender"], row["cold"], row["error"]) for row in found["rhythm"]] == [
        ("edge", False, ""), ("opencv_dnn", False, ""), ("edge", True, ""), ("opencv_dnn", True, ""),
    ]  # fmt: skip
    assert all(row["latency"]["samples"] == 6 and row["cpu_ms"] > 0 for row in found["rhythm"])


@pytest.mark.slow
def test_operators(printed):
    found = printed("operators", "nchw.onnx", "--threads", "1", "2", "--rounds", "3")
    assert fields(found)["operators"] == ["model", "threads", "run", "operators"]
    assert [(row["model"], row["threads"], row["run"]["samples"]) for row in found["operators"]] == [
        ("nchw.onnx", 1, 3), ("nchw.onnx", 2, 3),
    ]  # fmt: skip
    for row in found["operators"]:
        times = [each["ms"] for each in row["operators"]]
        assert times == sorted(times, reverse=True)
        assert {each["operator"]: each["nodes"] for each in row["operators"]}["Conv"] >= 5
        assert 0 < sum(times) < row["run"]["median_ms"] * 1.5


def test_todays_int8(printed):
    printed("todays-int8", "nchw.onnx", "--photos", "lfw/images/ann", "--count", "4", "-o", "int8.onnx")


@pytest.mark.slow
def test_accuracy(printed, int8):
    found = printed("accuracy", "nchw.onnx", int8, "--pairs", "pairs.csv", "--images", "lfw/images")
    assert fields(found)["accuracy"] == [
        "label", "model", "precision", "landmarks", "flip", "provider", "pairs", "photographs", "undetected",
        "accuracy", "accuracy_std", "accuracy_interval", "threshold", "tar_at_far", "eer", "eer_interval", "roc",
        "protocols",
    ]  # fmt: skip
    assert found["accuracy"][1].keys() - found["accuracy"][0].keys() == {"difference"}


@pytest.mark.slow
def test_half_precision(printed):
    """Too few pairs judge no accuracy; the cosines pass."""
    found = printed("half-precision", "nchw.onnx", "--pairs", "pairs.csv", "--images", "lfw/images")
    assert fields(found)["half_precision"] == ["model", "network", "modelled_by", "proof"]
    (row,) = found["half_precision"]
    assert row["proof"]["pairs"]["count"] == 20
    assert 0.998 < row["proof"]["cosine"]["mean"] < 1
    assert [judgment["bound"] for judgment in row["proof"]["judgments"]][:1] == [0.998]


def test_half_precision_needs_pairs(capsys, place):
    assert run(build_parser(), ["half-precision", str(place / "nchw.onnx")]) == 2
    assert "No pairs were named" in capsys.readouterr().err


@pytest.mark.slow
def test_alignment(printed, place, astronaut):
    for person in ("ann", "bob"):
        target = place / "faces" / "images" / person / f"{person}_0001.jpg"
        target.parent.mkdir(parents=True)
        cv2.imwrite(str(target), astronaut)
    lines = [f"{person}/{person}_0001.jpg {LANDMARKS}\n" for person in ("ann", "bob")]
    (place / "faces" / "lfw_landmark.txt").write_text("".join(lines))
    (place / "faces" / "pairs.txt").write_text("1\t1\nann\t1\t1\nann\t1\tbob\t1\n")
    found = fields(printed("alignment", "image.onnx", "--lfw", "faces", "--count", "1"))
    assert len(found.pop("enlarged")) == 9
    assert list(found) == [
        "model", "photographs", "to_reference_max_levels", "umeyama_scale_ratio_median", "umeyama_scale_ratio_min",
        "umeyama_smaller_by_3_percent", "cosine_of_fits_mean", "cosine_of_fits_min", "reflection_fits_better",
        "float_warp_max_levels", "decoder_max_levels", "to_original_max_levels", "to_original_mean_levels",
    ]  # fmt: skip


@pytest.mark.slow
def test_identification(printed, monkeypatch):
    for name, value in {"ENROLLED_FROM": 3, "EACH": 1, "MIN_STRANGERS": 2}.items():
        monkeypatch.setattr(f"benchmarks.gallery.identification.{name}", value)
    assert fields(printed("identification", "image.onnx", "--lfw", "lfw")) == {
        "identification": [
            "label", "model", "precision", "landmarks", "provider", "enrolled", "probes", "strangers", "rank_1",
            "rank_1_interval", "false_alarm_rate", "threshold", "dir", "dir_interval", "pair_false_accept_rate",
            "pair_threshold", "false_alarm_rate_at_pair_threshold", "curve", "similarities",
        ]
    }  # fmt: skip


@pytest.mark.slow
def test_strangers(printed):
    lines = "ann\t1\t2\nbob\t1\tcat\t1\nann\t1\tdan\t1\nann\t2\t3\nbob\t1\t2\n"
    Path("lfw/pairs.txt").write_text(f"header\n{lines * 2}")
    found = printed("strangers", "image.onnx", "--lfw", "lfw")
    assert [row["days"] for row in found["strangers"]] == [1, 7, 30]
    assert found["chosen"] == found["choices"][0]


@pytest.mark.slow
def test_gallery_search(printed):
    assert fields(printed("gallery-search", "--identities", "200", "--probes", "20", "--rounds", "2")) == {
        "galleries": [
            "gallery", "identities", "fill_s", "probes", "recall_at_1", "recall_at_1_known", "recall_at_1_strangers",
            "enroll_ms", "remove_s", "first_search_ms", "median_ms", "p99_ms", "samples_ms",
        ]
    }  # fmt: skip


@pytest.mark.slow
def test_embed_folder(printed, monkeypatch):
    monkeypatch.setattr("benchmarks.gallery.scale.RayEngine", lambda **_: LocalEngine())
    assert printed("embed-folder", "image.onnx", "--photos", "lfw/images/ann", "--workers", "1", "--rounds", "1")


@pytest.mark.slow
def test_emulate(emulated, int8):
    assert emulated(run_emulate, "emulate", int8, "--float", "nchw.onnx", "--photos", "lfw/images/ann")["emulated"]


@pytest.mark.slow
def test_ascend_run(printed, measured):
    found = fields(printed("ascend", "run", "--edge", measured))
    assert list(found) == ["presence", "probe", "native", "ledger"]
    assert found["ledger"] == LEDGER


def test_ascend_import(printed):
    found = fields(printed("ascend", "import", "eval.log", "--source", "Atlas 300I, our lab"))
    assert found == {
        "ledger": ["path", "accuracy", "accuracy_std", "threshold", "origin", "source", "proof", "doubts", "file"]
    }


@pytest.mark.slow
def test_ascend_compare(printed, tmp_path):
    assert len(printed("ascend", "compare", "-o", str(tmp_path / "ledger"))["files"]) == 3


def _commands(parser, words=()):
    if parser.commands is None:
        yield " ".join(words), parser
    else:
        for name, command in parser.commands.choices.items():
            yield from _commands(command, (*words, name))


def test_every_command_takes_json():
    for words, parser in _commands(build_parser()):
        assert "--json" in parser.options(), words
