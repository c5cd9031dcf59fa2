"""One typed decoder for every dataclass that is stored as JSON.

A :class:`Record` states its rules in its annotations: types, and bounds such as
``threshold: Annotated[float, Between(-1, 1)]``. They are checked for every instance, from JSON or from code.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from edge_sphereface.errors import EdgeSphereFaceError, Remedy  # noqa: TC001 -- read with the annotations of every record
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, SHOWN, JsonError, is_unicode, parse_json, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized
    from typing import Self

    from edge_sphereface.types import JsonObject

_MAX_TEXT = 4096
_MAX_ITEMS = 4096
_MAX_INTEGER = (1 << 63) - 1

RecordT = TypeVar("RecordT", bound="Record")


@dataclass(frozen=True, slots=True)
class Between:
    """Bound: a number from ``low`` to ``high``."""

    low: float
    high: float

    def fault(self, value: float) -> str | None:
        """Description of the expected value if ``value`` violates this bound, else None."""
        return None if self.low <= value <= self.high else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Above:
    """Bound: a number larger than ``low``."""

    low: float

    def fault(self, value: float) -> str | None:
        """Description of the expected value if ``value`` violates this bound, else None."""
        return None if value > self.low else f"above {self.low:g}"


@dataclass(frozen=True, slots=True)
class Length:
    """Bound: a text, bytes, a list or an object of ``least`` to ``most`` characters, bytes, items or keys."""

    most: int
    least: int = 0

    def fault(self, value: Sized) -> str | None:
        """Description of the expected value if ``value`` violates this bound, else None."""
        if self.least <= len(value) <= self.most:
            return None
        if self.least == self.most:
            return f"of length {self.most}"
        return f"of length {self.least} to {self.most}" if self.least else f"of length {self.most} or less"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Bound: a text that matches a regular expression as a whole; ``words`` describe it, as in "text such as '4x4'"."""

    expression: str
    words: str

    def fault(self, value: str) -> str | None:
        """Description of the expected value if ``value`` violates this bound, else None."""
        return None if re.fullmatch(self.expression, value) else self.words


Sha256 = Annotated[str, Pattern(r"[0-9a-f]{64}", "of 64 hexadecimal digits")]
Cosine = Annotated[float, Between(-1, 1)]
Rate = Annotated[float, Between(0, 1)]
Count = Annotated[int, Between(0, _MAX_INTEGER)]


class Record:
    """Base of frozen dataclasses that are stored as JSON. The fields of every instance are checked.

    Fields may be ``str``, ``int``, ``float``, ``bool``, ``bytes`` (base64 in JSON), ``Literal``, another record,
    ``tuple[X, ...]``, ``tuple[X, Y]``, ``dict[str, X]``, ``X | None``, and each of them ``Annotated`` with bounds.
    Texts, lists and integers have default bounds.

    Attributes:
        record_name: name of the record, which begins the error message.
        record_error: class of the error raised for an invalid record.
        record_hint: hint of that error.
        record_remedy: remedy of that error.
        record_bytes: largest size of the JSON text.
        record_is_partial: whether a JSON object may have other fields, which are ignored.
    """

    __slots__ = ()
    record_name: ClassVar[str]
    record_error: ClassVar[type[EdgeSphereFaceError]]
    record_hint: ClassVar[str]
    record_remedy: ClassVar[Remedy | None] = None
    record_bytes: ClassVar[int] = MAX_JSON_BYTES
    record_is_partial: ClassVar[bool] = False

    def __post_init__(self) -> None:
        faults: list[str] = []
        for name, hint in _hints(type(self)).items():
            _read(getattr(self, name), hint, name, faults, is_json=False)
        if not faults:
            faults += self._faults()
        if faults:
            raise self._refusal(f"is not valid: {'; '.join(faults)}")

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        """Hook: convert parsed JSON of an earlier version to this one."""
        return values

    @classmethod
    def _require_kind(cls, values: JsonObject, kind: str, version: int) -> None:
        """Require that parsed JSON is of a kind and a version.

        Raises:
            EdgeSphereFaceError: it is not, as the class of the record's errors.
        """
        found = values.get("kind"), values.get("schema_version")
        if found != (kind, version):
            raise cls._refusal(f"is not {kind!r} of version {version}: it says {found[0]!r:.80} {found[1]!r:.80}")

    def _faults(self) -> Iterator[str]:
        """Hook: describe faults of valid fields in combination."""
        return iter(())

    def as_json(self) -> JsonObject:
        """This record as plain JSON values."""
        return json_object(self)  # type: ignore[arg-type] # every record is a dataclass

    def to_json(self) -> str:
        """This record as JSON text. Equal records give equal texts."""
        return json.dumps(self.as_json(), sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes, *, name: str | None = None) -> Self:
        """Read a record from its JSON text.

        Args:
            text: JSON text, in UTF-8 if it is bytes.
            name: name that begins the error message; None for ``record_name``.

        Raises:
            EdgeSphereFaceError: of class ``record_error``: the text is not a valid record.
        """
        try:
            values = parse_json(text, limit=cls.record_bytes)
        except JsonError as error:
            raise cls._refusal(f"is not JSON: {error}", name) from error
        return cls.from_values(values, name=name)

    @classmethod
    def from_values(cls, values: object, *, name: str | None = None) -> Self:
        """Read a record from parsed JSON.

        Args:
            values: values from :func:`parse_json`.
            name: name that begins the error message; None for ``record_name``.

        Raises:
            EdgeSphereFaceError: of class ``record_error``: the values are not a valid record.
        """
        faults: list[str] = []
        record = _read_record(values, cls, "", faults)
        if record is None:
            raise cls._refusal(f"is not valid: {'; '.join(faults)}", name)
        return record

    @classmethod
    def _refusal(cls, why: str, name: str | None = None) -> EdgeSphereFaceError:
        return cls.record_error(f"{name or cls.record_name} {why}.", hint=cls.record_hint, remedy=cls.record_remedy)


