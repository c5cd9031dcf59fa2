"""The result of this project's own ``ascend run`` on another machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.ascend.row import IMPORTED, LedgerRow
from benchmarks.recorded import read_record

if TYPE_CHECKING:
    from benchmarks.ascend.formats.recording import Recording
    from edge_sphereface.types import JsonObject

_KNOWN = (
    "path",
    "network",
    "device",
    "precision",
    "latency",
    "faces_per_second",
    "watts",
    "max_abs_error",
    "min_cosine",
    "accuracy",
    "accuracy_std",
    "accuracy_interval",
    "threshold",
    "pairs",
    "samples_ms",
)
"""Fields of a native row that are imported."""


def read(values: JsonObject, recording: Recording) -> list[LedgerRow]:
    """Read the native rows that ran.

    Raises:
        UsageError: a row is not valid.
    """
    environment, native = values.get("environment", {}), values.get("native", [])
    if not isinstance(environment, dict) or not isinstance(native, list):
        return []
    about = {
        "batch": 1,
        "includes": "whole call",
        "origin": IMPORTED,
        "source": recording.stated.source,
        "machine": str(environment.get("cpu", "unknown machine")),
    }
    rows = []
    for row in native:
        if isinstance(row, dict) and "path" in row and "error" not in row:
            known = {name: row[name] for name in _KNOWN if name in row}
            rows.append(read_record(LedgerRow, {**known, **about}))
    return rows
