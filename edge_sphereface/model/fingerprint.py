"""Fingerprints of embeddings: only embeddings with equal fingerprints are comparable."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from edge_sphereface.alignment import FIT_UMEYAMA, AlignmentFit
from edge_sphereface.errors import FingerprintError
from edge_sphereface.model.origin import Shortcut
from edge_sphereface.model.spec import LandmarkTemplate, PixelValue, Size
from edge_sphereface.storage.record import Record

if TYPE_CHECKING:
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import JsonObject

_WORDS = {
    "architecture": "network",
    "embedding_size": "embedding size",
    "weights_sha256": "weights (checkpoint)",
    "quantization": "quantization",
    "crop_height": "crop height",
    "crop_width": "crop width",
    "landmark_template": "alignment (landmark template)",
    "alignment_fit": "alignment (kind of fit)",
    "color_order": "color order in training",
    "pixel_mean": "pixel mean",
    "pixel_scale": "pixel scale",
    "shortcut": "place of the residual additions",
    "flip": "averaging with the mirrored crop",
}
_OF_CROPS = ("crop_height", "crop_width", "landmark_template")
_ORIGINAL_SHORTCUT: Shortcut = "after_activation"
_ABSENT: dict[str, str] = {"alignment_fit": FIT_UMEYAMA, "shortcut": _ORIGINAL_SHORTCUT}
"""Fields that earlier records lack, with their values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint(Record):
    """Model, precision, alignment and preprocessing that an embedding depends on.

    The form of the graph is not part of it: plain, rewritten and tuned float models of one checkpoint give the same
    embeddings, and so do both input layouts.

    Attributes:
        architecture: network architecture, such as ``SphereFace-20``.
        embedding_size: number of components D of an embedding.
        weights_sha256: SHA-256 of the checkpoint in hexadecimal.
        precision: ``float32``, ``float16`` or ``int8``.
        quantization: SHA-256 of the quantization record; empty for ``float32``.
        crop_height: height of the crop in pixels.
        crop_width: width of the crop in pixels.
        landmark_template: five (x, y) in pixels of the crop.
        alignment_fit: ``cp2tform`` or ``umeyama``; a record without this field means ``umeyama``.
        color_order: color order of the crops in training; every model takes BGR.
        pixel_mean: value subtracted from each pixel.
        pixel_scale: factor applied to the difference.
        shortcut: where a residual pair adds its input; a record without this field means ``after_activation``.
        flip: whether each embedding is the average over the crop and its mirror image.
    """

    record_name = "The record of what made the embeddings"
    record_error = FingerprintError
    record_hint = "the file is damaged, or was made by another version of edge-sphereface"
    record_bytes = 1 << 16

    architecture: str
    embedding_size: Size
    weights_sha256: str
    precision: str
    quantization: str
    crop_height: Size
    crop_width: Size
    landmark_template: LandmarkTemplate
    alignment_fit: AlignmentFit
    color_order: str
    pixel_mean: PixelValue
    pixel_scale: PixelValue
    shortcut: Shortcut
    flip: bool

    @classmethod
    def of(cls, spec: ModelSpec, *, flip: bool = False) -> Fingerprint:
        """Fingerprint of the embeddings that a model with this specification computes."""
        record, origin = None if spec.quantization is None else asdict(spec.quantization), spec.origin
        return cls(
            architecture=spec.architecture,
            embedding_size=spec.embedding_size,
            weights_sha256=spec.source_sha256,
            precision=spec.precision,
            quantization="" if record is None else _sha256(json.dumps(record, sort_keys=True)),
            crop_height=spec.input_height,
            crop_width=spec.input_width,
            landmark_template=spec.landmark_template,
            alignment_fit=spec.alignment_fit,
            color_order=spec.color_order if origin is None else origin.color_order,
            pixel_mean=float(spec.pixel_mean),
            pixel_scale=float(spec.pixel_scale),
            shortcut=_ORIGINAL_SHORTCUT if origin is None else origin.shortcut,
            flip=flip,
        )

    @property
    def digest(self) -> str:
        """``esf1-`` and 32 hexadecimal digits, equal exactly for comparable embeddings."""
        return f"esf1-{_sha256(self.to_json())[:32]}"

    def to_json(self) -> str:
        """This fingerprint as JSON text. Equal fingerprints give equal texts, which digests and galleries rely on.

        Values that records had before their field existed are left out, so that older galleries keep their digest.
        """
        values = self.as_json()
        for name, value in _ABSENT.items():
            if values[name] == value:
                del values[name]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        return {**_ABSENT, **values}

    def shares_crops(self, other: Fingerprint) -> bool:
        """Whether the crops of both have one size and one landmark template, so that kept crops serve both."""
        return all(getattr(self, name) == getattr(other, name) for name in _OF_CROPS)

    def differences(self, other: Fingerprint) -> list[str]:
        """What differs, in words: ``there`` is this fingerprint, ``here`` the other one.

        Another precision implies another quantization, which is then left out.
        """
        implied = "quantization" if self.precision != other.precision else ""
        return [
            f"{_WORDS.get(name, name)} {_short(getattr(self, name))} there, {_short(getattr(other, name))} here"
            for name in (field.name for field in fields(self))
            if getattr(self, name) != getattr(other, name) and name != implied
        ]

    def require(self, other: Fingerprint, what: str) -> None:
        """Require that embeddings are comparable with those of this fingerprint.

        Args:
            other: fingerprint of the other embeddings.
            what: owner of this fingerprint, for the message, such as ``The gallery people.db``.

        Raises:
            FingerprintError: the embeddings are not comparable; the message names the differences.
        """
        if self == other:
            return
        differing = "; ".join(self.differences(other))
        shares_crops = self.shares_crops(other)
        ways = ["use the model that it was made with", "enroll from photographs again"]
        if shares_crops:
            ways.append("if the gallery keeps crops, rebuild it from them")
        raise FingerprintError(
            f"{what} holds embeddings of another kind than here: {differing}. Their similarities are meaningless.",
            hint="; or ".join(ways),
            remedy="rebuild-gallery" if shares_crops else "create-gallery",
        )

    def require_kin(self, other: Fingerprint, what: str) -> None:
        """Require that embeddings differ at most in precision from those of this fingerprint.

        Args:
            other: fingerprint of the embeddings that exist already.
            what: owner of the other fingerprint, for the message.

        Raises:
            FingerprintError: checkpoint, alignment or preprocessing differ.
        """
        replace(other, precision=self.precision, quantization=self.quantization).require(self, what)


def _sha256(text: str) -> str:
    import hashlib  # loads OpenSSL, 3.5 MiB that embedding alone does not need

    return hashlib.sha256(text.encode()).hexdigest()


def _short(value: object) -> str:
    text = str(value) or "none"
    return text if len(text) <= 24 else f"{text[:12]}…"
