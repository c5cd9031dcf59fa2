"""The whole way on one photograph, ending in one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.compare import verify
from edge_sphereface.detection import open_detector
from edge_sphereface.doctor.machine import read_machine
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from edge_sphereface.model.spec import LAYOUT_IMAGE
from edge_sphereface.pipeline import FacePipeline
from edge_sphereface.storage.files import ensure_folder
from export import parity
from export.convert import Conversion, ConversionOptions, convert
from export.faces import astronaut
from export.official import LFW_ACCURACY, OFFICIAL, official_path
from export.untrained import write_untrained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.compare import Verification
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.types import EmbeddedFace, JsonObject, UInt8Array

INFERENCES = 30

UNTRAINED_NOTICE = (
    "These weights are UNTRAINED (random, fixed seed): similarities mean nothing. "
    "Get the official ones: make demo-official"
)
OFFICIAL_NOTICE = f"Official weights of MindSpore Hub (published: {LFW_ACCURACY:.2%} on LFW, not measured here)."


def run_demo(folder: Path, *, note: Callable[[str], None]) -> tuple[JsonObject, str]:
    """Convert, prove, detect, align, embed, compare, time.

    Args:
        folder: for the files that are made.
        note: told what is being done.

    Returns:
        The result for machines and the page for people.

    Raises:
        EdgeSphereFaceError: a step failed.
    """
    ensure_folder(folder)
    trained = OFFICIAL.matches(official_path())
    notice = OFFICIAL_NOTICE if trained else UNTRAINED_NOTICE
    note(notice)
    checkpoint = official_path() if trained else folder / "sphereface20-untrained.ckpt"
    if not trained:
        note(f"writing {checkpoint}")
        write_untrained(checkpoint)
    made = convert(checkpoint, folder / "sphereface20.onnx", ConversionOptions(input_layout=LAYOUT_IMAGE), note=note)
    note("detecting, aligning, embedding")
    pipeline = FacePipeline(Embedder(made.model), open_detector())
    photograph = astronaut()
    item = pipeline.process_one(photograph)
    mirrored = pipeline.process_one(np.ascontiguousarray(photograph[:, ::-1]))
    answer = verify(item.embedding, mirrored.embedding, threshold=made.spec.threshold)
    pictures = _save_pictures(folder, photograph, item)
    note(f"timing {INFERENCES} inferences")
    samples = measure_interleaved({"embed": lambda: pipeline.embedder.embed(item.crop[None])}, rounds=INFERENCES)
    latency = summarize(samples["embed"])
    files = [checkpoint, made.model, made.certificate, *pictures]
    result = {
        "trained": trained,
        "notice": notice,
        "files": [{"path": str(path), "bytes": path.stat().st_size} for path in files],
        "parity": parity.summary(made.proof),
        "detector": pipeline.detector.name,
        "face": json_object(item.face.report()),
        "similarity_to_mirror_image": answer.similarity,
        "latency": json_object(latency),
        "provider": json_object(pipeline.embedder.provider),
    }
    return result, _page(notice, files, made, pipeline, (item, answer, latency))


def _save_pictures(folder: Path, photograph: UInt8Array, item: EmbeddedFace) -> list[Path]:
    """The photograph with box and landmarks drawn in, and the aligned crop."""
    import cv2

    drawn = photograph.copy()
    left, top, right, bottom = (round(float(value)) for value in item.face.box)
    cv2.rectangle(drawn, (left, top), (right, bottom), (80, 220, 80), 2)
    for x, y in item.face.landmarks:
        cv2.circle(drawn, (round(float(x)), round(float(y))), 3, (60, 60, 250), cv2.FILLED)
    pictures = [folder / "face-found.png", folder / "face-aligned.png"]
    for path, picture in zip(pictures, (drawn, item.crop), strict=True):
        save_image(path, picture)
    return pictures


def _page(
    notice: str,
    files: list[Path],
    made: Conversion,
    pipeline: FacePipeline,
    found: tuple[EmbeddedFace, Verification, LatencySummary],
) -> str:
    item, answer, latency = found
    machine = read_machine()
    left, top, right, bottom = item.face.box
    spec = made.spec
    sizes = [f"  {path.stat().st_size / (1 << 20):>8.2f} MiB  {path}" for path in files]
    crop = f"{spec.input_height} x {spec.input_width} uint8 BGR"
    where = f"score {item.face.score:.3f}, box {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
    spread = f"median of {latency.samples}; p95 {latency.p95_ms:.1f}, min {latency.min_ms:.1f}"
    rows = [
        ("Face", f"found by {pipeline.detector.name} in scikit-image's `astronaut` (public domain), {where}"),
        ("Similarity", f"{answer.similarity:.4f} to her mirror image (threshold {answer.threshold:g})"),
        ("Latency", f"{latency.median_ms:.1f} ms per face ({spread})"),
        ("Ran on", str(pipeline.embedder.provider)),
        ("", f"{machine.cpu_model or machine.processor}, {machine.usable_cpus} processors, numpy {np.__version__}"),
    ]
    model = f"Model       {spec.architecture}, {spec.embedding_size}-d, input {crop}"
    lines = [notice, "", "Files", *sizes, "", model, parity.text(made.proof), ""]
    return "\n".join(lines + [f"{name:<11} {value}" for name, value in rows])
