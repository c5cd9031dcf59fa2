"""Results of contenders, written to and read from the JSON of a latency measurement."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.evaluation.timing import LatencySummary
from edge_sphereface.json_output import INLINE, rounded
from edge_sphereface.storage.record import Count, Length, Record

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

MAX_SAMPLES = 1 << 20
"""Largest number of samples of a row."""
_MAX_MESSAGE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement(Record):
    """Figures of a contender that ran.

    Attributes:
        version: version of the runtime, and how it ran the model.
        load_ms: time to load the model in milliseconds; the longest of all starts.
        first_ms: time of the first inference in milliseconds; the longest of all starts.
        peak_rss_mib: peak resident memory of the process in MiB; None if the system does not report it.
        latency: summary of all samples.
        median_ms_per_face: median latency divided by the batch size, in milliseconds.
        max_abs_error: largest absolute difference of a component to the reference, as a share of the reference's
            largest component; None if an embedding is not finite.
        min_cosine: smallest cosine similarity of an embedding to the reference.
        correct: whether the similarity is high enough for the precision.
        samples_ms: latency of each inference in milliseconds.
        starts: number of process starts.
        start_samples: number of samples of each start.
    """

    record_name = "The measurement of a contender"
    record_error = UsageError
    record_hint = "measure again: python -m benchmarks latency"

    version: str
    load_ms: float = field(metadata=rounded(1))
    first_ms: float = field(metadata=rounded(2))
    peak_rss_mib: float | None = field(metadata=rounded(1))
    latency: LatencySummary
    median_ms_per_face: float = field(metadata=rounded(3))
    max_abs_error: float | None
    min_cosine: float
    correct: bool
    samples_ms: Annotated[tuple[float, ...], Length(MAX_SAMPLES, least=1)] = field(metadata=rounded(4))
    starts: Count
    start_samples: tuple[Count, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Record):
    """Reason why a contender has no figures.

    Attributes:
        error: the reason.
    """

    record_name = "The failure of a contender"
    record_error = UsageError
    record_hint = "measure again: python -m benchmarks latency"

    error: Annotated[str, Length(_MAX_MESSAGE)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow(Record):
    """Result of one contender with one model.

    Attributes:
        label: name in tables.
        contender: name of the contender's module.
        settings: settings of the contender, and the reason for them.
        model: name of the model file.
        precision: precision of the model.
        graph: ``plain``, or the rewrites of the model's graph; empty if unknown.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        provider: execution provider, for contenders that use onnxruntime.
        measured: figures; None if the contender failed.
        failure: reason why there are none; None if there are figures.
    """

    record_name = "The row of a contender"
    record_error = UsageError
    record_hint = "measure again: python -m benchmarks latency"

    label: str
    contender: str
    settings: str
    model: str
    precision: str
    graph: str
    threads: Count
    batch: Count
    provider: str
    measured: Measurement | None = field(metadata=INLINE)
    failure: Failure | None = field(metadata=INLINE)

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Group the flat fields of JSON. Fields of other commands are ignored; older rows lack starts and graph."""
        facts = {"graph": "", **{name: values[name] for name in _FACTS if name in values}}
        if "error" in values:
            return {**facts, "measured": None, "failure": {"error": values["error"]}}
        samples = values.get("samples_ms")
        defaults = {"starts": 1, "start_samples": [len(samples)] if isinstance(samples, list) else []}
        measured = {name: value for name, value in {**defaults, **values}.items() if name in _FIGURES}
        return {**facts, "measured": measured, "failure": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormRow:
    """Result of one form of a network.

    Attributes:
        form: name of the form.
        row: result of the contender.
    """

    form: str
    row: CaseRow = field(metadata=INLINE)


_FIGURES = frozenset(part.name for part in fields(Measurement))
_FACTS = frozenset(part.name for part in fields(CaseRow)) - {"measured", "failure"}


def read_rows(result: JsonObject) -> list[CaseRow]:
    """Read the rows of a result of ``latency``, ``tuning`` or ``quantization``.

    Raises:
        UsageError: a row is not valid.
    """
    rows = result.get("rows", [])
    if not isinstance(rows, list):
        raise UsageError("The rows of the result are not a list.", hint="measure again: python -m benchmarks latency")
    return [CaseRow.from_values(row) for row in rows]
