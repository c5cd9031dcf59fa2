"""Read runs from another machine: the original's log line, ais_bench and msame output, JSON of this tool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.types import JsonObject

_NUMBER = r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_LFW = re.compile(rf"LFWACC={_NUMBER}\s+std={_NUMBER}\s+thd={_NUMBER}")
_AIS_COMPUTE = re.compile(
    rf"NPU_compute_time[^\n]*?min\s*=\s*{_NUMBER}[^\n]*?mean\s*=\s*{_NUMBER}[^\n]*?median\s*=\s*{_NUMBER}"
)
_AIS_THROUGHPUT = re.compile(
    rf"throughput\s+1000\*batchsize\.mean\({_NUMBER}\)/NPU_compute_time\.mean\({_NUMBER}\):\s*{_NUMBER}"
)
_MSAME = re.compile(rf"Inference average time(?P<first> without first time)?\s*:\s*{_NUMBER}\s*ms")


class ImportedError(EdgeSphereFaceError, ValueError):
    """The file of a recorded run cannot be read or has no known format."""

    code = "import"


_FILE = RegularFile(what="recorded run", limit=64 << 20, error=ImportedError, hint="give the log of one run")


def read(path: Path, *, source: str) -> list[JsonObject]:
    """Read the rows of a recorded run; each is marked ``imported`` with its source.

    Args:
        path: log, or JSON result of this tool.
        source: who recorded the run and where, in words; stored with each row.

    Raises:
        ImportedError: the file cannot be read, or has no figures in a known format.
    """
    text = _FILE.read(path).decode("utf-8", errors="replace")
    rows = _from_json(text) if text.lstrip().startswith("{") else _from_log(text)
    if not rows:
        raise ImportedError(
            f"{path} has no figures in a known format.",
            hint="expected LFWACC=… std=… thd=…, the summary of ais_bench or msame, or a JSON result of this tool",
        )
    return [{**row, "origin": "imported", "source": source, "file": path.name} for row in rows]


def _from_log(text: str) -> list[JsonObject]:
    rows: list[JsonObject] = []
    for match in _LFW.finditer(text):
        accuracy, std, threshold = (float(value) for value in match.groups())
        rows.append({"path": "original evaluation", "accuracy": accuracy, "accuracy_std": std, "threshold": threshold})
    computed = _AIS_COMPUTE.search(text)
    if computed is not None:
        low, mean, median = (float(value) for value in computed.groups())
        row: JsonObject = {"path": "ais_bench", "latency": {"min_ms": low, "mean_ms": mean, "median_ms": median}}
        rate = _AIS_THROUGHPUT.search(text)
        rows.append(row if rate is None else {**row, "faces_per_second": float(rate[3])})
    times = {bool(match["first"]): float(match[2]) for match in _MSAME.finditer(text)}
    if times:
        # Excludes the first inference, which loads the model, if msame reports such a mean.
        rows.append({"path": "msame", "latency": {"mean_ms": times.get(True, times.get(False))}})
    return rows


def _from_json(text: str) -> list[JsonObject]:
    try:
        content = parse_json(text, limit=_FILE.limit)
    except JsonError:
        return []
    environment, native = content.get("environment", {}), content.get("native", [])
    if not isinstance(environment, dict) or not isinstance(native, list):
        return []
    where = environment.get("cpu", "unknown machine")
    known = (
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
    return [
        {**{name: row[name] for name in known if name in row}, "machine": where}
        for row in native
        if isinstance(row, dict) and "path" in row and "error" not in row
    ]
