"""Parses untrusted JSON within bounds of size, depth and digits."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

MAX_JSON_BYTES = 1 << 20
"""Default limit of the size of a text."""
SHOWN = 80
"""Largest number of characters of an untrusted value in a message."""

_MAX_DEPTH = 32
_MAX_DIGITS = 20


class JsonError(ValueError):
    """A text is not JSON within the bounds; the message says why."""


def parse_json(
    text: str | bytes, *, limit: int = MAX_JSON_BYTES, digits: int = _MAX_DIGITS, depth: int = _MAX_DEPTH
) -> Any:
    """Parse untrusted JSON within bounds.

    In addition to invalid JSON, the following is refused: a text of more than ``limit`` bytes (or characters), numbers
    that are not finite, integers of more than ``digits`` digits, unpaired surrogates, duplicate keys in an object, and
    nesting of more than ``depth`` levels.

    Raises:
        JsonError: the text is refused.
    """
    if len(text) > limit:
        raise JsonError(f"it has {len(text)} bytes, and at most {limit} are read")
    try:
        values = json.loads(
            text,
            parse_int=lambda found: _integer(found, digits),
            parse_float=_number,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except JsonError:
        raise
    except RecursionError as error:
        raise JsonError(f"it is nested more than {depth} levels deep") from error
    except ValueError as error:  # errors of JSON and of UTF-8
        raise JsonError(str(error)) from error
    _check_tree(values, depth)
    return values


def _integer(found: str, digits: int) -> int:
    size = len(found.removeprefix("-"))
    if size > digits:
        raise JsonError(f"it has an integer of {size} digits")
    return int(found)


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise JsonError(f"it has a number that is too large: {shortened(digits)}")
    return value


def _constant(name: str) -> float:
    raise JsonError(f"it has a number that is not finite: {name}")


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise JsonError("an object has the same key twice")
    return values


def _check_tree(values: object, depth: int) -> None:
    level = [values]
    for _ in range(depth):
        following: list[object] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                following += value.keys()
                following += value.values()
            elif isinstance(value, list):
                following += value
        if not following:
            return
        level = following
    raise JsonError(f"it is nested more than {depth} levels deep")


def _check_text(value: str) -> None:
    if not value.isascii() and not is_unicode(value):
        raise JsonError("a text holds an unpaired surrogate")


def is_unicode(value: str) -> bool:
    """Whether a text can be encoded in UTF-8, which excludes unpaired surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shortened(text: str) -> str:
    """Shorten a text for a message to its first characters."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def shown(text: str) -> str:
    """Show a text from a file in a message or a table: shortened, and without control characters."""
    return shortened(escaped(text))


def escaped(text: str) -> str:
    """Escape control characters of a text from a file."""
    return text if text.isprintable() else repr(text)[1:-1]
