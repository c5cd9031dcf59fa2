"""The contract between an ONNX file and whoever runs it: one JSON value in the model's metadata."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.quantization import Quantization
from edge_sphereface.tuning import Tuning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.types import JsonObject

METADATA_KEY = "edge_sphereface.model_spec"
"""Key of the JSON value in ``ModelProto.metadata_props``."""

SCHEMA_VERSION = 3
_WITHOUT_TUNING = 2
"""Models of this version are read as well; they lack ``tuning`` alone."""

LAYOUT_NCHW = "nchw"
"""float32 (N, 3, H, W), normalized by the caller, as in the original network."""
LAYOUT_IMAGE = "image"
"""uint8 (N, H, W, 3) BGR; the graph normalizes."""

_TEXTS = ("architecture", "precision", "threshold_source", "source_file", "source_sha256", "exporter_version")
_CONVERT_HINT = "convert the checkpoint again with this version: python -m export convert CHECKPOINT -o MODEL.onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything that a runtime must know about a model, so that it never guesses.

    Attributes:
        architecture: such as ``SphereFace-20``.
        widths: channels of the four stages.
        embedding_size: D.
        input_height: of the crop, in pixels.
        input_width: of the crop, in pixels.
        input_layout: ``nchw`` or ``image``.
        color_order: always ``BGR``.
        pixel_mean: subtracted from each pixel value (0 to 255).
        pixel_scale: multiplies the difference.
        landmark_template: five (x, y) in pixels of the crop.
        precision: ``float32``, ``float16`` or ``int8``; forms made by others say theirs.
        rewrites: names of the graph rewrites that the model went through, in order.
        quantization: how a model of reduced precision came about; None for ``float32``.
        tuning: how a model that was rewritten for speed is computed; None for others.
        threshold: cosine similarity from which two faces count as one person.
        threshold_source: where that number comes from.
        source_file: name of the checkpoint.
        source_sha256: of the checkpoint, in hexadecimal.
        source_is_official: whether that is the checkpoint that MindSpore Hub published.
        exporter_version: version of the exporter that wrote the file.
        schema_version: version of this record.
    """

    architecture: str
    widths: tuple[int, ...]
    embedding_size: int
    input_height: int
    input_width: int
    input_layout: str
    color_order: str
    pixel_mean: float
    pixel_scale: float
    landmark_template: tuple[tuple[float, float], ...]
    precision: str
    threshold: float
    threshold_source: str
    source_file: str
    source_sha256: str
    source_is_official: bool
    exporter_version: str
    rewrites: tuple[str, ...] = ()
    quantization: Quantization | None = None
    tuning: Tuning | None = None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ModelFormatError(f"The model's specification is not valid: {'; '.join(problems)}.")

    @property
    def crop_shape(self) -> tuple[int, int, int]:
        """(H, W, 3) of a crop."""
        return (self.input_height, self.input_width, 3)

    def as_json(self) -> JsonObject:
        """This record as plain JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """The text kept in the model's metadata; the same record always gives the same text."""
        return json.dumps(self.as_json(), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelSpec:
        """Read the record out of a model's metadata.

        Raises:
            ModelFormatError: the metadata has no such record, or one that this version does not read.
        """
        text = metadata.get(METADATA_KEY)
        if text is None:
            raise ModelFormatError(
                f"The ONNX file has no metadata {METADATA_KEY!r}, so its input size, color order, normalization and "
                "alignment are unknown.",
                hint=_CONVERT_HINT,
            )
        return cls.from_json(text)

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Read the record from its JSON text.

        Raises:
            ModelFormatError: not this record, or one of another version.
        """
        try:
            values = _as_tuple(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise ModelFormatError(f"The model's specification is not JSON: {error}.", hint=_CONVERT_HINT) from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version == _WITHOUT_TUNING:
            values |= {"schema_version": SCHEMA_VERSION, "tuning": None}
        elif version != SCHEMA_VERSION:
            raise ModelFormatError(
                f"The model's specification has version {version!r}; this package reads version {SCHEMA_VERSION}.",
                hint=_CONVERT_HINT,
            )
        _require_fields(cls, values, "specification")
        for name, record in (("quantization", Quantization), ("tuning", Tuning)):
            if isinstance(values[name], dict):
                _require_fields(record, values[name], f"record of its {name}")
                values[name] = record(**values[name])
        return cls(**values)


def _require_fields(record: type, values: Mapping[str, Any], what: str) -> None:
    """All fields of a record, and no other."""
    expected = {field.name for field in fields(record)}
    missing, unknown = sorted(expected - set(values)), sorted(set(values) - expected)
    if missing or unknown:
        raise ModelFormatError(f"The model's {what} lacks {missing} and has unknown {unknown}.", hint=_CONVERT_HINT)


def _as_tuple(value: Any) -> Any:
    """The same value with tuples for lists, so that it is as frozen as the record."""
    if isinstance(value, dict):
        return {name: _as_tuple(item) for name, item in value.items()}
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _problems(spec: ModelSpec) -> list[str]:
    """What a hand-made or damaged record gets wrong, in words."""
    problems = [
        f"{name} must be an integer from 1 to 65536, not {getattr(spec, name)!r}"
        for name in ("embedding_size", "input_height", "input_width")
        if type(getattr(spec, name)) is not int or not 0 < getattr(spec, name) <= 65536
    ]
    problems += [
        f"{name} must be text, not {getattr(spec, name)!r}"
        for name in (
            "architecture",
            "precision",
            "threshold_source",
            "source_file",
            "source_sha256",
            "exporter_version",
        )
        if not isinstance(getattr(spec, name), str)
    ]
    if not isinstance(spec.widths, tuple) or not all(type(width) is int for width in spec.widths):
        problems.append(f"widths must be integers, not {spec.widths!r}")
    if not isinstance(spec.rewrites, tuple) or not all(isinstance(name, str) for name in spec.rewrites):
        problems.append(f"rewrites must be names, not {spec.rewrites!r}")
    if spec.quantization is not None and not isinstance(spec.quantization, Quantization):
        problems.append(f"quantization must be null or a record, not {spec.quantization!r}")
    if spec.tuning is not None and not isinstance(spec.tuning, Tuning):
        problems.append(f"tuning must be null or a record, not {spec.tuning!r}")
    if not isinstance(spec.source_is_official, bool):
        problems.append(f"source_is_official must be true or false, not {spec.source_is_official!r}")
    if spec.input_layout not in (LAYOUT_NCHW, LAYOUT_IMAGE):
        problems.append(f"input_layout must be {LAYOUT_NCHW!r} or {LAYOUT_IMAGE!r}, not {spec.input_layout!r}")
    if spec.color_order != "BGR":
        problems.append(f"color_order must be 'BGR', not {spec.color_order!r}")
    problems += [
        f"{name} must be a finite number, not {getattr(spec, name)!r}"
        for name in ("pixel_mean", "pixel_scale", "threshold")
        if not _is_finite(getattr(spec, name))
    ]
    template = spec.landmark_template
    points = template if isinstance(template, tuple) else ()
    if len(points) != 5 or not all(isinstance(p, tuple) and len(p) == 2 and all(map(_is_finite, p)) for p in points):
        problems.append(f"landmark_template must be five pairs of finite numbers, not {template!r}")
    return problems


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
