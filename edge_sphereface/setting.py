"""Declares the fields of settings: default, permitted values, form as text, help.

A dataclass whose fields :func:`setting` makes is the only definition of its settings. :func:`check` refuses values that
are not permitted. Options of a command line and keys of a file are derived from the same fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_METADATA = "setting"
_MAX_INTEGER = (1 << 31) - 1
"""Largest integer read from text: every library takes it."""
_MAX_NUMBER = 1e9
"""Largest magnitude of other numbers read from text."""


class Permitted(Protocol):
    """A set of values. ``str()`` completes "Expected <name> …"."""

    def __contains__(self, value: Any, /) -> bool:
        """Whether a value is permitted."""

    def parse(self, text: str) -> Any:
        """Read a permitted value from text.

        Raises:
            ValueError: the text is no permitted value.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Numbers between two limits.

    Attributes:
        least: lower limit.
        most: upper limit, included.
        is_open: whether the lower limit itself is excluded.
        is_whole: whether text must be an integer.
        noun: of a value, in messages about text.
    """

    least: float = -math.inf
    most: float = math.inf
    is_open: bool = False
    is_whole: bool = False
    noun: str = "a number"

    def __contains__(self, value: Any) -> bool:
        """Whether a value is a number within the limits; NaN is not."""
        if not isinstance(value, Real):
            return False
        number = float(value)
        return (self.least < number if self.is_open else self.least <= number) and number <= self.most

    def __str__(self) -> str:
        if self.is_open:
            return f"above {self.least:g}" + ("" if self.most == math.inf else f" and up to {self.most:g}")
        return f"of at least {self.least:g}" if self.most == math.inf else f"of {self.least:g} to {self.most:g}"

    def parse(self, text: str) -> float:
        """Read a number within the limits.

        Raises:
            ValueError: the text is no such number.
        """
        bound = _MAX_INTEGER if self.is_whole else _MAX_NUMBER
        value = _integer(text) if self.is_whole else _number(text)
        if value in self and abs(value) <= bound:
            return value
        noun, form = ("an integer", ".0f") if self.is_whole else (self.noun, "g")
        least, most = max(self.least, -bound), min(self.most, bound)
        lowest = f"above {least:{form}}, up to" if self.is_open else f"from {least:{form}} to"
        raise ValueError(f"expected {noun} {lowest} {most:{form}}, got {text!r:.40}")


@dataclass(frozen=True, slots=True)
class VisibleText:
    """Text that can be printed and is not blank."""

    def __contains__(self, value: str) -> bool:
        """Whether a text has only visible characters and spaces, and not spaces alone."""
        return bool(value.strip()) and value.isprintable()

    def __str__(self) -> str:
        return "of visible characters"

    def parse(self, text: str) -> str:
        """Take a text as it is.

        Raises:
            ValueError: the text is not visible.
        """
        if text not in self:
            raise ValueError(f"expected visible characters, got {text!r:.40}")
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a field of settings says about itself besides its name, type and default.

    Attributes:
        help: what the setting does; empty where only programs can set it.
        metavar: placeholder of a value in help: its unit or form.
        group: heading in help; that of the settings around it where it is empty.
        name: of the option, where it is not the field's.
        permitted: values that the settings accept; None for all.
        read: reads a value from text; None for a switch, which negates the default.
        bare: value of an option that is given without text; None where text is required.
    """

    help: str = ""
    metavar: str = ""
    group: str = ""
    name: str = ""
    permitted: Permitted | None = None
    read: Callable[[str], Any] | None = str
    bare: Any = None

    @classmethod
    def of(cls, declared: Any) -> Setting:
        """What a field of a dataclass says; nothing where :func:`setting` did not make it."""
        found: Setting = declared.metadata.get(_METADATA, cls())
        return found


def setting(  # noqa: PLR0913 -- all by name
    default: T,
    *,
    help: str = "",  # noqa: A002 -- the word of argparse
    metavar: str = "",
    group: str = "",
    name: str = "",
    permitted: Permitted | None = None,
    read: Callable[[str], Any] | None = str,
    bare: T | None = None,
) -> T:
    """A field of settings; see :class:`Setting`. ``permitted`` also reads the text."""
    about = Setting(
        help=help,
        metavar=metavar,
        group=group,
        name=name,
        permitted=permitted,
        read=read if permitted is None else permitted.parse,
        bare=bare,
    )
    made: T = field(default=default, metadata={_METADATA: about})
    return made


def nested(kind: type[T], *, group: str = "") -> T:
    """A field that holds settings of another dataclass, with their defaults.

    Args:
        kind: the dataclass.
        group: heading of its settings in help.
    """
    made: T = field(default_factory=kind, metadata={_METADATA: Setting(group=group)})
    return made


def check(settings: Any) -> None:
    """Refuse values that are not permitted; None stands for "not set" where it is the default.

    Raises:
        ValueError: a value is not permitted.
    """
    for declared in fields(settings):
        value, permitted = getattr(settings, declared.name), Setting.of(declared).permitted
        is_unset = value is None and declared.default is None
        if permitted is not None and not is_unset and value not in permitted:
            raise ValueError(f"Expected {declared.name} {permitted}, got {value!r}.")


def _integer(text: str) -> int:
    """The integer in a text, or one that is out of every range."""
    try:  # the length first: Python refuses to convert thousands of digits, and the message would hold them all
        return int(text) if len(text) <= len(str(_MAX_INTEGER)) else _MAX_INTEGER + 1
    except ValueError:
        return _MAX_INTEGER + 1


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
