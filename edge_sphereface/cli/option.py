"""Options of a command, defined once for the command line, files of settings and the settings themselves."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from edge_sphereface.cli.runner import Parser
from edge_sphereface.setting import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

T = TypeVar("T")


class Container(Protocol):
    """A parser, or a group of one."""

    def add_argument(self, *name: str, **form: Any) -> object:
        """Add an argument; see :mod:`argparse`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option.

    Attributes:
        name: long name, without ``--``.
        help: for users.
        metavar: placeholder of the value in help.
        read: reads the value from text and raises ValueError or ArgumentTypeError; None for a switch.
        default: value of an option that is not given; a switch negates it.
        bare: value of an option that is given without text; None where text is required.
        choices: texts that the option takes; empty for any.
        is_list: whether the option may be given several times.
        dest: attribute of the parsed arguments; made from the name where it is empty.
        group: heading in help; empty for options of no group.
    """

    name: str
    help: str
    metavar: str | None = None
    read: Callable[[str], Any] | None = str
    default: Any = None
    bare: Any = None
    choices: Sequence[str] = ()
    is_list: bool = False
    dest: str = ""
    group: str = ""

    @property
    def attribute(self) -> str:
        """Attribute of the parsed arguments that holds the value."""
        return self.dest or self.name.replace("-", "_")

    def parse(self, text: str) -> Any:
        """Read the value of an option that takes one.

        Raises:
            argparse.ArgumentTypeError: the text is no value of this option.
        """
        assert self.read is not None  # noqa: S101 -- a switch takes no text
        if self.choices and text not in self.choices:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(self.choices)}, got {text!r:.40}")
        try:
            return self.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    def add_to(self, container: Container) -> None:
        """Add the option to a parser or to a group of one."""
        if self.read is None:
            action = "store_false" if self.default else "store_true"
            container.add_argument(f"--{self.name}", dest=self.attribute, action=action, help=self.help)
            return
        form: dict[str, Any] = {"metavar": self.metavar}
        if self.choices:
            form["metavar"] = f"{{{','.join(self.choices)}}}"
        if self.choices or self.read is not str:
            form["type"] = self.parse
        if self.bare is not None:
            form.update(nargs="?", const=self.bare)
        action = "append" if self.is_list else "store"
        container.add_argument(
            f"--{self.name}", dest=self.attribute, action=action, default=self.default, help=self.help, **form
        )


def option_parser(options: Iterable[Option]) -> Parser:
    """A parser of these options, to be a parent of a command's; groups stand in the order of their first options."""
    parser = Parser(add_help=False)
    groups: dict[str, Container] = {"": parser}
    for option in options:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        option.add_to(groups[option.group])
    return parser


def options_of(kind: type, group: str = "") -> list[Option]:
    """The options of a dataclass of settings and of those nested in it: each field that has help.

    Args:
        kind: the dataclass; its fields are made by :func:`~edge_sphereface.setting.setting`.
        group: heading of the options whose fields name none.
    """
    found = []
    for declared in fields(kind):
        about = Setting.of(declared)
        heading = about.group or group
        if is_dataclass(declared.default_factory):
            found += options_of(declared.default_factory, heading)
        elif about.help:
            found.append(
                Option(
                    name=about.name or declared.name.replace("_", "-"),
                    help=about.help + _default_text(declared.default),
                    metavar=about.metavar,
                    read=about.read,
                    default=declared.default,
                    bare=about.bare,
                    dest=declared.name,
                    group=heading,
                )
            )
    return found


def settings_from(kind: type[T], values: Mapping[str, Any]) -> T:
    """Settings with the values of their options; the other fields keep their defaults.

    Args:
        kind: see :func:`options_of`.
        values: parsed arguments by the names of the fields.
    """
    chosen: dict[str, Any] = {}
    for declared in fields(kind):  # type: ignore[arg-type] # a dataclass, which no annotation can require
        if is_dataclass(declared.default_factory):
            chosen[declared.name] = settings_from(declared.default_factory, values)
        elif Setting.of(declared).help:
            chosen[declared.name] = values[declared.name]
    return kind(**chosen)


def _default_text(default: object) -> str:
    if default is None or isinstance(default, bool):
        return ""
    if isinstance(default, tuple):  # an address
        default = ":".join(map(str, default))
    return f" (default: {default:g})" if isinstance(default, int | float) else f" (default: {default})"
