"""Searches the bytes of files for what should be gone by its time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Kind: TypeAlias = Literal["events", "known", "unknown", "strangers"]
"""``known`` and ``unknown``: pictures of somebody with a name, and other pictures."""
_BYTES = 48
_PLACES = (0.3, 0.55, 0.8)
"""Parts of a trace that are searched: one may lie on the border of two pages of a database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFigures:
    """What was left of one kind of traces.

    Attributes:
        kind: ``events``; ``known`` for pictures of somebody with a name, ``unknown`` for other pictures; ``strangers``
            for embeddings and crops.
        keep_hours: how long they may stay.
        traces: number of events, pictures, or embeddings and crops.
        found_in_time: number of them whose bytes were found on the disk right after they were written.
        found_later: number of them whose bytes were found at any look once their time and one hour were over.
    """

    kind: Kind
    keep_hours: float
    traces: int
    found_in_time: int
    found_later: int


class _Trace:
    def __init__(self, kind: Kind, data: bytes, end_s: float, *, is_whole: bool) -> None:
        self.kind, self.end_s = kind, end_s
        parts = [data[int(part * (len(data) - _BYTES)) :][:_BYTES] for part in _PLACES]
        self.needles = [data] if is_whole else parts
        self.is_in_time = self.is_later = False


class Traces:
    """Remembers traces, and looks for them in the files of a folder.

    Args:
        folder: with everything that the house writes.
        keep_s: how long each kind may stay, in seconds.
        slack_s: time after that within which it is deleted.
    """

    def __init__(self, folder: Path, keep_s: dict[Kind, float], *, slack_s: float = 3600.0) -> None:
        self._folder, self._keep_s, self._slack_s = folder, keep_s, slack_s
        self._traces: list[_Trace] = []

    def add(self, kind: Kind, traces: Iterable[bytes], now_s: float, *, is_whole: bool = False) -> None:
        """Remember traces that were written by now, and look whether their bytes can be found.

        Args:
            kind: of the traces.
            traces: bytes of each.
            now_s: moment, in seconds.
            is_whole: search for all bytes of a trace together; otherwise, for parts of it, which others must not have.
        """
        end_s = now_s + self._keep_s[kind] + self._slack_s
        added = [_Trace(kind, data, end_s, is_whole=is_whole) for data in traces]
        contents = self._contents()
        for trace in added:
            trace.is_in_time = _is_in(trace, contents)
        self._traces += added

    def look(self, now_s: float) -> None:
        """Look for those whose time is over."""
        due = [trace for trace in self._traces if now_s >= trace.end_s and not trace.is_later]
        contents = self._contents() if due else []
        for trace in due:
            trace.is_later = _is_in(trace, contents)

    def figures(self) -> tuple[TraceFigures, ...]:
        """What was found of each kind."""
        found = []
        for kind, keep_s in self._keep_s.items():
            own = [trace for trace in self._traces if trace.kind == kind]
            found.append(
                TraceFigures(
                    kind=kind,
                    keep_hours=keep_s / 3600,
                    traces=len(own),
                    found_in_time=sum(trace.is_in_time for trace in own),
                    found_later=sum(trace.is_later for trace in own),
                )
            )
        return tuple(found)

    def _contents(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self._folder.rglob("*")) if path.is_file()]


def _is_in(trace: _Trace, contents: Iterable[bytes]) -> bool:
    return any(needle in content for content in contents for needle in trace.needles)
