"""The threshold that ``calibrate-liveness`` measured on clips of the user's own camera, in a file beside the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edge_sphereface.errors import ThresholdError
from edge_sphereface.storage.files import SHARED, atomic_write, sha256_of
from edge_sphereface.storage.record import Count, Rate, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.errors import Remedy
    from edge_sphereface.types import JsonObject

KIND: Final = "edge_sphereface.liveness_calibration"
SCHEMA_VERSION: Final = 1
SUFFIX: Final = ".liveness.json"
_HINT: Final = "calibrate it again, or name a threshold"
_REMEDY: Final[Remedy] = "calibrate-liveness"
_FILE = RegularFile(what="liveness calibration", limit=64 << 10, error=ThresholdError, hint=_HINT, remedy=_REMEDY)


class _Part(Record):
    """Base of the records in a calibration."""

    __slots__ = ()
    record_name = "The liveness calibration"
    record_error = ThresholdError
    record_hint = _HINT
    record_remedy = _REMEDY


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate(_Part):
    """A share of clips that are decided wrongly, with its 95 % interval (Wilson), by clips.

    Attributes:
        value: the share in these clips.
        low: lower bound.
        high: upper bound.
    """

    value: Rate
    low: Rate
    high: Rate

    def _faults(self) -> Iterator[str]:
        if not self.low <= self.value <= self.high:
            yield f"value must be from low to high, not {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessCalibration(_Part):
    """A threshold for liveness models, and the clips behind it. Error rates are those of ISO/IEC 30107-3.

    Attributes:
        kind: identifies the file as a liveness calibration.
        schema_version: version of this record.
        models: SHA-256 of each model in hexadecimal, sorted. The threshold holds for these together.
        threshold: mean probability from which a face counts as live.
        apcer: share of attack clips that count as live at some time (attack presentation classification error rate).
        bpcer: share of live clips that never do (bona fide presentation classification error rate).
        equal_error: error rate at the threshold where both shares are equal, or nearest to it.
        attack_clips: number of attack clips with a face.
        live_clips: number of live clips with a face.
        checks: number of faces that were checked.
        detector: name of the face detector.
        made_at: time of the calibration, UTC, ISO 8601.
    """

    kind: Literal["edge_sphereface.liveness_calibration"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    models: tuple[Sha256, ...]
    threshold: Rate
    apcer: ErrorRate
    bpcer: ErrorRate
    equal_error: ErrorRate
    attack_clips: Count
    live_clips: Count
    checks: Count
    detector: str
    made_at: str

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return values


def digests_of(models: Sequence[Path]) -> tuple[str, ...]:
    """SHA-256 of each model in hexadecimal, sorted."""
    return tuple(sorted(sha256_of(model) for model in models))


def calibration_path(model: Path) -> Path:
    """Path of the calibration of a model, or of several that it is the first of: ``m.liveness.json`` for ``m.onnx``."""
    return model.with_suffix(SUFFIX)


def store_calibration(calibration: LivenessCalibration, models: Sequence[Path]) -> Path:
    """Write a calibration beside the first of its models, in place of an earlier one; returns its path.

    Raises:
        OutputError: the file cannot be written.
    """
    path = calibration_path(models[0])
    with atomic_write(path, mode=SHARED) as stream:
        stream.write(calibration.to_json().encode() + b"\n")
    return path


def load_calibration(path: Path) -> LivenessCalibration:
    """Read a calibration.

    Raises:
        ThresholdError: the file is missing, damaged, or no calibration of this version.
    """
    return LivenessCalibration.from_json(_FILE.read(path), name=f"The liveness calibration {path}")


def find_calibration(models: Sequence[Path]) -> LivenessCalibration | None:
    """The calibration of exactly these models, in any order; None where none was stored beside any of them.

    Raises:
        ThresholdError: a calibration beside them is damaged, or is of other models.
    """
    paths = [path for path in map(calibration_path, models) if path.exists()]
    if not paths:
        return None
    digests = digests_of(models)
    for path in paths:
        found = load_calibration(path)
        if found.models == digests:
            return found
    raise ThresholdError(
        f"The liveness calibration {paths[0]} is of other models than {', '.join(model.name for model in models)}.",
        hint="calibrate these models together, or name a threshold",
        remedy=_REMEDY,
    )
