"""Removes people from the JSON of events."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from edge_sphereface.names import stored_name
from edge_sphereface.storage.bounded_json import JsonError, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME_FIELDS = frozenset({"name", "before"})
_LISTS_OF_NAMES = frozenset({"names"})


class Mentions:
    """Finds and removes the mentions of people in events.

    An event of a person goes, and so do all events of the same track. In events of others, the person goes from the
    candidates and from the decision before. Only fields of names are compared, and only whole names: neither "Ann Lee"
    nor the camera "Ann" is a mention of Ann.

    Args:
        names: names of the people, in any spelling that a gallery accepts for them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(stored_name, names))
        self._tracks: set[tuple[str, int]] = set()
        spellings = {json.dumps(name, ensure_ascii=escaped)[1:-1] for name in self._names for escaped in (True, False)}
        self._quoted = re.compile(f'"(?:{"|".join(map(re.escape, sorted(spellings)))})(?:"|$)')

    def is_named(self, value: object) -> bool:
        """Whether a value is the name of one of these people."""
        return isinstance(value, str) and stored_name(value) in self._names

    def learn(self, text: str) -> None:
        """Take note of the track of an event, if it is one of these people. Learn all events before removing any."""
        values = _parsed(text)
        if isinstance(values, dict) and self.is_named(values.get("name")):
            track = _track(values)
            if track is not None:
                self._tracks.add(track)

    def without(self, text: str) -> str | None:
        """The text without these people; None if it is to be removed, as what a crash left of an event of theirs."""
        values = _parsed(text)
        if values is None:
            return None if self._quoted.search(stored_name(text)) else text
        if isinstance(values, dict) and (self.is_named(values.get("name")) or _track(values) in self._tracks):
            return None
        kept = self._kept(values)
        return text if kept == values else json.dumps(kept, ensure_ascii=False)

    def _kept(self, value: Any) -> Any:
        if isinstance(value, list):
            return [
                self._kept(item) for item in value if not (isinstance(item, dict) and self.is_named(item.get("name")))
            ]
        if isinstance(value, dict):
            return {key: self._kept_field(key, item) for key, item in value.items()}
        return value

    def _kept_field(self, key: str, value: Any) -> Any:
        if key in _NAME_FIELDS and self.is_named(value):
            return None
        if key in _LISTS_OF_NAMES and isinstance(value, list):
            value = [item for item in value if not self.is_named(item)]
        return self._kept(value)


def _parsed(text: str) -> object:
    try:
        return parse_json(text)
    except JsonError:
        return None


def _track(values: dict[str, Any]) -> tuple[str, int] | None:
    run, track = values.get("run"), values.get("track")
    return (run, track) if isinstance(run, str) and isinstance(track, int) else None
