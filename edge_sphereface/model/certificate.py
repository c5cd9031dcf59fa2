"""Parity certificates prove that an ONNX file equals its checkpoint, and let a device verify it again.

The export stage writes a certificate next to the model. It holds the embeddings of a few seeded inputs, so a device can
repeat the check without the checkpoint, on its own processor, execution provider and versions.
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
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.model.quantization import TARGET_OPENVINO
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
_HINT = "copy it beside the model from where both were made, or write one by verifying the model with its checkpoint"
_REMEDY: Remedy = "verify-conversion"
_FILE = RegularFile(what="certificate", limit=16 << 20, error=CertificateError, hint=_HINT, remedy=_REMEDY)
_GOLDEN_SEED = 1704_08063
_GOLDEN_COUNT = 4
_BLOCK_PX = 8
_GOLDEN_NOISE_PX = 8.0
_ALIGNED_WITHIN = 1e-6
"""Largest difference, in pixels, between transforms of one kind of fit on different machines. The two kinds of fit
differ by a translation of 0.6 pixels."""


class _Part(Record):
    """Base of the records in a certificate."""

    __slots__ = ()
    record_name = "The certificate"
    record_error = CertificateError
    record_hint = _HINT
    record_remedy = _REMEDY


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds(_Part):
    """Limits of the difference between embeddings and their references.

    Attributes:
        max_abs_error: largest absolute difference of a component, as a share of the reference's largest component.
        min_cosine: smallest cosine similarity between an embedding and its reference.
    """

    max_abs_error: Annotated[float, Between(0, 1e6)]
    min_cosine: Cosine

    def holds(self, measured: Agreement) -> bool:
        """Whether a measured agreement is within these bounds."""
        return measured.max_abs_error <= self.max_abs_error and measured.min_cosine >= self.min_cosine


CONVERSION_BOUNDS = Bounds(max_abs_error=1e-5, min_cosine=0.999999)
"""Bounds between an ONNX file and its checkpoint on one machine."""
DEVICE_BOUNDS = Bounds(max_abs_error=1e-4, min_cosine=0.99999)
"""Bounds between machines and execution providers, which sum float32 in different orders."""
_REDUCED_BOUNDS = {
    "weights8": Bounds(max_abs_error=2e-2, min_cosine=0.9999),
    "float16": Bounds(max_abs_error=2e-2, min_cosine=0.9999),
    "float16-large-tiles": Bounds(max_abs_error=0.15, min_cosine=0.997),
    "int8": Bounds(max_abs_error=5e-2, min_cosine=0.9995),
}
"""Device bounds of models with reduced precision, relative to their own embeddings at export, not to float32."""
_OPENVINO_BOUNDS = Bounds(max_abs_error=0.1, min_cosine=0.998)
"""Those of INT8 for OpenVINO, whose kernels add biases and residuals in float, in other orders on other processors."""


def device_bounds(precision: str, target: str = "") -> Bounds:
    """Bounds that a model must keep on another machine or execution provider.

    Args:
        precision: precision of the model.
        target: target of its quantization; empty for none.
    """
    if target == TARGET_OPENVINO:
        return _OPENVINO_BOUNDS
    return _REDUCED_BOUNDS.get(precision, DEVICE_BOUNDS)


def model_bounds(spec: ModelSpec) -> Bounds:
    """Bounds that a model with this specification must keep on another machine or execution provider."""
    return device_bounds(spec.precision, spec.quantization.target if spec.quantization else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCheckpoint(_Part):
    """Checkpoint that the weights come from.

    Attributes:
        file: name of the checkpoint file.
        sha256: SHA-256 of the checkpoint in hexadecimal.
        is_official: whether MindSpore Hub published this checkpoint.
    """

    file: str
    sha256: Sha256
    is_official: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedModel(_Part):
    """Model file that the certificate is for.

    Attributes:
        file: name of the model file.
        sha256: SHA-256 of the model file in hexadecimal.
        bytes: size of the model file.
        opset: version of the ONNX operator set; 0 for a model for ncnn.
    """

    file: str
    sha256: Sha256
    bytes: Count
    opset: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedReference(_Part):
    """Reference implementation of the comparison.

    Attributes:
        name: name of a library or of another ONNX file.
        version: version of the library, or precision of the ONNX file.
    """

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedBounds(_Part):
    """Bounds of the certificate.

    Attributes:
        conversion: bounds between checkpoint and ONNX file; None for a model of reduced precision.
        device: bounds of the check on a device.
    """

    conversion: Bounds | None
    device: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCase(_Part):
    """One comparison with the reference.

    Attributes:
        inputs: description of the inputs.
        batch: number of inputs.
        max_abs_error: as in :class:`Bounds`; None if the error was not finite.
        min_cosine: as in :class:`Bounds`.
    """

    inputs: str
    batch: Count
    max_abs_error: float | None
    min_cosine: Cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedCrops(_Part):
    """Crops that the ONNX file takes.

    Attributes:
        height: height of a crop in pixels.
        width: width of a crop in pixels.
        color_order: color order of a crop.
        pixel_mean: value subtracted from each pixel (0 to 255).
        pixel_scale: factor applied to the difference.
        landmark_template: five (x, y) in pixels of the crop.
    """

    height: Count
    width: Count
    color_order: str
    pixel_mean: float
    pixel_scale: float
    landmark_template: Annotated[tuple[tuple[float, float], ...], Length(5, 5)]

    @classmethod
    def of(cls, spec: ModelSpec) -> CertifiedCrops:
        """Crops of a model with this specification."""
        return cls(
            height=spec.input_height,
            width=spec.input_width,
            color_order=spec.color_order,
            pixel_mean=spec.pixel_mean,
            pixel_scale=spec.pixel_scale,
            landmark_template=spec.landmark_template,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAlignment(_Part):
    """Alignment of seeded landmarks.

    Attributes:
        fit: kind of fit, ``cp2tform`` or ``umeyama``.
        landmarks: five (x, y) in pixels.
        transform: (2, 3) matrix that maps (x, y, 1) to (x, y) of the crop, in pixels.
    """

    fit: str
    landmarks: Annotated[tuple[tuple[float, float], ...], Length(5, 5)]
    transform: Annotated[tuple[tuple[float, float, float], ...], Length(2, 2)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden(_Part):
    """Golden inputs, which every machine generates identically, and their embeddings.

    Attributes:
        seed: seed of the inputs.
        crops_sha256: SHA-256 of the inputs in hexadecimal.
        embeddings: (N, D) embeddings of the inputs, not normalized.
    """

    seed: Count
    crops_sha256: Sha256
    embeddings: Annotated[tuple[Annotated[tuple[float, ...], Length(65536)], ...], Length(64)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(_Part):
    """Parity certificate of a model, stored next to it.

    Attributes:
        kind: identifies the file as a certificate.
        schema_version: version of this record.
        checkpoint: checkpoint that the weights come from.
        onnx: the certified ONNX file.
        reference: implementation that the ONNX file was compared with.
        bounds: bounds that the comparisons had to keep.
        cases: the comparisons.
        crops: crops that the ONNX file takes; None in certificates written before they were recorded.
        alignment: alignment of seeded landmarks; None in certificates written before the kind of fit was recorded.
        golden: inputs and embeddings that a device compares with.
        versions: versions of the software that took part, by name.
        quality: for a model of reduced precision, each bound of its proof with the measurement or "not judged", in
            words.
        folded: what the conversion folded into the weights and the reference computed explicitly, in words; empty in
            certificates of rewritten models, whose reference is the model before the rewrite.
    """

    record_bytes = _FILE.limit

    kind: Literal["edge_sphereface.parity_certificate"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    checkpoint: CertifiedCheckpoint
    onnx: CertifiedModel
    reference: CertifiedReference
    bounds: CertifiedBounds
    cases: tuple[CertifiedCase, ...]
    crops: CertifiedCrops | None
    alignment: GoldenAlignment | None
    golden: Golden
    versions: dict[str, str]
    quality: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return {"crops": None, "alignment": None, "quality": [], "folded": [], **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCheck:
    """Result of embedding a certificate's golden inputs again.

    Attributes:
        measured: agreement with the embeddings in the certificate.
        bounds: bounds that the agreement must keep.
        passed: whether the agreement is within the bounds.
    """

    measured: Agreement
    bounds: Bounds
    passed: bool


def certificate_path(model: Path) -> Path:
    """Path of a model's certificate: ``m.parity.json`` for ``m.onnx``, ``m.ncnn.parity.json`` for ``m.ncnn``."""
    return model.with_name(f"{model.name}{SUFFIX}") if is_ncnn_file(model) else model.with_suffix(SUFFIX)


