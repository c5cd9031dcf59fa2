"""Read the report of ``edge-sphereface tune --json``: the form that a device chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.evaluation.model_selection import Setting
from edge_sphereface.storage.record import Above, Between, Record
from edge_sphereface.storage.regular_file import RegularFile
from export.rewrite.fast import Measured
from export.rewrite.tile import read_stages

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

_MAX_BYTES = 1 << 20
_FILE = RegularFile(what="report", limit=_MAX_BYTES, error=UsageError)
_FLOAT = "float32"
_Positive = Annotated[int, Between(1, (1 << 31) - 1)]


class _Part(Record):
    """Base of what is read of a report."""

    __slots__ = ()
    record_name = "its content"
    record_error = UsageError
    record_hint = "run it on the device: edge-sphereface tune FORMS… --json > report.json"
    record_bytes = _MAX_BYTES
    record_is_partial = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Latency(_Part):
    """Latency of a form.

    Attributes:
        samples: number of samples.
        median_ms: median in milliseconds.
    """

    samples: _Positive
    median_ms: Annotated[float, Above(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form(_Part):
    """A form with one setting.

    Attributes:
        model: path on the device.
        precision: precision of the model.
        rewrites: names of the rewrites applied to the model.
        stages: name of the tile of each stage; None for a model that was not rewritten.
        threads: threads of one inference.
        pinned_threads: whether each helper thread was bound to a processor of its own.
        memory_arena: whether the session kept freed memory.
        latency: latency of the form.
    """

    model: str
    precision: str
    rewrites: tuple[str, ...]
    stages: tuple[str, ...] | None
    threads: _Positive
    pinned_threads: bool
    memory_arena: bool
    latency: _Latency

    @property
    def setting(self) -> Setting:
        """Setting of the session."""
        return Setting(threads=self.threads, pinned_threads=self.pinned_threads, memory_arena=self.memory_arena)

    @property
    def is_plain(self) -> bool:
        """Whether it is the plain float model."""
        return self.precision == _FLOAT and not self.rewrites


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report(_Part):
    """What is read of a report.

    Attributes:
        processor: name of the processor or board.
        onnxruntime: version of onnxruntime; None if its wheel is not known.
        batch: number of faces in an inference.
        source_sha256: SHA-256 of the source checkpoint; None in a report of an earlier version.
        best: the chosen form; None if the device could run none.
        rivals: forms measured once more, the simplest first.
        rows: forms of the search, the fastest first.
    """

    processor: str
    onnxruntime: str | None
    batch: _Positive
    source_sha256: str | None
    best: _Form | None
    rivals: tuple[_Form, ...]
    rows: tuple[_Form, ...]

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        return {"source_sha256": None, "rivals": [], **values}


class DeviceChoice(NamedTuple):
    """The form that a device chose.

    Attributes:
        model: file name on the device.
        precision: precision of the model.
        rewrites: names of the rewrites applied to the model.
        stages: name of the tile of each stage; empty for a model that was not rewritten.
        source_sha256: SHA-256 of the source checkpoint; empty in a report of an older version.
        measured: latency on the device.
    """

    model: str
    precision: str
    rewrites: tuple[str, ...]
    stages: tuple[str, ...]
    source_sha256: str
    measured: Measured

    @property
    def is_plain(self) -> bool:
        """Whether the choice is the plain float model, which exists already."""
        return self.precision == _FLOAT and not self.rewrites


def read_device_report(path: Path) -> DeviceChoice | None:
    """Read the choice of a device; None if the device could not run any form.

    Raises:
        UsageError: the file cannot be read, or is not such a report.
    """
    text = _FILE.read_text(path)
    try:
        report = _Report.from_json(text)
        return None if report.best is None else _choice(report, report.best)
    except (UsageError, ValueError) as error:
        raise UsageError(
            f"{path} is not a report of `edge-sphereface tune --json`: {error}", hint=_Report.record_hint
        ) from error


def _choice(report: _Report, best: _Form) -> DeviceChoice:
    stages = best.stages or ()
    read_stages(stages)  # refuses what is none
    if report.onnxruntime is None:
        raise UsageError("its content lacks the version of onnxruntime.")
    rows = [*report.rivals, *report.rows]  # those measured anew come first
    plain = next((row for row in rows if row.is_plain and row.setting == best.setting), None)
    return DeviceChoice(
        model=Path(best.model).name,
        precision=best.precision,
        rewrites=best.rewrites,
        stages=stages,
        source_sha256=report.source_sha256 or "",
        measured=Measured(
            processor=report.processor,
            onnxruntime=report.onnxruntime,
            setting=best.setting,
            batch=report.batch,
            samples=best.latency.samples,
            plain_ms=None if plain is None else plain.latency.median_ms,
            tuned_ms=best.latency.median_ms,
        ),
    )
