"""Run every feature of the runtime on this processor, one after the other.

Usage: ``python features.py JOB.json``. It needs the installed wheel and nothing else of the project. The job contains
``photo``, ``mirrored``, ``crops`` (an array file), ``floats`` and ``int8`` (models by form), ``features``, ``packages``
and ``output`` (folders). Each feature prints one JSON line: ``feature``, ``passed``, ``seconds``, ``detail``. Each
feature of the runtime has a function in ``FEATURES``.
"""

from __future__ import annotations

import io
import json
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 1
"""Number of threads. Emulated threads share this machine's processors, and instruction counts are for one thread."""


class Result(NamedTuple):
    """Result of a feature: whether it passed, and details that are compared or shown."""

    passed: bool
    detail: dict[str, Any]


def imports(job: dict[str, Any]) -> Result:
    """Import the installed wheel, not a checkout, and its dependencies."""
    import platform

    import cv2
    import numpy as np

    import edge_sphereface
    from edge_sphereface.inference.telemetry import import_onnxruntime

    at = Path(edge_sphereface.__file__)
    return Result(
        passed=at.is_relative_to(job["packages"]),
        detail={
            "machine": platform.machine(),
            "python": platform.python_version(),
            "edge_sphereface": edge_sphereface.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "onnxruntime": import_onnxruntime().__version__,
        },
    )


def doctor(_: dict[str, Any]) -> Result:
    """Run ``doctor``: no check fails. Warnings are reported."""
    code, answer = _command("doctor")
    findings = [finding for finding in answer["findings"] if finding["status"] != "ok"]
    return Result(code == 0, {finding["check"]: finding["message"] for finding in findings})


def detect(job: dict[str, Any]) -> Result:
    """Detect the faces of the photograph."""
    code, answer = _command("detect", job["photo"])
    faces = [face for image in answer["images"] for face in image["faces"]]
    return Result(code == 0 and bool(faces), {"detector": answer["detector"], "faces": faces})


def align(job: dict[str, Any]) -> Result:
    """Align the faces; the crops are compared pixel by pixel."""
    from edge_sphereface import load_image

    folder = Path(job["output"]) / "aligned"
    code, _ = _command("align", job["photo"], "-o", folder)
    pixels = [load_image(path).tolist() for path in sorted(folder.iterdir())]
    return Result(code == 0 and bool(pixels), {"crops": pixels})


def info(job: dict[str, Any]) -> Result:
    """Run ``info``: number of nodes on each execution provider."""
    code, answer = _command("info", "--model", job["floats"]["plain"], "--threads", THREADS)
    return Result(code == 0, {"provider": answer["provider"]})


def verify_model(job: dict[str, Any]) -> Result:
    """Run ``verify-model``: the parity certificate holds on this processor."""
    code, answer = _command("verify-model", job["floats"]["plain"], "--threads", THREADS)
    return Result(code == 0, {"parity": answer["parity"]})


def verify(job: dict[str, Any]) -> Result:
    """Run ``verify`` on a photograph and its mirror image."""
    model = ("--model", job["floats"]["winograd"], "--threads", THREADS)
    code, answer = _command("verify", *model, job["photo"], job["mirrored"])
    return Result(code == 0, {"similarity": answer["similarity"]})


def gallery(job: dict[str, Any]) -> Result:
    """Enroll, identify by the mirror image, and remove: SQLite, its log and the memory-mapped matrix."""
    place = Path(job["output"]) / "people.db"
    at = ("--gallery", place, "--model", job["floats"]["plain"], "--threads", THREADS)
    _command("enroll", *at, "somebody", job["photo"])
    code, answer = _command("identify", *at, job["mirrored"], "--threshold", 0)
    (face,) = answer["images"][0]["faces"]
    _command("gallery", "remove", "--gallery", place, "somebody")
    left = [file.name for file in place.parent.glob("people.db*") if b"somebody" in file.read_bytes()]
    return Result(
        code == 0 and face["name"] == "somebody" and not left, {"similarity": face["candidates"][0]["similarity"]}
    )


