"""Two results held against each other: what got slower beyond noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import JsonObject

TOLERANCE = 0.05
"""A change within five percent is not called one, however certain."""
_RESAMPLES = 2000
_KEYS = ("label", "contender", "stage", "detector", "threads", "batch", "provider")


class Change(NamedTuple):
    """One case in both results.

    Attributes:
        name: of the case.
        ratio: new median over old.
        low: 2.5th percentile of that ratio by bootstrap.
        high: 97.5th percentile.
        verdict: ``slower``, ``faster``, ``same`` or ``wrong``.
    """

    name: str
    ratio: float
    low: float
    high: float
    verdict: str


def compare(old: JsonObject, new: JsonObject) -> tuple[list[Change], list[str]]:
    """Compare latency and stage rows of two result files.

    Returns:
        A change per case in both, and the names of cases that are in one only.
    """
    before, after = _samples(old), _samples(new)
    changes = [_change(name, before[name], after[name]) for name in before if name in after]
    return changes, sorted(set(before) ^ set(after))


def _samples(result: JsonObject) -> dict[str, JsonObject]:
    rows: Sequence[Any] = [*result.get("rows", []), *result.get("stages", [])]
    return {" ".join(f"{row[key]}" for key in _KEYS if key in row): row for row in rows if "samples_ms" in row}


def _change(name: str, old: JsonObject, new: JsonObject) -> Change:
    random = np.random.default_rng(0)
    before, after = np.asarray(old["samples_ms"]), np.asarray(new["samples_ms"])
    ratio = float(np.median(after) / np.median(before))
    resampled = np.median(random.choice(after, (_RESAMPLES, len(after))), axis=1) / np.median(
        random.choice(before, (_RESAMPLES, len(before))), axis=1
    )
    low, high = (float(value) for value in np.percentile(resampled, [2.5, 97.5]))
    verdict = "same"
    if new.get("correct") is False:
        verdict = "wrong"
    elif low > 1 + TOLERANCE:
        verdict = "slower"
    elif high < 1 - TOLERANCE:
        verdict = "faster"
    return Change(name, ratio, low, high, verdict)


def text(changes: Sequence[Change], only: Sequence[str]) -> str:
    """The changes as a table, the worst first."""
    lines = [f"{'new / old':>9}  {'95 % interval':>15}  verdict  case"]
    lines += [
        f"{change.ratio:>9.3f}  {f'{change.low:.3f} to {change.high:.3f}':>15}  {change.verdict:<7}  {change.name}"
        for change in sorted(changes, key=lambda change: -change.ratio)
    ]
    return "\n".join([*lines, *(f"in one result only: {name}" for name in only)])
