"""Converts records to JSON.

A record is a dataclass. Its fields become the fields of a JSON object, in order. The metadata of a field describes how
its JSON differs from its value: :func:`rounded`, :func:`named`, :data:`NULL_UNLESS_FINITE`, :data:`INLINE`,
:data:`OMIT_NONE`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timezone
from enum import Enum
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable
    from dataclasses import Field

_KEY = "json"


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonForm:
    """JSON form of a field.

    Attributes:
        decimals: digits after the decimal point of its numbers; None for no rounding.
        null_unless_finite: whether infinity and NaN become null. Otherwise they are an error.
        name: name of the field in JSON; None for the field's own name.
        inline: whether the fields of a nested record replace the field itself. A value of None adds no fields.
        omit_none: whether a value of None is left out. Otherwise it is written as null.
    """

    decimals: int | None = None
    null_unless_finite: bool = False
    name: str | None = None
    inline: bool = False
    omit_none: bool = False


def rounded(decimals: int, *, null_unless_finite: bool = False) -> Mapping[str, JsonForm]:
    """Metadata of a field whose numbers are rounded.

    Args:
        decimals: digits after the decimal point.
        null_unless_finite: as in :class:`JsonForm`.
    """
    return {_KEY: JsonForm(decimals=decimals, null_unless_finite=null_unless_finite)}


def named(name: str) -> Mapping[str, JsonForm]:
    """Metadata of a field whose JSON name cannot be its Python name.

    Args:
        name: name in JSON.
    """
    return {_KEY: JsonForm(name=name)}


NULL_UNLESS_FINITE: Mapping[str, JsonForm] = {_KEY: JsonForm(null_unless_finite=True)}
"""Metadata of a number that may be infinite or NaN, which becomes null because JSON has neither."""
INLINE: Mapping[str, JsonForm] = {_KEY: JsonForm(inline=True)}
"""Metadata of a nested record whose fields replace the field itself. A value of None adds no fields."""
OMIT_NONE: Mapping[str, JsonForm] = {_KEY: JsonForm(omit_none=True)}
"""Metadata of a field that is left out where it is None."""
_PLAIN = JsonForm()


def json_form(metadata: Mapping[Any, Any]) -> JsonForm:
    """JSON form of a field with this metadata."""
    form: JsonForm = metadata.get(_KEY, _PLAIN)
    return form


def json_object(record: Dataclass) -> dict[str, Any]:
    """Convert a record to a JSON object of plain values.

    Raises:
        TypeError: a value in the record has no JSON form.
    """
    return {name: value for field in fields(record) for name, value in _written(record, field)}


def json_value(value: object) -> Any:
    """Convert a record, or any value that a record may hold, to plain JSON values.

    Args:
        value: a dataclass; a path, a moment (written in UTC as ISO 8601 with milliseconds), an enumeration's member, a
            numpy scalar or array, bytes (base64), a mapping, a sequence, a set (sorted), text, a number, a truth value
            or None.

    Raises:
        TypeError: JSON has no form for it.
    """
    return _value(value, _PLAIN)


def json_text(value: object, *, ascii_only: bool = False) -> str:
    """Convert a record to one line of JSON text.

    Args:
        value: a record, or a value that :func:`json_value` accepts.
        ascii_only: whether to escape characters outside ASCII.

    Raises:
        TypeError: the value has no JSON form.
        ValueError: a number is not finite, and its field does not allow that.
    """
    return json.dumps(json_value(value), allow_nan=False, ensure_ascii=ascii_only)


def _value(value: Any, form: JsonForm) -> Any:  # noqa: C901, PLR0911 -- one return for each kind of value
    if isinstance(value, Enum):
        return _value(value.value, form)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return _number(value, form)
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if is_dataclass(value) and not isinstance(value, type):
        return json_object(value)
    if isinstance(value, Mapping):
        return {key: _value(item, form) for key, item in value.items()}
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (Sequence, AbstractSet)):
        return [_value(item, form) for item in (sorted(value) if isinstance(value, AbstractSet) else value)]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without loading numpy
        return _value(value.tolist(), form)
    raise TypeError(f"JSON has no form for {type(value).__name__}.")


def _written(record: Dataclass, field: Field[Any]) -> Iterable[tuple[str, Any]]:
    """Names and values in JSON of a field."""
    form = json_form(field.metadata)
    value = _value(getattr(record, field.name), form)
    if form.omit_none and value is None:
        return ()
    return (value or {}).items() if form.inline else [(form.name or field.name, value)]


def _number(value: float, form: JsonForm) -> float | None:
    if form.null_unless_finite and not math.isfinite(value):
        return None
    return float(value) if form.decimals is None else round(float(value), form.decimals)
