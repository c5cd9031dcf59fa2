"""Read runs from another machine: the original's log line, ais_bench and msame output, JSON of this tool."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.ascend.comparison_table import IMPORTED, LedgerRow, PartialLatency
from benchmarks.recorded import read_record
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NUMBER = r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_LFW = re.compile(rf"LFWACC={_NUMBER}\s+std={_NUMBER}\s+thd={_NUMBER}")
_AIS_COMPUTE = re.compile(
    rf"NPU_compute_time[^\n]*?min\s*=\s*{_NUMBER}[^\n]*?mean\s*=\s*{_NUMBER}[^\n]*?median\s*=\s*{_NUMBER}"
)
_AIS_THROUGHPUT = re.compile(
    rf"throughput\s+1000\*batchsize\.mean\({_NUMBER}\)/NPU_compute_time\.mean\({_NUMBER}\):\s*{_NUMBER}"
)
_MSAME = re.compile(rf"Inference average time(?P<first> without first time)?\s*:\s*{_NUMBER}\s*ms")


_KNOWN = (
    "path",
    "device",
    "precision",
    "latency",
    "faces_per_second",
    "watts",
    "accuracy",
    "accuracy_std",
    "threshold",
)
"""Fields of a native row that are imported."""


class ImportedError(EdgeSphereFaceError, ValueError):
    """The file of a recorded run cannot be read or has no known format."""

    code = "import"


_FILE = RegularFile(what="recorded run", limit=64 << 20, error=ImportedError, hint="give the log of one run")


def read(path: Path, *, source: str) -> list[LedgerRow]:
    """Read the rows of a recorded run; each is marked ``imported`` with its source.

    Args:
        path: log, or JSON result of this tool.
        source: who recorded the run and where, in words; stored with each row.

    Raises:
        ImportedError: the file cannot be read, or has no figures in a known format.
    """
    text = _FILE.read(path).decode("utf-8", errors="replace")
    rows = list(_from_json(text, source) if text.lstrip().startswith("{") else _from_log(text, source))
    if not rows:
        raise ImportedError(
            f"{path} has no figures in a known format.",
            hint="expected LFWACC=… std=… thd=…, the summary of ais_bench or msame, or a JSON result of this tool",
        )
    return [replace(row, file=path.name) for row in rows]


def _from_log(text: str, source: str) -> Iterator[LedgerRow]:
    for match in _LFW.finditer(text):
        accuracy, std, threshold = (float(value) for value in match.groups())
        yield LedgerRow(
            path="original evaluation",
            accuracy=accuracy,
            accuracy_std=std,
            threshold=threshold,
            origin=IMPORTED,
            source=source,
        )
    computed = _AIS_COMPUTE.search(text)
    if computed is not None:
        low, mean, median = (float(value) for value in computed.groups())
        rate = _AIS_THROUGHPUT.search(text)
        yield LedgerRow(
            path="ais_bench",
            latency=PartialLatency(min_ms=low, mean_ms=mean, median_ms=median),
            faces_per_second=None if rate is None else float(rate[3]),
            origin=IMPORTED,
            source=source,
        )
    times = {bool(match["first"]): float(match[2]) for match in _MSAME.finditer(text)}
    if times:
        # Excludes the first inference, which loads the model, if msame reports such a mean.
        mean_ms = times.get(True, times.get(False))
        yield LedgerRow(path="msame", latency=PartialLatency(mean_ms=mean_ms), origin=IMPORTED, source=source)


def _from_json(text: str, source: str) -> Iterator[LedgerRow]:
    try:
        content = parse_json(text, limit=_FILE.limit)
    except JsonError:
        return
    environment, native = content.get("environment", {}), content.get("native", [])
    if not isinstance(environment, dict) or not isinstance(native, list):
        return
    machine = str(environment.get("cpu", "unknown machine"))
    for values in native:
        if isinstance(values, dict) and "path" in values and "error" not in values:
            known = {name: values[name] for name in _KNOWN if name in values}
            about = {"origin": IMPORTED, "source": source, "machine": machine}
            try:
                yield read_record(LedgerRow, {**known, **about})
            except UsageError as error:
                raise ImportedError(error.message, hint="give a result of `ascend run`") from error