_HINTS: dict[Any, dict[str, Any]] = {}


def _hints(record: type[Record]) -> dict[str, Any]:
    """Names and annotations of the fields of a record class."""
    if record not in _HINTS:
        hints = get_type_hints(record, include_extras=True)
        _HINTS[record] = {field.name: hints[field.name] for field in fields(record)}  # type: ignore[arg-type] # dataclasses all
    return _HINTS[record]


def _read_record(values: object, record: type[RecordT], place: str, faults: list[str]) -> RecordT | None:
    """Read a record from JSON values; None, with its faults appended to ``faults``, if it is invalid."""
    where = place or "it"
    if not isinstance(values, dict):
        faults.append(f"{where} must be a JSON object, not {_shown(values)}")
        return None
    values = record._current(values)  # noqa: SLF001 -- a hook of its own base
    hints = _hints(record)
    missing, unknown = sorted(set(hints) - set(values)), sorted(set(values) - set(hints))
    if record.record_is_partial:
        unknown = []
    if missing or unknown:
        words = [f"{verb} {_listed(keys)}" for verb, keys in (("lacks", missing), ("has unknown", unknown)) if keys]
        faults.append(f"{where} {' and '.join(words)}")
        return None
    before = len(faults)
    dot = f"{place}." if place else ""
    made = {name: _read(values[name], hint, dot + name, faults, is_json=True) for name, hint in hints.items()}
    return record(**made) if len(faults) == before else None


def _read(value: Any, hint: Any, place: str, faults: list[str], *, is_json: bool) -> Any:
    """Convert a value to the type of its annotation; faults are appended to ``faults``.

    Args:
        value: value from JSON or from a caller.
        hint: annotation of the field.
        place: name of the field, for messages.
        faults: descriptions of the faults found so far.
        is_json: whether lists represent tuples, objects represent records, and base64 represents bytes.
    """
    if get_origin(hint) is Annotated:
        inner, *bounds = get_args(hint)
        before = len(faults)
        made = _read_bounded(value, inner, bounds, place, faults, is_json=is_json)
        return made if len(faults) == before else None
    return _read_bounded(value, hint, [], place, faults, is_json=is_json)


def _read_bounded(value: Any, hint: Any, bounds: list[Any], place: str, faults: list[str], *, is_json: bool) -> Any:
    if get_origin(hint) in (Union, UnionType):
        options = [option for option in get_args(hint) if option is not NoneType]
        if len(options) != 1:
            raise TypeError(f"{place}: a record's field is of one type, or that or None, not {hint}")
        return None if value is None else _read(value, options[0], place, faults, is_json=is_json)
    if not any(isinstance(bound, Length) for bound in bounds):
        bounds = [*_LENGTHS.get(get_origin(hint) or hint, []), *bounds]
    expected = _excess(value, hint, bounds, is_json=is_json)
    if expected is None:
        found = _matched(value, hint, place, faults, is_json=is_json)
        if found is _FAULT:
            return None
        expected = next((fault for bound in bounds if (fault := bound.fault(found)) is not None), None)
    if expected is not None:
        faults.append(f"{place} must be {_word(hint)} {expected}, not {_shown(value)}")
        return None
    return found


