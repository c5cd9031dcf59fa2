"""Read the report of ``edge-sphereface tune --json``: the form that a device chose."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.evaluation.model_selection import Setting
from edge_sphereface.storage.bounded_json import parse_json
from edge_sphereface.storage.regular_file import RegularFile
from export.rewrite.fast import Measured
from export.rewrite.tile import read_stages

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.types import JsonObject

_MAX_BYTES = 1 << 20
_FILE = RegularFile(what="report", limit=_MAX_BYTES, error=UsageError)
_FLOAT = "float32"


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
    try:
        content = parse_json(_FILE.read_text(path), limit=_MAX_BYTES)
        best = content["best"]
        return None if best is None else _choice(content, best)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UsageError(
            f"{path} is not a report of `edge-sphereface tune --json`: {reason}.",
            hint="run it on the device: edge-sphereface tune FORMS… --json > report.json",
        ) from error


def _choice(content: JsonObject, best: JsonObject) -> DeviceChoice:
    setting = _setting(best)
    rows: list[JsonObject] = [*content.get("rivals", []), *content["rows"]]  # those measured anew come first
    plain = [row for row in rows if row["precision"] == _FLOAT and not row["rewrites"] and _setting(row) == setting]
    latency = best["latency"]
    return DeviceChoice(
        model=Path(_text(best["model"])).name,
        precision=_text(best["precision"]),
        rewrites=tuple(map(_text, best["rewrites"])),
        stages=_stages(best["stages"] or ()),
        source_sha256=_text(content.get("source_sha256") or ""),
        measured=Measured(
            processor=_text(content["processor"]),
            onnxruntime=_text(content["onnxruntime"]),
            setting=setting,
            batch=_count(content["batch"]),
            samples=_count(latency["samples"]),
            plain_ms=_milliseconds(plain[0]["latency"]["median_ms"]) if plain else None,
            tuned_ms=_milliseconds(latency["median_ms"]),
        ),
    )


def _setting(row: JsonObject) -> Setting:
    return Setting(
        threads=_count(row["threads"]),
        pinned_threads=row["pinned_threads"] is True,
        memory_arena=row["memory_arena"] is True,
    )


def _stages(values: Iterable[Any]) -> tuple[str, ...]:
    names = tuple(map(_text, values))
    read_stages(names)  # refuses what is none
    return names


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r:.60}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 < value < 1 << 31:
        raise TypeError(f"expected a count, got {value!r:.60}")
    return value


def _milliseconds(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise TypeError(f"expected milliseconds, got {value!r:.60}")
    return float(value)
