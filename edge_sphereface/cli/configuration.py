"""Reads settings from a TOML file. Each key is the long name of an option."""

from __future__ import annotations

import re
import stat
from argparse import ArgumentTypeError
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface.cli.runner import UsageError, note
from edge_sphereface.errors import ExtraError
from edge_sphereface.redaction import has_credentials
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edge_sphereface.cli.option import Option
    from edge_sphereface.types import JsonObject

OPTION = "--config"
_FILE = RegularFile(what="file of settings", limit=1 << 16, error=UsageError, hint=f"check {OPTION}")
_MAX_DOTS = 64
"""Maximum number of dots in a line: each dot of a key nests a table, and settings have none."""
_ASKS_FOR_JSON = re.compile(r"(?m)^[ \t]*[\"']?json[\"']?[ \t]*=[ \t]*true\b")
_HINT = "each key is an option of edge-sphereface watch --help, without --"
_SHOWN = 60
_KINDS = {bool: "true or false", str: "a string", int: "a number", float: "a number", dict: "a table", list: "a list"}
_READERS = ("tomllib", "tomli")
"""Python's own reader from 3.11 on, and the package that it came from."""


def read_configuration(options: Iterable[Option], words: list[str]) -> dict[str, Any]:
    """Values of the options in the file that a command line names, by their attributes; empty if it names none.

    Raises:
        UsageError: the file is missing, is not TOML, has a key that is no option, or a value that its option refuses.
        ExtraError: Python 3.10 without ``tomli``.
    """
    path = _named(words)
    return {} if path is None else _values({option.name: option for option in options}, path)


def asks_for_json(words: list[str]) -> bool:
    """Whether the file that a command line names asks for JSON; the file may have mistakes or be missing.

    A pipe is not read, since it gives its content only once.
    """
    path = _named(words)
    try:
        return path is not None and not path.is_fifo() and _ASKS_FOR_JSON.search(_text(path)) is not None
    except UsageError:
        return False


def _named(words: list[str]) -> Path | None:
    """The file that the words name; the last, as for every option."""
    path = None
    for word, following in zip_longest(words, words[1:]):
        if word == OPTION and following is not None:
            path = Path(following)
        if word.startswith(f"{OPTION}="):
            path = Path(word.partition("=")[2])
    return path


def _values(options: Mapping[str, Option], path: Path) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, found in _read(path).items():
        option = options.get(key)
        if option is None:
            near = get_close_matches(key, options, n=1)
            raise UsageError(
                f"{path}: there is no setting {key[:_SHOWN]!r}.",
                hint=f"do you mean {near[0]!r}?" if near else _HINT,
            )
        for item in found if option.is_list and isinstance(found, list) else [found]:
            _check_type(option, item, path)
            if option.read is not None:
                value = _parsed(option, str(item), path)
                values[option.attribute] = [*values.get(option.attribute, []), value] if option.is_list else value
            elif item:
                values[option.attribute] = not option.default
    return values


def _check_type(option: Option, item: object, path: Path) -> None:
    is_switch = option.read is None
    if isinstance(item, bool) != is_switch or not isinstance(item, str | int | float):
        expected = "true or false" if is_switch else "a string or a number"
        got = _KINDS.get(type(item), "something else")  # the value itself may hold a password
        raise UsageError(f"{path}: expected {expected} for {option.name!r}, got {got}.")


def _parsed(option: Option, text: str, path: Path) -> Any:
    try:
        return option.parse(text)
    except ArgumentTypeError as error:
        raise UsageError(f"{path}: {option.name}: {error}.", hint=_HINT) from error


def _read(path: Path) -> JsonObject:
    reader = next((name for name in _READERS if find_spec(name) is not None), None)
    if reader is None:
        raise ExtraError(
            "Python 3.10 cannot read TOML by itself.", hint="pip install 'edge-sphereface[toml]', or give options"
        )
    text = _text(path)
    _warn_of_readers(path, text)
    try:
        if max(line.count(".") for line in text.split("\n")) > _MAX_DOTS:
            raise ValueError(f"more than {_MAX_DOTS} dots in one line")
        found: JsonObject = import_module(reader).loads(text)
        for value in found.values():
            str(value)  # refuses integers of thousands of digits
    except (ValueError, RecursionError) as error:
        reason = "too many nested brackets" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"{path} is not TOML: {reason}.", hint="write one option per line, such as fps = 5, and text in quotes"
        ) from error
    return found


def _text(path: Path) -> str:
    return _FILE.read_text(path).replace("\r\n", "\n")


def _warn_of_readers(path: Path, text: str) -> None:
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) and has_credentials(text):
        note(f"warning: {path} holds credentials, and other users may read it: chmod 600 {path}")