def watch(job: dict[str, Any]) -> Result:
    """Run ``watch``: a face is detected, tracked by optical flow, embedded, identified and lost."""
    import numpy as np

    from edge_sphereface import Embedder, FaceStream, StreamSettings, load_image, open_detector, open_gallery
    from edge_sphereface.stream import RecognitionSettings
    from edge_sphereface.stream.capture.images import IteratorSource

    place = Path(job["output"]) / "watched.db"
    at = ("--gallery", place, "--model", job["floats"]["plain"], "--threads", THREADS)
    _command("enroll", *at, "somebody", job["photo"])
    photograph = load_image(job["photo"])
    frames = [np.roll(photograph, 2 * index, axis=1) for index in range(6)]
    embedder = Embedder(job["floats"]["plain"], threads=THREADS)
    settings = StreamSettings(pace=False, recognition=RecognitionSettings(threshold=0))
    with open_gallery(place, embedder) as people:
        source = IteratorSource(frames, live=False, fps=16)
        stream = FaceStream(source, detector=open_detector(), embedder=embedder, gallery=people, settings=settings)
        events = list(stream)
    told = [event.kind for event in events]
    named = next((event.detail for event in events if event.kind == "identified"), {"similarity": None, "name": None})
    return Result(
        named["name"] == "somebody" and {"appeared", "lost", "statistics"} <= set(told),
        {"similarity": named["similarity"], "told": told},
    )


def tune(job: dict[str, Any]) -> Result:
    """Run ``tune`` with one form, since times of an emulated core are meaningless."""
    code, answer = _command("tune", job["int8"]["portable"], "--threads", THREADS, "--rounds", 1)
    return Result(code == 0, {"dropped": answer["dropped"]})


def float_embedding(job: dict[str, Any]) -> Result:
    """Embed crops in float32."""
    return _embeddings(job, "floats")


def int8_embedding(job: dict[str, Any]) -> Result:
    """Embed crops in INT8 for each target."""
    return _embeddings(job, "int8")


FEATURES: tuple[Callable[[dict[str, Any]], Result], ...] = (
    imports,
    doctor,
    detect,
    align,
    info,
    float_embedding,
    int8_embedding,
    verify,
    gallery,
    watch,
    tune,
    verify_model,
)
"""Features in the order of execution."""


def feature_name(feature: Callable[[dict[str, Any]], Result]) -> str:
    """Name of a feature in the job and in the results."""
    return feature.__name__.replace("_", " ")


def _embeddings(job: dict[str, Any], kind: str) -> Result:
    import numpy as np

    from edge_sphereface import Embedder

    crops = np.load(job["crops"])
    for form, model in job[kind].items():
        np.save(Path(job["output"]) / f"{form}.npy", Embedder(model, provider="cpu", threads=THREADS).forward(crops))
    return Result(passed=True, detail={"forms": list(job[kind])})


def _command(*words: object) -> tuple[int, dict[str, Any]]:
    """Run a command of the runtime in this process; a child process would run on the real processor."""
    from edge_sphereface.cli.__main__ import main

    output = io.StringIO()
    with redirect_stdout(output):
        code = main([*map(str, words), "--json"])
    answer: dict[str, Any] = json.loads(output.getvalue())
    if "error" in answer:
        raise RuntimeError(answer["error"]["message"])
    return code, answer


def run(job: dict[str, Any]) -> None:
    """Run the requested features. A failure does not stop the others."""
    warnings.simplefilter("ignore")  # that a model is for another target is what some are run for
    for feature in FEATURES:
        name = feature_name(feature)
        if name not in job["features"]:
            continue
        start = time.process_time()
        try:
            passed, detail = feature(job)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is that feature's result
            passed, detail = False, {"error": f"{type(error).__name__}: {error}"}
        seconds = round(time.process_time() - start, 2)
        line = {"feature": name, "passed": passed, "seconds": seconds, "detail": detail}
        print(json.dumps(line), flush=True)  # noqa: T201 -- this is how it answers


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