def golden_crops(spec: ModelSpec) -> UInt8Array:
    """Generate the golden inputs: two of white noise, and two of blocks, which reach other activations.

    ``RandomState`` is used because numpy guarantees a stable stream for it, but not for ``Generator``.

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
    """Embed the golden inputs and record their hash and their embeddings."""
    crops = golden_crops(embedder.spec)
    return Golden(
        seed=_GOLDEN_SEED,
        crops_sha256=_digest(crops),
        embeddings=tuple(tuple(float(value) for value in row) for row in embedder.forward(crops)),
    )


def golden_alignment(spec: ModelSpec) -> GoldenAlignment:
    """Align seeded landmarks and record the kind of fit and the transform.

    The landmarks are the template plus noise, so that the two kinds of fit give different transforms.
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
        CertificateError: the file is missing, damaged, or not a certificate of this version.
    """
    return Certificate.from_json(_FILE.read(path), name=f"The certificate {path}")


def check_on_device(embedder: Embedder, certificate: Certificate, bounds: Bounds | None = None) -> DeviceCheck:
    """Embed the golden inputs again and compare them with the certificate.

    Args:
        embedder: the model, on the execution provider to check.
        certificate: the certificate, from :func:`load_certificate`.
        bounds: bounds that the agreement must keep; None for those of the model's precision.

    Raises:
        CertificateError: the certificate belongs to another model file, or is damaged.
    """
    certified, found = certificate.onnx.sha256, sha256_of(embedder.path)
    if certified != found:
        raise CertificateError(
            f"The certificate belongs to another model file: it has SHA-256 {certified}, {embedder.path} has {found}.",
            hint="copy model and certificate together, or verify the model again with its checkpoint",
            remedy=_REMEDY,
        )
    _check_crops(certificate, embedder.spec)
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
    kept = bounds or model_bounds(embedder.spec)
    return DeviceCheck(measured=measured, bounds=kept, passed=kept.holds(measured))


def _digest(crops: UInt8Array) -> str:
    return hashlib.sha256(crops.tobytes()).hexdigest()


def _check_crops(certificate: Certificate, spec: ModelSpec) -> None:
    kept, here = certificate.crops, CertifiedCrops.of(spec)
    if kept is not None and kept != here:
        raise CertificateError(
            f"The certificate is of other crops than the model's specification: {_crops_in_words(kept)} in the "
            f"certificate, {_crops_in_words(here)} in the model.",
            hint=_HINT,
            remedy=_REMEDY,
        )


def _crops_in_words(crops: CertifiedCrops) -> str:
    return (
        f"{crops.height} x {crops.width} {crops.color_order}, (pixel - {crops.pixel_mean:g}) * {crops.pixel_scale:g}, "
        f"landmarks {crops.landmark_template}"
    )


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
