"""Removes people from the JSON of events."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any

from edge_sphereface.storage.bounded_json import JsonError, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_OF_SOURCES = frozenset({"stream", "source", "reason", "hint"})
"""Fields that name cameras: "Ann's door" is no mention of Ann."""


class Mentions:
    """Finds and removes the mentions of people in events.

    An event of a person goes, and so do all events of the same track. In events of others, the person goes from the
    candidates and from the decision before.

    Args:
        names: names of the people.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(map(_composed, names))
        self._tracks: set[tuple[str, int]] = set()
        words = "|".join(map(re.escape, sorted(self.names, key=len, reverse=True)))
        self._word = re.compile(rf"(?<!\w)(?:{words})(?!\w)")

    def learn(self, text: str) -> None:
        """Take note of the track of an event, if it is one of these people. Learn all events before removing any."""
        values = _parsed(text)
        if isinstance(values, dict) and self._is_named(values.get("name")):
            track = _track(values)
            if track is not None:
                self._tracks.add(track)

    def without(self, text: str) -> str | None:
        """The text without these people; None if it is to be removed, as what is no JSON and holds a name."""
        values = _parsed(text)
        if not isinstance(values, dict):
            return None if self._is_mentioned(text) or self._is_mentioned(values) else text
        if self._is_named(values.get("name")) or _track(values) in self._tracks:
            return None
        changed = False
        if self._is_named(values.get("before")):
            values["before"], changed = None, True
        candidates = values.get("candidates")
        if isinstance(candidates, list):
            kept = [one for one in candidates if not (isinstance(one, dict) and self._is_named(one.get("name")))]
            changed = changed or len(kept) < len(candidates)
            values["candidates"] = kept
        if self._is_mentioned(values):
            return None
        return json.dumps(values, ensure_ascii=False) if changed else text

    def _is_named(self, value: object) -> bool:
        return isinstance(value, str) and _composed(value) in self.names

    def _is_mentioned(self, value: Any) -> bool:
        if isinstance(value, str):
            return self._word.search(_composed(value)) is not None
        if isinstance(value, dict):
            return any(
                self._is_mentioned(key) or self._is_mentioned(item)
                for key, item in value.items()
                if key not in _OF_SOURCES
            )
        return isinstance(value, list) and any(map(self._is_mentioned, value))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _parsed(text: str) -> object:
    try:
        return parse_json(text)
    except JsonError:
        return None


def _track(values: dict[str, Any]) -> tuple[str, int] | None:
    run, track = values.get("run"), values.get("track")
    return (run, track) if isinstance(run, str) and isinstance(track, int) else None
