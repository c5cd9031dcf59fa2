"""The kinds of events, and choices of them. Needs nothing besides the standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

EventKind: TypeAlias = Literal["appeared", "identified", "unknown", "lost", "source-up", "source-down", "statistics"]

EVERY_KIND: Final[frozenset[str]] = frozenset(get_args(EventKind))


@dataclass(frozen=True, slots=True)
class EventKinds:
    """Sets of kinds of events, as text separated by commas."""

    def __contains__(self, value: Any) -> bool:
        """Whether a value is a set of kinds, at least one."""
        return isinstance(value, frozenset) and bool(value) and value <= EVERY_KIND

    def __str__(self) -> str:
        return f"among {', '.join(get_args(EventKind))}"

    def parse(self, text: str) -> frozenset[str]:
        """Read kinds such as ``identified,unknown``.

        Raises:
            ValueError: the text is empty or names another kind.
        """
        kinds = frozenset(word.strip() for word in text.split(","))
        if kinds not in self:
            raise ValueError(f"expected kinds of events, separated by commas, {self}, got {text!r:.60}")
        return kinds
