"""Parity certificates: the proof that an ONNX file equals its checkpoint, checked again where it runs.

``python -m export`` writes one beside the model. It holds the embeddings of a few seeded inputs, so a device can repeat
the proof without the checkpoint: with its own processor, execution provider and versions.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.alignment import similarity_transform
from edge_sphereface.errors import CertificateError
from edge_sphereface.files import sha256_of
from edge_sphereface.metrics import Agreement, agreement

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.embed import Embedder
    from edge_sphereface.model_spec import ModelSpec
    from edge_sphereface.types import Float32Array, JsonObject, UInt8Array

KIND = "edge_sphereface.parity_certificate"
SCHEMA_VERSION = 1
SUFFIX = ".parity.json"
_MAX_BYTES = 16 << 20
_GOLDEN_SEED = 1704_08063
_GOLDEN_COUNT = 4
_BLOCK_PX = 8
_GOLDEN_NOISE_PX = 8.0
_ALIGNED_WITHIN = 1e-6
"""Between transforms of one kind of fit on different machines; those of the two kinds differ by 0.6 pixels of shift."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What an embedding may differ from its reference.

    Attributes:
        max_abs_error: of a component, relative to the reference's largest component.
        min_cosine: between an embedding and its reference.
    """

    max_abs_error: float
    min_cosine: float

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


def golden_record(embedder: Embedder) -> JsonObject:
    """What a certificate keeps of the golden inputs: their hash and their embeddings, not normalized."""
    crops = golden_crops(embedder.spec)
    return {
        "seed": _GOLDEN_SEED,
        "crops_sha256": _digest(crops),
        "embeddings": [[float(value) for value in row] for row in embedder.forward(crops)],
    }


def golden_alignment(spec: ModelSpec) -> JsonObject:
    """What a certificate keeps of the alignment: the kind of fit, and the transform that it gives for seeded landmarks.

    The landmarks are the template moved by noise, so that each kind of fit gives another transform.
    """
    noise = np.random.RandomState(_GOLDEN_SEED).uniform(-_GOLDEN_NOISE_PX, _GOLDEN_NOISE_PX, (5, 2))
    landmarks = np.array(spec.landmark_template) * 2 + noise
    transform = similarity_transform(landmarks[None], spec.landmark_template, fit=spec.alignment_fit)[0]
    return {"fit": spec.alignment_fit, "landmarks": landmarks.tolist(), "transform": transform.tolist()}


def load_certificate(path: Path) -> JsonObject:
    """Read a certificate.

    Raises:
        CertificateError: it is missing, or no certificate of this version.
    """
    hint = "write one: python -m export verify MODEL.onnx --checkpoint CHECKPOINT"
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CertificateError(f"{path} is larger than any certificate ({_MAX_BYTES} bytes).", hint=hint)
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CertificateError(f"Cannot read the certificate {path}: {error.strerror}.", hint=hint) from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, CertificateError):
            raise
        raise CertificateError(f"{path} is not JSON: {error}.", hint=hint) from error
    kind = content.get("kind") if isinstance(content, dict) else None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if (kind, version) != (KIND, SCHEMA_VERSION):
        raise CertificateError(
            f"Expected a certificate {KIND!r} of version {SCHEMA_VERSION} in {path}, got {kind!r} {version!r}.",
            hint=hint,
        )
    return dict(content)


def check_on_device(embedder: Embedder, certificate: JsonObject, bounds: Bounds | None = None) -> DeviceCheck:
    """Embed the golden inputs again and compare.

    Args:
        embedder: the model, on the provider to be checked.
        certificate: as :func:`load_certificate` gives it.
        bounds: what the agreement must keep; None for those of the model's precision.

    Raises:
        CertificateError: the certificate belongs to another model file, or is damaged.
    """
    certified, found = _text(certificate, "onnx", "sha256"), sha256_of(embedder.path)
    if certified != found:
        raise CertificateError(
            f"The certificate is of another model file: it has SHA-256 {certified}, {embedder.path} has {found}.",
            hint="copy model and certificate together, or verify the model again with its checkpoint",
        )
    _check_alignment(certificate, embedder.spec)
    crops = golden_crops(embedder.spec)
    if _text(certificate, "golden", "crops_sha256") != _digest(crops):
        raise CertificateError(
            "The golden inputs made on this machine are not those of the certificate.",
            hint="another version of edge_sphereface wrote it; verify the model again with its checkpoint",
        )
    expected = _embeddings(certificate, len(crops), embedder.spec.embedding_size)
    measured = agreement(expected, embedder.forward(crops))
    kept = bounds or device_bounds(embedder.spec.precision)
    return DeviceCheck(measured=measured, bounds=kept, passed=kept.holds(measured))


def _digest(crops: UInt8Array) -> str:
    return hashlib.sha256(crops.tobytes()).hexdigest()


def _text(certificate: JsonObject, section: str, name: str) -> str:
    values: Any = certificate.get(section)
    value = values.get(name) if isinstance(values, dict) else None
    if not isinstance(value, str):
        raise CertificateError(f"The certificate has no {section}.{name}.", hint="it is damaged; write it again")
    return value


def _check_alignment(certificate: JsonObject, spec: ModelSpec) -> None:
    kept = certificate.get("alignment")
    if kept is None:  # written before the kind of fit was recorded
        return
    here = golden_alignment(spec)
    try:
        fit, there = kept["fit"], np.asarray(kept["transform"], dtype=np.float64)
    except (TypeError, KeyError, ValueError) as error:
        raise CertificateError("The certificate's alignment is no fit and transform.", hint="write it again") from error
    if fit != here["fit"] or there.shape != (2, 3) or not np.abs(there - here["transform"]).max() <= _ALIGNED_WITHIN:
        raise CertificateError(
            f"The certificate is of faces aligned by the fit {fit!r}; this machine aligns them in another way "
            f"({here['fit']!r}).",
            hint="another version of edge_sphereface wrote it; verify the model again with its checkpoint",
        )


def _embeddings(certificate: JsonObject, count: int, size: int) -> Float32Array:
    golden: Any = certificate["golden"]
    try:
        values = np.asarray(golden.get("embeddings"), dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise CertificateError("The certificate's embeddings are no numbers.", hint="write it again") from error
    if values.shape != (count, size):
        raise CertificateError(
            f"The certificate has embeddings of shape {values.shape}, expected {(count, size)}.", hint="write it again"
        )
    return values
