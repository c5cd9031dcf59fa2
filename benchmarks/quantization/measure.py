"""Measure all promises of the quantization in one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import runner
from benchmarks.latency import example_crops
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.quantization import derived, gate
from benchmarks.runner import Case
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from export.parity import normalize_plainly
from export.quantization.crops import calibration_crops
from export.quantization.paired_embeddings import embed_pairs, embed_photographs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.quantization.derived import Forms
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.types import JsonObject
    from export.quantization.search import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Setup of the run.

    Attributes:
        plain: float ONNX file for the latency.
        trained: float ONNX file for drift, accuracy and gate; may be the same file.
        folder: folder of the files that are made.
        photographs: folder of photographs for calibrations.
        labeled: labeled pairs, or None.
        proof_options: options of the command line for the same pairs.
        threads: numbers of threads of one inference.
        rounds: number of samples of each case.
    """

    plain: Path
    trained: Path
    folder: Path
    photographs: Path
    labeled: LabeledPairs | None
    proof_options: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int


def measure(setup: Setup, *, reporter: Reporter, note: Callable[[str], None]) -> JsonObject:
    """Derive every form of the models, time them, compare them with float, and try the gate.

    Args:
        setup: setup of the run.
        reporter: returns a progress function for a named step.
        note: called with a description of each step.
    """
    folder, photographs, labeled = setup.folder, setup.photographs, setup.labeled
    judged = derived.derive(setup.trained, folder, photographs, labeled=labeled, reporter=reporter, note=note)
    timed = judged
    if setup.plain != setup.trained:
        timed = derived.derive(setup.plain, folder, photographs, labeled=None, reporter=reporter, note=note)
    crops = calibration_crops(photographs, judged.made.spec, open_detector(), count=gate.POISONED_CROPS).crops
    return {
        "rows": _rows(timed, setup, reporter),
        "file_ratio": timed.int8.stat().st_size / timed.plain.stat().st_size,
        "rewritten_cosine": _exactness(judged, photographs, labeled, reporter),
        "spec": judged.made.spec.as_json(),
        "search": None if judged.made.search is None else json_object(judged.made.search.report()),
        "proof": json_object(judged.made.proof.report()),
        "gate": gate.attempts(judged, folder, crops, setup.proof_options),
    }


def _rows(forms: Forms, setup: Setup, reporter: Reporter) -> list[JsonObject]:
    """Return the latency of every form, interleaved in separate processes; ``form`` names the form."""
    folder, photographs = setup.folder, setup.photographs
    habit = derived.habit(forms.plain, folder, photographs)
    missing = ""
    try:
        nncf = derived.by_nncf(forms.plain, folder, photographs)
    except PeerUnavailableError as error:
        nncf, missing = forms.plain, str(error)
    spec = Embedder(forms.plain, provider="cpu").spec
    crops = example_crops(spec, 1)
    floats = normalize_plainly(crops, spec)
    rows: list[JsonObject] = []
    for count in setup.threads:
        case = partial(Case, threads=count, batch=1)
        cases = {
            "plain": case(contender="edge", model=forms.plain, label="float, plain", precision="float32"),
            "rewritten": case(contender="edge", model=forms.rewritten, label="float, rewritten", precision="float32"),
            "int8_pinned": case(
                contender="edge_pinned", model=forms.int8, label="INT8, pinned threads", precision="int8"
            ),
            "int8": case(contender="edge", model=forms.int8, label="INT8", precision="int8"),
            "openvino": case(contender="openvino", model=forms.int8, label="OpenVINO: same INT8", precision="int8"),
            "nncf": case(
                contender="openvino", model=nncf, label="OpenVINO: NNCF's INT8", precision="int8", refusal=missing
            ),
        }
        if habit is not None:
            label = "INT8, quantize_static on plain"
            cases["habit"] = case(contender="edge", model=habit, label=label, precision="int8")
        measured = runner.measure(
            list(cases.values()), crops, floats, rounds=setup.rounds, progress=reporter(f"latency, threads: {count}")
        )
        rows += [{"form": form, **json_object(row)} for form, row in zip(cases, measured, strict=True)]
    return rows


def _exactness(forms: Forms, photographs: Path, labeled: LabeledPairs | None, reporter: Reporter) -> JsonObject:
    """Return the cosine similarity of the rewritten and the plain float model over photographs."""
    plain, rewritten = Embedder(forms.plain, provider="cpu"), Embedder(forms.rewritten, provider="cpu")
    detector, progress = open_detector(), reporter("rewritten against plain")
    if labeled is not None:
        embedded = embed_pairs(plain, rewritten, labeled, detector, progress=progress)
    else:
        unused = calibration_crops(photographs, plain.spec, detector, count=1).unused
        embedded = embed_photographs(plain, rewritten, unused, detector, progress=progress)
    cosines = embedded.cosines
    return {"crops": len(cosines), "min": float(np.minimum(cosines, 1).min())}
