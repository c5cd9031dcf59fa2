"""Parity certificates: the proof that an ONNX file equals its checkpoint, checked again where it runs.

``python -m export`` writes one beside the model. It holds the embeddings of a few seeded inputs, so a device can repeat
the proof without the checkpoint: with its own processor, execution provider and versions.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import numpy as np

from edge_sphereface.alignment import similarity_transform
from edge_sphereface.errors import CertificateError
from edge_sphereface.metrics import Agreement, agreement
from edge_sphereface.storage.files import sha256_of
from edge_sphereface.storage.record import Between, Cosine, Count, Length, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.errors import Remedy
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import JsonObject, UInt8Array

KIND: Final = "edge_sphereface.parity_certificate"
SCHEMA_VERSION: Final = 1
SUFFIX = ".parity.json"
_HINT = "write one by verifying the model with its checkpoint"
_REMEDY: Remedy = "verify-conversion"
_FILE = RegularFile(what="certificate", limit=16 << 20, error=CertificateError, hint=_HINT, remedy=_REMEDY)
_GOLDEN_SEED = 1704_08063
_GOLDEN_COUNT = 4
_BLOCK_PX = 8
_GOLDEN_NOISE_PX = 8.0
_ALIGNED_WITHIN = 1e-6
"""Between transforms of one kind of fit on different machines; those of the two kinds differ by 0.6 pixels of shift."""


class _Part(Record):
    """A part of a certificate."""

    __slots__ = ()
    record_name = "The certificate"
    record_error = CertificateError
    record_hint = _HINT
    record_remedy = _REMEDY


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds(_Part):
    """What an embedding may differ from its reference.

    Attributes:
        max_abs_error: of a component, relative to the reference's largest component.
        min_cosine: between an embedding and its reference.
    """

    max_abs_error: Annotated[float, Between(0, 1e6)]
    min_cosine: Cosine

    def holds(self, measured: Agreement) -> bool:
        """Whether a measured agreement is within these bounds."""
        return measured.max_abs_error <= self.max_abs_error and measured.min_cosine >= self.min_cosine


CONVERSION_BOUNDS = Bounds(max_abs_error=1e-5, min_cosine=0.999999)
"""Between an ONNX file and its checkpoint, on one machine."""
DEVICE_BOUNDS = Bounds(max_abs_error=1e-4, min_cosine=0.99999)
"""Between machines and providers, which sum float32 in different orders."""
_REDUCED_BOUNDS = {
    "float16": Bounds(max_abs_error=2e-2, min_cosine=0.9999),
    "int8": Bounds(max_abs_error=5e-2, min_cosine=0.9995),
}
"""The same for models of reduced precision: against their own embeddings where they were made, not against float32."""


def device_bounds(precision: str) -> Bounds:
    """What a model of a precision must keep on another machine or provider."""
    return _REDUCED_BOUNDS.get(precision, DEVICE_BOUNDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCheckpoint(_Part):
    """Where the weights come from, as in :class:`edge_sphereface.model.spec.ModelSpec`."""

    file: str
    sha256: Sha256
    is_official: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedModel(_Part):
    """The ONNX file that was proven."""

    file: str
    sha256: Sha256
    bytes: Count
    opset: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedReference(_Part):
    """What it was compared with: a library, or another ONNX file and its precision."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedBounds(_Part):
    """Bounds of the conversion, None for a model of reduced precision, and of the check on a device."""

    conversion: Bounds | None
    device: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCase(_Part):
    """One comparison; an error of None was not finite."""

    inputs: str
    batch: Count
    max_abs_error: float | None
    min_cosine: Cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAlignment(_Part):
    """The kind of fit, and the transform (2, 3) that it gives for landmarks (5, 2), in pixels."""

    fit: str
    landmarks: Annotated[tuple[tuple[float, float], ...], Length(5, 5)]
    transform: Annotated[tuple[tuple[float, float, float], ...], Length(2, 2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden(_Part):
    """The golden inputs, which every machine makes alike, and their embeddings.

    Attributes:
        seed: of the inputs.
        crops_sha256: of the inputs.
        embeddings: (N, D), not normalized.
    """

    seed: Count
    crops_sha256: Sha256
    embeddings: Annotated[tuple[Annotated[tuple[float, ...], Length(65536)], ...], Length(64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(_Part):
    """A parity certificate, as it is kept beside a model.

    Attributes:
        kind: mark of the file.
        schema_version: of this record.
        checkpoint: where the weights come from.
        onnx: the model.
        reference: what it was compared with.
        bounds: what the comparisons had to keep.
        cases: the comparisons.
        alignment: None in a certificate that was written before the kind of fit was recorded.
        golden: what a device compares with.
        versions: of what took part.
        quality: of a model of reduced precision, each bound of its proof and what was measured or not judged, in words.
    """

    record_bytes = _FILE.limit

    kind: Literal["edge_sphereface.parity_certificate"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    checkpoint: CertifiedCheckpoint
    onnx: CertifiedModel
    reference: CertifiedReference
    bounds: CertifiedBounds
    cases: tuple[CertifiedCase, ...]
    alignment: GoldenAlignment | None
    golden: Golden
    versions: dict[str, str]
    quality: tuple[str, ...] = ()

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        kind, version = values.get("kind"), values.get("schema_version")
        if (kind, version) != (KIND, SCHEMA_VERSION):
            raise CertificateError(
                f"Expected a certificate {KIND!r} of version {SCHEMA_VERSION}, got {kind!r:.80} {version!r:.80}.",
                hint=_HINT,
                remedy=_REMEDY,
            )
        return {"alignment": None, "quality": [], **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """A certificate's golden inputs, embedded again.

    Attributes:
        measured: agreement with the embeddings in the certificate.
        bounds: what it must keep.
        passed: whether it does.
    """

    measured: Agreement
    bounds: Bounds
    passed: bool


def certificate_path(model: Path) -> Path:
    """Where the certificate of a model is kept: ``m.onnx`` has ``m.parity.json``."""
    return model.with_suffix(SUFFIX)


def golden_crops(spec: ModelSpec) -> UInt8Array:
    """Inputs that every machine makes alike: two of white noise, two of blocks, which reach other activations.

    ``RandomState`` and not ``Generator``: numpy promises the same stream for all time only for the former.

    Returns:
        (4, H, W, 3) uint8.
    """
    height, width, channels = spec.crop_shape
    random = np.random.RandomState(_GOLDEN_SEED)
    noise = random.randint(0, 256, (_GOLDEN_COUNT // 2, height, width, channels), dtype=np.uint8)
    grid = (_GOLDEN_COUNT // 2, math.ceil(height / _BLOCK_PX), math.ceil(width / _BLOCK_PX), channels)
    blocks = random.randint(0, 256, grid, dtype=np.uint8)
    blocks = blocks.repeat(_BLOCK_PX, axis=1).repeat(_BLOCK_PX, axis=2)[:, :height, :width]
    return np.concatenate([noise, blocks])


def golden_record(embedder: Embedder) -> Golden:
    """What a certificate keeps of the golden inputs: their hash and their embeddings, not normalized."""
    crops = golden_crops(embedder.spec)
    return Golden(
        seed=_GOLDEN_SEED,
        crops_sha256=_digest(crops),
        embeddings=tuple(tuple(float(value) for value in row) for row in embedder.forward(crops)),
    )


def golden_alignment(spec: ModelSpec) -> GoldenAlignment:
    """What a certificate keeps of the alignment: the kind of fit, and the transform that it gives for seeded landmarks.

    The landmarks are the template moved by noise, so that each kind of fit gives another transform.
    """
    noise = np.random.RandomState(_GOLDEN_SEED).uniform(-_GOLDEN_NOISE_PX, _GOLDEN_NOISE_PX, (5, 2))
    landmarks = np.array(spec.landmark_template) * 2 + noise
    transform = similarity_transform(landmarks[None], spec.landmark_template, fit=spec.alignment_fit)[0]
    return GoldenAlignment(
        fit=spec.alignment_fit,
        landmarks=tuple((float(x), float(y)) for x, y in landmarks),
        transform=tuple((float(a), float(b), float(c)) for a, b, c in transform),
    )


def load_certificate(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        CertificateError: it is missing, damaged, or no certificate of this version.
    """
    return Certificate.from_json(_FILE.read(path), name=f"The certificate {path}")


def check_on_device(embedder: Embedder, certificate: Certificate, bounds: Bounds | None = None) -> DeviceCheck:
    """Embed the golden inputs again and compare.

    Args:
        embedder: the model, on the provider to be checked.
        certificate: as :func:`load_certificate` gives it.
        bounds: what the agreement must keep; None for those of the model's precision.

    Raises:
        CertificateError: the certificate belongs to another model file, or is damaged.
    """
    certified, found = certificate.onnx.sha256, sha256_of(embedder.path)
    if certified != found:
        raise CertificateError(
            f"The certificate is of another model file: it has SHA-256 {certified}, {embedder.path} has {found}.",
            hint="copy model and certificate together, or verify the model again with its checkpoint",
            remedy=_REMEDY,
        )
    _check_alignment(certificate, embedder.spec)
    crops = golden_crops(embedder.spec)
    if certificate.golden.crops_sha256 != _digest(crops):
        raise CertificateError(
            "The golden inputs made on this machine are not those of the certificate.",
            hint="another version of edge_sphereface wrote it; verify the model again with its checkpoint",
            remedy=_REMEDY,
        )
    sizes = {len(row) for row in certificate.golden.embeddings}
    if len(certificate.golden.embeddings) != len(crops) or sizes != {embedder.spec.embedding_size}:
        raise CertificateError(
            f"Expected {len(crops)} golden embeddings of {embedder.spec.embedding_size} numbers, the certificate has "
            f"{len(certificate.golden.embeddings)} of {sorted(sizes)}.",
            hint=_HINT,
            remedy=_REMEDY,
        )
    expected = np.array(certificate.golden.embeddings, dtype=np.float32)
    measured = agreement(expected, embedder.forward(crops))
    kept = bounds or device_bounds(embedder.spec.precision)
    return DeviceCheck(measured=measured, bounds=kept, passed=kept.holds(measured))


def _digest(crops: UInt8Array) -> str:
    return hashlib.sha256(crops.tobytes()).hexdigest()


def _check_alignment(certificate: Certificate, spec: ModelSpec) -> None:
    kept, here = certificate.alignment, golden_alignment(spec)
    if kept is None:  # written before the kind of fit was recorded
        return
    differences = np.abs(np.array(kept.transform) - np.array(here.transform))
    if kept.fit != here.fit or not differences.max() <= _ALIGNED_WITHIN:
        raise CertificateError(
            f"The certificate is of faces aligned by the fit {kept.fit!r}; this machine aligns them in another way "
            f"({here.fit!r}).",
            hint="another version of edge_sphereface wrote it; verify the model again with its checkpoint",
            remedy=_REMEDY,
        )
