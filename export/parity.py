"""Prove that an ONNX file equals its checkpoint, and record the proof in a certificate."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface import __version__
from edge_sphereface.json_output import INLINE, json_object
from edge_sphereface.metrics import Agreement, agreement
from edge_sphereface.model.certificate import (
    CONVERSION_BOUNDS,
    Bounds,
    Certificate,
    CertifiedBounds,
    CertifiedCase,
    CertifiedCheckpoint,
    CertifiedCrops,
    CertifiedModel,
    CertifiedReference,
    golden_alignment,
    golden_record,
    model_bounds,
)
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.storage.files import sha256_of
from export.errors import ParityError
from export.faces import face_crops

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.origin import Origin
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array
    from export.reference import Reference

BATCHES = (1, 7)
_NOISE_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityCase:
    """One comparison with the reference.

    Attributes:
        inputs: kind of inputs: ``noise`` or ``faces``.
        batch: number of crops in one inference.
        measured: agreement of the embeddings with the reference.
    """

    inputs: str
    batch: int
    measured: Agreement = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """Comparison of an ONNX file with its source.

    Attributes:
        passed: whether every case is within the bounds.
        reference: library that the ONNX file was compared with, or another ONNX file and its precision.
        bounds: bounds of each case.
        cases: the comparisons.
    """

    passed: bool
    reference: CertifiedReference
    bounds: Bounds
    cases: tuple[ParityCase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """All comparisons of one ONNX file with its checkpoint.

    Attributes:
        reference: name and version of the reference.
        cases: the comparisons.
        folded: what the conversion folded into the weights and the reference computed explicitly, in words.
    """

    reference: tuple[str, str]
    cases: tuple[ParityCase, ...]
    folded: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every case is within ``CONVERSION_BOUNDS``."""
        return all(CONVERSION_BOUNDS.holds(case.measured) for case in self.cases)

    @property
    def worst(self) -> Agreement:
        """Largest error and smallest cosine similarity over all cases."""
        return Agreement(
            max_abs_error=max(case.measured.max_abs_error for case in self.cases),
            min_cosine=min(case.measured.min_cosine for case in self.cases),
        )


