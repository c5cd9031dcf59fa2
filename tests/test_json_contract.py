"""docs/json.md: every field that it shows is printed, and every field that is printed is shown."""

import json
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import edge_sphereface
from benchmarks import runner
from benchmarks.__main__ import build_parser as benchmarks_parser
from benchmarks.arm64 import models
from benchmarks.emulation import compare
from benchmarks.emulation.emulator import this_python
from edge_sphereface.batch.engines import LocalEngine
from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.runner import run
from edge_sphereface.evaluation import latency
from edge_sphereface.evaluation.labeled_photos import EmbeddedPhotos
from edge_sphereface.storage.download import PinnedFile
from edge_sphereface.storage.files import sha256_of
from export.checkpoint.ckpt_writer import write_ckpt
from export.commands import build_parser as export_parser
from export.tuning import search
from export.untrained import untrained_parameters

PAGE = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
SECTIONS = {
    title.strip("`"): json.loads(body)
    for title, body in re.findall(r"^## (.+?)$.*?^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}
OPEN = {"doctor", "metadata", "nodes", "occupied_mib", "opset", "tried", "versions", "wheels"}
"""Objects whose fields depend on the machine or the model."""
LISTS = {"doubts", "float_layers", "missed", "problems", "skipped", "skipped_parameters"}
"""Lists that may be empty here and not there."""
NULLABLE = {"plain_ms"}
"""Figures that are null where chance has it that nothing was measured beside."""


def form(value, name=""):
    """The fields and types of a JSON value; null fits nothing but null, except where a figure may be missing."""
    if name in OPEN:  # or null, where the library does not tell
        return dict
    if name in LISTS:
        return list
    if isinstance(value, dict):
        return {key: form(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, int) or name in NULLABLE else type(value)


@pytest.fixture
def folder(tmp_path, astronaut, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("export.reference.find_spec", lambda _: None)
    Path("pairs.csv").write_text(
        "image1_path,image2_path,label\n" + "ann/1.png,ann/2.png,1\nann/1.png,bob/1.png,0\n" * 10
    )
    Path("eval.log").write_text("LFWACC=0.9923 std=0.0050 thd=0.3050\n")
    write_ckpt("sphereface.ckpt", {f"network.{name}": values for name, values in small().items()})
    for name, image in {
        "photo.png": astronaut,
        "people/ann/1.png": astronaut,
        "people/ann/2.png": astronaut,
        "people/bob/1.png": astronaut,
        "people/bob/2.png": np.zeros_like(astronaut),
        "paired/ann/1.png": astronaut[:-1],
        "paired/ann/2.png": astronaut[:-2],
        "paired/bob/1.png": astronaut[:-3],
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, image)
    return tmp_path


def small():
    return untrained_parameters(depth=10, widths=(4, 4, 4, 8), embedding_size=16)


def without_peers_and_emulator(monkeypatch):
    """What would be downloaded: OpenVINO, NNCF, QEMU. The gate's attempts have tests of their own."""
    attempt = {"what": "a poisoned calibration", "exit_code": 1, "reason": "x", "written": False, "refused": True}
    monkeypatch.setattr("benchmarks.quantization.gate.attempts", lambda *_: [attempt])
    monkeypatch.setattr("benchmarks.quantization.derived.by_nncf", lambda plain, *_: plain)
    measured = runner.measure

    def ours(cases, *words, **options):
        return measured([replace(case, contender="edge") for case in cases], *words, **options)

    monkeypatch.setattr("benchmarks.runner.measure", ours)

    def here(_, model, folder, options):
        return compare._run_here(model, folder, options)

    monkeypatch.setattr(compare, "_run_emulated", here)
    packages = Path(edge_sphereface.__file__).parents[1]
    made = models.prepare(Path("sphereface.ckpt"), folder=Path("forms").resolve())
    Path("x.whl").touch()
    monkeypatch.setattr("benchmarks.arm64.models.prepare", lambda *_, **__: made)
    monkeypatch.setattr("benchmarks.arm64.smoke.build_wheel", lambda: Path("x.whl"))
    for name in ("install", "install_here"):
        monkeypatch.setattr(f"benchmarks.arm64.smoke.{name}", lambda *_, **__: packages)
    monkeypatch.setattr("benchmarks.arm64.smoke.emulated_python", lambda *_, **__: this_python(packages))
    monkeypatch.setattr("benchmarks.arm64.smoke.emulator_version", lambda: "7.2.22")
    monkeypatch.setattr("benchmarks.arm64.smoke.occupied_mib", lambda: {"arm64": 71.0})
    monkeypatch.setattr("benchmarks.arm64.instructions.build_plugin", lambda: Path("plugin.so"))
    monkeypatch.setattr("benchmarks.arm64.instructions.count", lambda *_: 1000)


def galleries(call, model, monkeypatch):
    """Every command of galleries; photographs of forty people, and Ray, have stand-ins."""
    rows = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)
    rows += 4 * np.repeat(rows[::10], 10, axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    people = EmbeddedPhotos(rows, [f"p{number // 10}" for number in range(400)], [("people/bad.jpg", "Cannot decode.")])
    monkeypatch.setattr("edge_sphereface.evaluation.labeled_photos.embed_labeled_photos", lambda *_, **__: people)
    monkeypatch.setattr("benchmarks.gallery.scale.RayEngine", lambda **_: LocalEngine())
    for name, value in {"ENROLLED_FROM": 3, "EACH": 1, "MIN_STRANGERS": 2}.items():
        monkeypatch.setattr(f"benchmarks.gallery.identification.{name}", value)
    names = ["ann/1.png", "ann/2.png", "ann/3.png", "bob/1.png", "bob/2.png", "bob/3.png", "cat/1.png", "dan/1.png"]
    for name in names:
        Path("lfw/images", name).parent.mkdir(parents=True, exist_ok=True)
        Path("lfw/images", name).write_bytes(Path("photo.png").read_bytes())
    points = "204 101 247 103 224 128 202 140 245 142"
    Path("lfw/lfw_landmark.txt").write_text("".join(f"{name} {points}\n" for name in names))
    at, again = ("--gallery", "people.db"), ("--gallery", "copy.db")
    call(build_parser, "enroll", *at, *model, "Anna", "photo.png", "--keep-crops")
    return {
        "edge-sphereface enroll": call(
            build_parser, "enroll", *at, *model, "--people", "people", "--largest", "--meta", "role=staff"
        ),
        "edge-sphereface identify": call(build_parser, "identify", *at, *model, "photo.png"),
        "edge-sphereface calibrate-threshold": call(
            build_parser, "calibrate-threshold", *at, *model, "people", "--far", "0.01"
        ),
        "edge-sphereface gallery list": call(build_parser, "gallery", "list", *at),
        "edge-sphereface gallery export": call(build_parser, "gallery", "export", *at, "-o", "people.jsonl"),
        "edge-sphereface gallery import": call(build_parser, "gallery", "import", *again, "people.jsonl"),
        "edge-sphereface gallery remove": call(build_parser, "gallery", "remove", *at, "Anna"),
        "edge-sphereface gallery rebuild": call(build_parser, "gallery", "rebuild", *at, *model, "--flip"),
        "edge-sphereface gallery check": call(build_parser, "gallery", "check", *again),
        "edge-sphereface gallery new-key": call(build_parser, "gallery", "new-key", "people.key"),
        "edge-sphereface embed-folder": call(build_parser, "embed-folder", *model, "people", "faces.parquet"),
        "python -m benchmarks identification": call(
            benchmarks_parser, "identification", "sphereface.onnx", "--lfw", "lfw"
        ),
        "python -m benchmarks gallery-search": call(
            benchmarks_parser, "gallery-search", "--identities", "200", "--probes", "20", "--rounds", "2"
        ),
        "python -m benchmarks embed-folder": call(
            benchmarks_parser,
            "embed-folder",
            "sphereface.onnx",
            "--photos",
            "people",
            "--workers",
            "1",
            "--rounds",
            "1",
        ),
    }


def plain_is_slow(monkeypatch):
    """So that tuning finds something, which networks as small as these do not promise."""
    real = latency.measure_interleaved

    def measure(cases, **options):
        is_plain = cases["inference"].func.__self__.path.name == "float.onnx"
        return {name: samples + 1000 * is_plain for name, samples in real(cases, **options).items()}

    monkeypatch.setattr(latency, "measure_interleaved", measure)
    monkeypatch.setattr(search, "TILES", search.TILES[:1])


@pytest.mark.slow
def test_the_page_is_true(folder, capsys, monkeypatch):
    def call(parser, *words):
        run(parser(), [*words, "--json"])
        return json.loads(capsys.readouterr().out)

    model = ("--model", "sphereface.onnx")
    numpy = ("--reference", "numpy")
    lax = ("--policy", "mean=0,p1=0,known=0,min=0,accuracy=none,tar=none,latency=none")
    pairs = ("--pairs", "pairs.csv", "--images", "paired")
    quantize = ("quantize", "sphereface.onnx", "--calibration", "people", "-o", "sphereface.int8.onnx")
    benchmark = ("quantization", "float.onnx", "--calibration", "people", "--rounds", "3", "--threads", "1")
    latency = ("latency", "sphereface.onnx", "--rounds", "3", "--threads", "1", "--batches", "1", "-o", "l.json")
    once = ("--threads", "1", "--rounds", "3", "--restarts", "1")
    native = ("--checkpoint", "sphereface.ckpt", "--rounds", "3") if find_spec("mindspore") else ()
    without_peers_and_emulator(monkeypatch)
    plain_is_slow(monkeypatch)
    digest = sha256_of("photo.png")
    pinned = PinnedFile(name="x.onnx", url="https://example.org/x", sha256=digest, max_bytes=1 << 20, license="none")
    monkeypatch.setattr("edge_sphereface.detection.yunet.YUNET", pinned)
    printed = {
        "python -m export convert": call(
            export_parser, "convert", "sphereface.ckpt", "-o", "sphereface.onnx", "--input-layout", "image", *numpy
        ),
        "float": call(export_parser, "convert", "sphereface.ckpt", "-o", "float.onnx", *numpy),
        "python -m export verify": call(
            export_parser, "verify", "sphereface.onnx", "--checkpoint", "sphereface.ckpt", *numpy
        ),
        "python -m export rewrite": call(
            export_parser, "rewrite", "float.onnx", "-o", "fast.onnx", "--max-latency", "100"
        ),
        "python -m export tune": call(
            export_parser, "tune", "float.onnx", "-o", "tuned.onnx", "--threads", "1", "--rounds", "5"
        ),
        "python -m export quantize": call(export_parser, *quantize, *pairs, *lax),
        "python -m export verify --float": call(
            export_parser, "verify", "sphereface.int8.onnx", "--float", "sphereface.onnx", "--photos", "people", *lax
        ),
        "python -m export inspect CHECKPOINT": call(export_parser, "inspect", "sphereface.ckpt"),
        "python -m export inspect MODEL.onnx": call(export_parser, "inspect", "sphereface.onnx"),
        "edge-sphereface info": call(build_parser, "info", *model),
        "edge-sphereface detect": call(build_parser, "detect", "photo.png"),
        "edge-sphereface align": call(build_parser, "align", "photo.png", "-o", "crops"),
        "edge-sphereface embed": call(build_parser, "embed", "photo.png", *model),
        "edge-sphereface verify": call(build_parser, "verify", "photo.png", "photo.png", *model),
        "edge-sphereface verify-model --photos": call(
            build_parser, "verify-model", "sphereface.onnx", "--photos", "people"
        ),
        "edge-sphereface tune": call(
            build_parser, "tune", "float.onnx", "tuned.onnx", "--threads", "1", "--rounds", "5"
        ),
        "edge-sphereface doctor": call(build_parser, "doctor", *model),
        "python -m benchmarks todays-int8": call(
            benchmarks_parser, "todays-int8", "float.onnx", "--photos", "people/ann", "--count", "4", "-o", "int8.onnx"
        ),
        "python -m benchmarks latency": call(benchmarks_parser, *latency),
        "python -m benchmarks sessions": call(
            benchmarks_parser,
            "sessions",
            "sphereface.onnx",
            "--threads",
            "1",
            "--pause-ms",
            "1",
            "--rounds",
            "2",
            "--starts",
            "1",
        ),
        "python -m benchmarks accuracy": call(
            benchmarks_parser, "accuracy", "float.onnx", "int8.onnx", "--pairs", "pairs.csv", "--images", "people"
        ),
        "python -m benchmarks quantization": call(benchmarks_parser, *benchmark),
        "python -m benchmarks tuning": call(
            benchmarks_parser, "tuning", "float.onnx", "--tuned", "tuned.onnx", "--photos", "people", "--peers", *once
        ),
        "python -m benchmarks emulate": call(
            benchmarks_parser, "emulate", "sphereface.int8.onnx", "--float", "sphereface.onnx", "--photos", "people"
        ),
        "python -m benchmarks arm64": call(benchmarks_parser, "arm64", "--processors", "cortex-a72"),
        "python -m benchmarks ascend run": call(benchmarks_parser, "ascend", "run", "--edge", "l.json", *native),
        "python -m benchmarks ascend import": call(
            benchmarks_parser, "ascend", "import", "eval.log", "--source", "Atlas 300I, our lab"
        ),
        "python -m benchmarks plan": call(
            benchmarks_parser, "plan", "l.json", "--fps", "15", "--faces", "3", "--budget-ms", "60"
        ),
        "python -m benchmarks report": call(benchmarks_parser, "report", "l.json", "-o", "report"),
        "python -m benchmarks compare": call(benchmarks_parser, "compare", "l.json", "l.json"),
        **galleries(call, model, monkeypatch),
        "Errors": call(build_parser, "info", "--model", "missing.onnx"),
        # Last, since it puts a file in the cache that is no detector.
        "edge-sphereface fetch-detector": call(build_parser, "fetch-detector", "--from", "photo.png"),
    }
    del printed["float"]
    assert set(printed) == set(SECTIONS)
    for title, value in printed.items():
        shown = form(SECTIONS[title])
        got = form(value)
        if "machine" in shown:  # the examples come from another machine
            for fact in ("memory_mib", "cgroup_cpus", "accelerators"):
                shown["machine"].pop(fact)
                got["machine"].pop(fact)
        if "environment" in shown:
            for fact in ("governor", "memory_mib", "generation", "load"):
                shown["environment"].pop(fact, None)
                got["environment"].pop(fact, None)
        for part in ("before", "after", "probe"):
            shown.pop(part, None)
            got.pop(part, None)
        if not native:  # without MindSpore nothing native runs
            shown.pop("native", None)
            got.pop("native", None)
        assert got == shown, title


def test_every_error_code_is_listed():
    import edge_sphereface.errors
    import export.errors
    from benchmarks.ascend.imported import ImportedError
    from benchmarks.emulation.debian import EmulationError
    from edge_sphereface.cli.runner import UsageError

    kinds = [*vars(edge_sphereface.errors).values(), *vars(export.errors).values()]
    kinds += [UsageError, ImportedError, EmulationError]
    codes = {kind.code for kind in kinds if isinstance(kind, type) and hasattr(kind, "code")} - {"error", "model"}
    assert codes <= set(re.findall(r"`([a-z-]+)`", PAGE.split("## `edge")[0]))
