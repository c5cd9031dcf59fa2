"""The fingerprint of an embedding: embeddings are comparable only if their fingerprints are equal."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

from edge_sphereface.alignment import FIT_UMEYAMA, AlignmentFit
from edge_sphereface.errors import FingerprintError
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
    "color_order": "color order",
    "pixel_mean": "pixel mean",
    "pixel_scale": "pixel scale",
    "flip": "averaging with the mirrored crop",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint(Record):
    """Model, precision, alignment and preprocessing.

    The graph's form is no part of it: plain, rewritten and tuned float models of one checkpoint give the same
    embeddings, and so do both input layouts.

    Attributes:
        architecture: such as ``SphereFace-20``.
        embedding_size: D.
        weights_sha256: of the checkpoint, in hexadecimal.
        precision: ``float32``, ``float16``, ``int8``.
        quantization: SHA-256 of the record of the quantization; empty for ``float32``.
        crop_height: in pixels.
        crop_width: in pixels.
        landmark_template: five (x, y) in pixels of the crop.
        alignment_fit: ``cp2tform`` or ``umeyama``; records that were written without it are of ``umeyama``.
        color_order: of the crop.
        pixel_mean: subtracted from each pixel value.
        pixel_scale: multiplies the difference.
        flip: whether each crop was averaged with its mirror image.
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
    flip: bool

    @classmethod
    def of(cls, spec: ModelSpec, *, flip: bool = False) -> Fingerprint:
        """Of what a model with this specification makes."""
        record = None if spec.quantization is None else asdict(spec.quantization)
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
            color_order=spec.color_order,
            pixel_mean=float(spec.pixel_mean),
            pixel_scale=float(spec.pixel_scale),
            flip=flip,
        )

    @property
    def digest(self) -> str:
        """``esf1-`` and 32 hexadecimal digits: equal exactly for embeddings that may be compared."""
        return f"esf1-{_sha256(self.to_json())[:32]}"

    def to_json(self) -> str:
        """The same record always gives the same text: digests, and the texts that galleries compare, rest on it.

        Galleries made before ``alignment_fit`` was recorded keep their text and digest: ``umeyama`` is left out.
        """
        values = self.as_json()
        if self.alignment_fit == FIT_UMEYAMA:
            del values["alignment_fit"]
        return json.dumps(values, sort_keys=True)

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        return {"alignment_fit": FIT_UMEYAMA, **values}

    def require(self, other: Fingerprint, what: str) -> None:
        """Refuse embeddings of another kind.

        Args:
            other: what made the embeddings that came.
            what: whose fingerprint this is, such as ``The gallery people.db``.

        Raises:
            FingerprintError: they may not be compared; the message says in what they differ.
        """
        if self == other:
            return
        differing = [
            f"{_WORDS.get(name, name)} {_short(getattr(self, name))} there, {_short(getattr(other, name))} here"
            for name in (field.name for field in fields(self))
            if getattr(self, name) != getattr(other, name)
        ]
        raise FingerprintError(
            f"{what} holds embeddings of another kind: {'; '.join(differing)}. Similarities between them mean nothing.",
            hint="use the model that it was made with, or rebuild the gallery from its kept crops",
            remedy="rebuild-gallery",
        )

    def require_kin(self, other: Fingerprint, what: str) -> None:
        """Refuse embeddings that differ in more than precision: another checkpoint, alignment or preprocessing.

        Args:
            other: what made the embeddings that are there.
            what: whose fingerprint that is.

        Raises:
            FingerprintError: they do.
        """
        replace(other, precision=self.precision, quantization=self.quantization).require(self, what)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _short(value: object) -> str:
    text = str(value) or "none"
    return text if len(text) <= 24 else f"{text[:12]}…"