def _excess(value: Any, hint: Any, bounds: list[Any], *, is_json: bool) -> str | None:
    """Description of the expected value if ``value`` is too long, found before any of it is decoded; else None."""
    if is_json and hint is bytes and isinstance(value, str):
        size = len(value) // 4 * 3 - 2  # base64 ends in up to two bytes less
    else:
        size = len(value) if isinstance(value, (str, bytes, list, tuple, dict)) else 0
    return next((bound.fault(range(size)) for bound in bounds if isinstance(bound, Length) and size > bound.most), None)


_FAULT = object()


def _matched(value: Any, hint: Any, place: str, faults: list[str], *, is_json: bool) -> Any:
    origin = get_origin(hint)
    found: Any = _FAULT
    if origin is tuple:
        return _tuple(value, get_args(hint), place, faults, is_json=is_json)
    if origin is dict:
        return _dict(value, get_args(hint)[1], place, faults, is_json=is_json)
    if origin is Literal:
        found = value if any(value == one and type(value) is type(one) for one in get_args(hint)) else _FAULT
    elif hint is bytes:
        data = _decoded(value) if is_json else value
        found = data if isinstance(data, bytes) else _FAULT
    elif hint in _SCALARS:  # an integer stays an integer where a number is expected, because digests depend on the text
        found = value if _SCALARS[hint](value) else _FAULT
    elif is_json and isinstance(value, dict):
        before = len(faults)
        made = _read_record(value, hint, place, faults)
        return made if len(faults) == before else _FAULT
    elif not is_json and isinstance(value, hint):
        return value  # checked when it was created
    if found is _FAULT:
        faults.append(f"{place} must be {_word(hint)}, not {_shown(value)}")
    return found


def _tuple(value: Any, hints: tuple[Any, ...], place: str, faults: list[str], *, is_json: bool) -> Any:
    repeated = len(hints) == 2 and hints[1] is Ellipsis
    if not isinstance(value, list if is_json else tuple) or (len(value) != len(hints) and not repeated):
        size = "" if repeated else f" of {len(hints)}"
        faults.append(f"{place} must be a list{size}, not {_shown(value)}")
        return _FAULT
    kinds = [hints[0]] * len(value) if repeated else hints
    before = len(faults)
    made = []
    for number, (item, kind) in enumerate(zip(value, kinds, strict=True)):
        made.append(_read(item, kind, f"{place}[{number}]", faults, is_json=is_json))
        if len(faults) > before:
            return _FAULT  # one fault of a list is reported
    return tuple(made)


def _dict(value: Any, hint: Any, place: str, faults: list[str], *, is_json: bool) -> Any:
    if not isinstance(value, dict) or not all(isinstance(key, str) and is_unicode(key) for key in value):
        faults.append(f"{place} must be a JSON object, not {_shown(value)}")
        return _FAULT
    before = len(faults)
    made = {key: _read(item, hint, f"{place}.{shortened(key)}", faults, is_json=is_json) for key, item in value.items()}
    return made if len(faults) == before else _FAULT


def _decoded(value: object) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _is_writable(value: object) -> bool:
    """Whether JSON can hold every number of a value from code; one from JSON has been checked."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and not math.isfinite(item):
            return False
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return True


_SCALARS: dict[Any, Callable[[object], bool]] = {
    Any: _is_writable,
    str: lambda value: isinstance(value, str) and is_unicode(value),
    bool: lambda value: isinstance(value, bool),
    int: lambda value: type(value) is int and -_MAX_INTEGER <= value <= _MAX_INTEGER,
    float: _is_number,
}
"""Type checks of values that need no conversion."""
_LENGTHS: dict[Any, list[Any]] = {
    str: [Length(_MAX_TEXT)],
    bytes: [Length(_MAX_TEXT)],
    tuple: [Length(_MAX_ITEMS)],
    dict: [Length(_MAX_ITEMS)],
}
"""Default bounds of annotations without ``Length``."""
_WORDS = {
    Any: "a JSON value without NaN and infinity",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a finite number",
    bytes: "base64",
}


def _word(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(repr(option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list"
    return _WORDS.get(hint, "a JSON object")


def _shown(value: object) -> str:
    """Show a value in a message, shortened."""
    if isinstance(value, int) and value.bit_length() > _MAX_INTEGER.bit_length() + 1:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (list, tuple, dict)):
        kind = "object" if isinstance(value, dict) else "list"
        try:
            text = repr(value) if len(value) <= SHOWN else ""
        except (ValueError, RecursionError):
            text = ""
        return text if text and len(text) <= SHOWN else f"{'an' if kind == 'object' else 'a'} {kind} of {len(value)}"
    if isinstance(value, (str, bytes)):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}…"
    return shortened(repr(value))


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(shortened(name)) for name in names[:10])
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10} more"
