"""Measure all promises of the quantization in one run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import runner
from benchmarks.case_row import FormRow
from benchmarks.latency import example_crops
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.quantization import derived, gate
from benchmarks.runner import Case
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from export.parity import normalize_plainly
from export.quantization.crops import calibration_crops
from export.quantization.paired_embeddings import embed_pairs, embed_photographs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.quantization.derived import Forms
    from benchmarks.quantization.gate import Attempt
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.model.spec import ModelSpec
    from export.quantization.proof import ProofReport
    from export.quantization.search import Reporter, SearchReport


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenCosine:
    """Agreement of the rewritten and the plain float model.

    Attributes:
        crops: number of crops.
        min: least cosine similarity of their embeddings.
    """

    crops: int
    min: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the quantization promises, measured.

    Attributes:
        rows: latency of each form and number of threads.
        file_ratio: size of the INT8 file over that of the float file.
        rewritten_cosine: agreement of the rewritten and the plain float model.
        spec: specification of the INT8 model.
        search: search for the settings of the quantization; None if there was none.
        proof: comparison of the INT8 and the float model.
        gate: attempts to pass harmful models.
    """

    rows: tuple[FormRow, ...]
    file_ratio: float
    rewritten_cosine: RewrittenCosine
    spec: ModelSpec
    search: SearchReport | None
    proof: ProofReport
    gate: tuple[Attempt, ...]


def measure(setup: Setup, *, reporter: Reporter, note: Callable[[str], None]) -> Figures:
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
    return Figures(
        rows=tuple(_rows(timed, setup, reporter)),
        file_ratio=timed.int8.stat().st_size / timed.plain.stat().st_size,
        rewritten_cosine=_exactness(judged, photographs, labeled, reporter),
        spec=judged.made.spec,
        search=None if judged.made.search is None else judged.made.search.report(),
        proof=judged.made.proof.report(),
        gate=tuple(gate.attempts(judged, folder, crops, setup.proof_options)),
    )


def _rows(forms: Forms, setup: Setup, reporter: Reporter) -> list[FormRow]:
    """Return the latency of every form, interleaved in separate processes."""
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
    rows: list[FormRow] = []
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
        rows += [FormRow(form=form, row=row) for form, row in zip(cases, measured, strict=True)]
    return rows


def _exactness(forms: Forms, photographs: Path, labeled: LabeledPairs | None, reporter: Reporter) -> RewrittenCosine:
    """Return the cosine similarity of the rewritten and the plain float model over photographs."""
    plain, rewritten = Embedder(forms.plain, provider="cpu"), Embedder(forms.rewritten, provider="cpu")
    detector, progress = open_detector(), reporter("rewritten against plain")
    if labeled is not None:
        embedded = embed_pairs(plain, rewritten, labeled, detector, progress=progress)
    else:
        unused = calibration_crops(photographs, plain.spec, detector, count=1).unused
        embedded = embed_photographs(plain, rewritten, unused, detector, progress=progress)
    cosines = embedded.cosines
    return RewrittenCosine(crops=len(cosines), min=float(np.minimum(cosines, 1).min()))
