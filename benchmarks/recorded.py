"""Read rows of recorded results as the records that wrote them.

Results of earlier versions remain readable: unknown fields are ignored, and a field that is missing takes its default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.json_output import JsonForm, json_form

RecordT = TypeVar("RecordT")

_NAMES = {"Mapping": Mapping, "Path": Path}
"""Names in annotations of records whose modules import them for types alone."""
_SCALARS: Mapping[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (float, int)}
_MEASURE_AGAIN = "measure again, or give a result of this version"


def read_records(kind: type[RecordT], rows: object) -> list[RecordT]:
    """Read a list of rows.

    Args:
        kind: class of the records.
        rows: parsed JSON.

    Raises:
        UsageError: it is not a list of such rows.
    """
    if not isinstance(rows, list):
        raise UsageError(f"Expected a list of rows, got {rows!r:.60}.", hint=_MEASURE_AGAIN)
    return [read_record(kind, row) for row in rows]


def read_record(kind: type[RecordT], values: object, place: str = "a row") -> RecordT:
    """Read one row.

    Args:
        kind: class of the record, whose fields are records, tuples, mappings from text, or plain values.
        values: parsed JSON.
        place: name of the row in messages.

    Raises:
        UsageError: a field is missing or has another type.
    """
    record: RecordT = _read(kind, values, place)
    return record


def _read(kind: Any, values: object, place: str) -> Any:
    if not isinstance(values, dict):
        raise _fault(place, "a JSON object", values)
    made = {}
    for field in _fields_of(kind):
        if field.form.inline:
            made[field.name] = _inline(field.hint, values, place)
        elif field.key in values:
            value = values[field.key]
            is_infinite = value is None and field.form.null_unless_finite
            made[field.name] = math.inf if is_infinite else _value(field.hint, value, f"{field.key} of {place}")
        elif field.needed:
            found = ", ".join(values) or "none"
            raise UsageError(f"Expected {place} with the field {field.key}, got {found}.", hint=_MEASURE_AGAIN)
    return kind(**made)


class _Field(NamedTuple):
    """How to read a field.

    Attributes:
        name: name in Python.
        key: name in JSON.
        hint: annotation.
        form: how its JSON differs from its value.
        needed: whether it has no default.
    """

    name: str
    key: str
    hint: Any
    form: JsonForm
    needed: bool


@cache
def _fields_of(kind: Any) -> list[_Field]:
    hints = get_type_hints(kind, localns=_NAMES)
    found = []
    for field in fields(kind):
        if field.init:
            form = json_form(field.metadata)
            needed = field.default is MISSING and field.default_factory is MISSING
            key = form.name or field.name
            found.append(_Field(field.name, key, hints[field.name], form, needed))
    return found


def _inline(hint: Any, values: Mapping[str, Any], place: str) -> Any:
    options = _options(hint)
    for option in options:
        if option is not NoneType and (len(options) == 1 or _fits(option, values)):
            return _read(option, values, place)
    return None


def _fits(kind: Any, values: object) -> bool:
    """Whether values have every field that a record of this class needs."""
    return isinstance(values, dict) and all(
        field.key in values for field in _fields_of(kind) if field.needed and not field.form.inline
    )


def _value(hint: Any, value: Any, place: str) -> Any:  # noqa: PLR0911 -- one return for each kind of value
    options = _options(hint)
    if len(options) > 1:
        if value is None and NoneType in options:
            return None
        options = [option for option in options if option is not NoneType]
        fitting = [option for option in options if is_dataclass(option) and _fits(option, value)]
        return _value((fitting or options)[0], value, place)
    origin = get_origin(hint)
    if is_dataclass(hint):
        return _read(hint, value, place)
    if origin is Literal and value in get_args(hint):
        return value
    if origin is tuple and isinstance(value, list):
        kinds = get_args(hint)
        kinds = kinds[:1] * len(value) if kinds[1:] == (Ellipsis,) else kinds
        if len(kinds) == len(value):
            return tuple(_value(one, item, place) for one, item in zip(kinds, value, strict=True))
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {key: _value(get_args(hint)[1], item, f"{key} of {place}") for key, item in value.items()}
    if hint is Path and isinstance(value, str):
        return Path(value)
    if isinstance(value, _SCALARS.get(hint, ())) and (hint is bool) == isinstance(value, bool):
        return value
    raise _fault(place, getattr(hint, "__name__", str(hint)), value)


def _options(hint: Any) -> Sequence[Any]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else [hint]


def _fault(place: str, expected: str, value: object) -> UsageError:
    return UsageError(f"Expected {expected} as {place}, got {value!r:.60}.", hint=_MEASURE_AGAIN)