def prove(
    embedder: Embedder,
    reference: Reference,
    origin: Origin,
    *,
    photos: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> Proof:
    """Compare an ONNX file with a reference, for batches of 1 and 7, on noise and on faces.

    Args:
        embedder: the ONNX file.
        reference: forward pass with the checkpoint's parameters.
        origin: conventions of the network. The reference takes crops in the color order of its training and
            normalizes, whereas the ONNX file takes BGR.
        photos: photographs for the faces, see :func:`export.faces.face_crops`.
        note: called with a description of each step.
    """
    step = -1 if origin.color_order == "RGB" else 1
    proof = _compare(
        embedder,
        lambda crops: reference.forward(normalize_plainly(crops[..., ::step], embedder.spec)),
        (reference.name, reference.version),
        photos,
        note,
    )
    return replace(proof, folded=_folded(origin))


def _folded(origin: Origin) -> tuple[str, ...]:
    found = []
    if origin.color_order == "RGB":
        found.append("color order: the first convolution's input channels are reversed; the reference took RGB crops")
    if origin.is_normalized:
        found.append("batch normalization: folded into the weights before it; the reference normalized")
    return tuple(found)


def prove_against_model(
    embedder: Embedder, original: Embedder, *, photos: Path | None = None, note: Callable[[str], None] | None = None
) -> Proof:
    """Compare an ONNX file with another one of the same network, such as the source of a rewrite or quantization."""
    return _compare(embedder, original.forward, (original.path.name, original.spec.precision), photos, note)


def _compare(
    embedder: Embedder,
    expected: Callable[[UInt8Array], Float32Array],
    reference: tuple[str, str],
    photos: Path | None,
    note: Callable[[str], None] | None,
) -> Proof:
    spec = embedder.spec
    random = np.random.RandomState(_NOISE_SEED)  # the same stream in every numpy
    inputs = {
        "noise": random.randint(0, 256, (max(BATCHES), *spec.crop_shape), dtype=np.uint8),
        "faces": face_crops(spec, max(BATCHES), photos),
    }
    cases = []
    for name, crops in inputs.items():
        if note is not None:
            note(f"comparing with {' '.join(reference)}: {name}")
        rows = expected(crops)  # once: MindSpore takes seconds for each new size of a batch
        for batch in BATCHES:
            measured = agreement(rows[:batch], embedder.forward(crops[:batch]))
            cases.append(ParityCase(inputs=name, batch=batch, measured=measured))
    return Proof(reference=reference, cases=tuple(cases))


def require(proof: Proof, what: str, *, original: str = "its checkpoint") -> None:
    """Require that a proof passed.

    Raises:
        ParityError: the proof failed.
    """
    if not proof.passed:
        worst, bounds = proof.worst, CONVERSION_BOUNDS
        raise ParityError(
            f"{what} does not equal {original}: max abs error {worst.max_abs_error:.2e} of the largest component "
            f"(at most {bounds.max_abs_error:g}), min cosine {worst.min_cosine:.9f} (at least {bounds.min_cosine:g}).",
            hint="nothing was written; of tiles that you named, take smaller ones; else, if the source is sound, this "
            "is a bug of the exporter",
        )


def certificate(proof: Proof, embedder: Embedder, *, model_name: str) -> Certificate:
    """Make the certificate of a proof.

    Args:
        proof: the comparisons.
        embedder: the model that was proven.
        model_name: final file name of the model.
    """
    import onnx

    opset = 0
    if not is_ncnn_file(embedder.path):
        model = onnx.load(embedder.path, load_external_data=False)
        opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    library, version = embedder.provider.library
    is_exact = embedder.spec.precision == "float32"
    return Certificate(
        checkpoint=CertifiedCheckpoint(
            file=embedder.spec.source_file,
            sha256=embedder.spec.source_sha256,
            is_official=embedder.spec.source_is_official,
        ),
        onnx=CertifiedModel(
            file=model_name,
            sha256=sha256_of(embedder.path),
            bytes=embedder.path.stat().st_size,
            opset=opset,
        ),
        reference=CertifiedReference(name=proof.reference[0], version=proof.reference[1]),
        # A model of reduced precision has its own proof; these cases record its difference from float.
        bounds=CertifiedBounds(conversion=CONVERSION_BOUNDS if is_exact else None, device=model_bounds(embedder.spec)),
        folded=proof.folded,
        cases=tuple(
            CertifiedCase(inputs=case.inputs, batch=case.batch, **json_object(case.measured)) for case in proof.cases
        ),
        crops=CertifiedCrops.of(embedder.spec),
        alignment=golden_alignment(embedder.spec),
        golden=golden_record(embedder),
        versions={
            "edge_sphereface": __version__,
            "onnx": onnx.__version__,
            library: version,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "processor": platform.machine(),
            "provider": embedder.provider.active[0],
        },
    )


def report(proof: Proof) -> ParityReport:
    """Return the proof as commands print it."""
    name, version = proof.reference
    return ParityReport(
        passed=proof.passed,
        reference=CertifiedReference(name=name, version=version),
        bounds=CONVERSION_BOUNDS,
        cases=proof.cases,
    )


def text(proof: Proof) -> str:
    """Format the proof as text."""
    bounds = CONVERSION_BOUNDS
    lines = [
        f"parity {'PASSED' if proof.passed else 'FAILED'} against {' '.join(proof.reference)}",
        f"  {'inputs':<8} {'batch':>5}  {'max abs error':>13}  {'min cosine':>12}",
    ]
    lines += [
        f"  {case.inputs:<8} {case.batch:>5}  {case.measured.max_abs_error:>13.2e}  {case.measured.min_cosine:>12.9f}"
        for case in proof.cases
    ]
    lines.append(f"  {'required':<14}  {f'<= {bounds.max_abs_error:g}':>13}  {f'>= {bounds.min_cosine:g}':>12}")
    lines += [f"  covers {words}" for words in proof.folded]
    return "\n".join(lines)


def normalize_plainly(crops: UInt8Array, spec: ModelSpec) -> Float32Array:
    """Normalize pixels as the original does, independently of the runtime: (pixel - mean) * scale, NCHW."""
    values = (crops.astype(np.float64) - spec.pixel_mean) * spec.pixel_scale
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)
