"""``ModelSpec``: the contract between an ONNX file and the runtime, one JSON value in the model's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from edge_sphereface.alignment import FIT_UMEYAMA, AlignmentFit
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.json_output import OMIT_NONE
from edge_sphereface.model.origin import Origin
from edge_sphereface.model.quantization import Quantization
from edge_sphereface.model.tuning import Tuning
from edge_sphereface.storage.record import Above, Between, Cosine, Length, Record, Sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edge_sphereface.errors import Remedy
    from edge_sphereface.types import JsonObject

METADATA_KEY = "edge_sphereface.model_spec"
"""Key of the JSON value in ``ModelProto.metadata_props``."""

SCHEMA_VERSION: Final = 4
_ABSENT: dict[int, dict[str, Any]] = {
    2: {"tuning": None, "alignment_fit": FIT_UMEYAMA},
    3: {"alignment_fit": FIT_UMEYAMA},
}
"""Fields that specifications of earlier versions lack, with their values. Those models were used with ``umeyama``, so
their embeddings stay comparable."""

MAX_CROP_SIDE = 2048
"""Largest side of a crop in pixels, which bounds the memory of the model's input."""

_MAX_SIZE = 65536
_Side = Annotated[int, Between(1, MAX_CROP_SIDE)]
Size = Annotated[int, Between(1, _MAX_SIZE)]
PixelValue = Annotated[float, Between(-_MAX_SIZE, _MAX_SIZE)]
LandmarkTemplate = Annotated[tuple[tuple[PixelValue, PixelValue], ...], Length(5, 5)]
"""Five (x, y) in pixels of the crop."""

Layout: TypeAlias = Literal["nchw", "image"]
LAYOUT_NCHW: Final = "nchw"
"""float32 (N, 3, H, W), normalized by the caller, as in the original network."""
LAYOUT_IMAGE: Final = "image"
"""uint8 (N, H, W, 3) BGR; the graph normalizes."""

_CONVERT_HINT = "convert the checkpoint again with this version"
_REMEDY: Remedy = "convert-model"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec(Record):
    """Everything that the runtime must know about a model, so that it never guesses.

    Attributes:
        architecture: network architecture, such as ``SphereFace-20``.
        widths: number of channels of each stage.
        embedding_size: number of components D of an embedding.
        input_height: height of the crop in pixels.
        input_width: width of the crop in pixels.
        input_layout: ``nchw`` or ``image``.
        color_order: color order of the crop; always ``BGR``.
        pixel_mean: value subtracted from each pixel (0 to 255).
        pixel_scale: factor applied to the difference.
        landmark_template: five (x, y) in pixels of the crop.
        alignment_fit: kind of fit of landmarks to the template: ``cp2tform``, used in the original training, or
            ``umeyama``.
        precision: ``float32``, ``weights8`` (float32, with 8-bit weights of the embedding layer), ``float16``,
            ``float16-large-tiles`` (float16, which ncnn may filter in large tiles) or ``int8``; models made by other
            tools may name another.
        rewrites: names of the graph rewrites applied to the model, in order.
        quantization: quantization record; None for ``float32``.
        tuning: tuning record of a model that was rewritten for speed; None for others.
        threshold: cosine similarity from which two faces count as the same person.
        threshold_source: origin of the threshold, in words.
        source_file: name of the checkpoint file.
        source_sha256: SHA-256 of the checkpoint in hexadecimal.
        source_is_official: whether MindSpore Hub published the checkpoint.
        exporter_version: version of the exporter that wrote the file.
        origin: conventions of the network that the model was made from; None, and left out in JSON, for those that a
            file of MindSpore tells by itself, and in models made before they were recorded.
        schema_version: version of this record.
    """

    record_name = "The model's specification"
    record_error = ModelFormatError
    record_hint = _CONVERT_HINT
    record_remedy = _REMEDY

    architecture: str
    widths: Annotated[tuple[Size, ...], Length(16, 1)]
    embedding_size: Size
    input_height: _Side
    input_width: _Side
    input_layout: Layout
    color_order: Literal["BGR"]
    pixel_mean: PixelValue
    pixel_scale: Annotated[float, Above(0), Between(0, _MAX_SIZE)]
    landmark_template: LandmarkTemplate
    alignment_fit: AlignmentFit
    precision: str
    threshold: Cosine
    threshold_source: str
    source_file: str
    source_sha256: Sha256
    source_is_official: bool
    exporter_version: str
    rewrites: tuple[str, ...] = ()
    quantization: Quantization | None = None
    tuning: Tuning | None = None
    origin: Origin | None = field(default=None, metadata=OMIT_NONE)
    schema_version: Literal[4] = SCHEMA_VERSION

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """Shape (H, W, 3) of a crop."""
        return (self.input_height, self.input_width, 3)

    def _faults(self) -> Iterator[str]:
        points = self.landmark_template
        if len(set(points)) < len(points):
            yield f"landmark_template must be five different points, not {points}"
        if not all(0 <= x <= self.input_width and 0 <= y <= self.input_height for x, y in points):
            yield f"landmark_template must lie in the crop of {self.input_height} x {self.input_width}, not {points}"

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelSpec:
        """Read the specification from a model's metadata.

        Raises:
            ModelFormatError: the metadata holds no specification, or one that this version cannot read.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise ModelFormatError(
                f"The ONNX file has no metadata {METADATA_KEY!r}, so its input size, color order, normalization and "
                "alignment are unknown.",
                hint=_CONVERT_HINT,
                remedy=_REMEDY,
            )
        return cls.from_json(text)

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        version = values.get("schema_version")
        if type(version) is int and version in _ABSENT:
            values = {**_ABSENT[version], **values, "schema_version": SCHEMA_VERSION}
            version = SCHEMA_VERSION
        if version != SCHEMA_VERSION:
            raise ModelFormatError(
                f"The model's specification has version {version!r:.80}; this package reads version {SCHEMA_VERSION}.",
                hint=_CONVERT_HINT,
                remedy=_REMEDY,
            )
        return {"origin": None, **values}
