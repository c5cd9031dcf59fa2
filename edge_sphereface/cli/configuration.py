"""Settings from a TOML file: each key is the long name of an option."""

from __future__ import annotations

import re
import stat
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import Parser, UsageError, note
from edge_sphereface.errors import ExtraError
from edge_sphereface.redaction import has_credentials
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

OPTION = "--config"
_FILE = RegularFile(what="file of settings", limit=1 << 16, error=UsageError, hint=f"check {OPTION}")
_MAX_DOTS = 64
"""In a line: each dot of a key is a table in a table, and settings have none."""
_ASKS_FOR_JSON = re.compile(r"(?m)^[ \t]*[\"']?json[\"']?[ \t]*=[ \t]*true\b")
_SHOWN = 60
_KINDS = {bool: "true or false", str: "a string", int: "a number", float: "a number", dict: "a table", list: "a list"}
_READERS = ("tomllib", "tomli")
"""Python's own from 3.11 on, and the package that it came from."""


def with_configuration(parser: Parser, words: list[str]) -> list[str]:
    """The words of a command line after those of the file that it names; the command line's own count.

    Raises:
        UsageError: the file is missing, no TOML, or has a key that is no option.
        ExtraError: Python 3.10 without ``tomli``.
    """
    path = _named(words)
    return words if path is None else [*_words(parser, path), *words]


def asks_for_json(words: list[str]) -> bool:
    """Whether the file that a command line names asks for JSON, though it may have mistakes or be missing.

    A pipe is not asked: it gives its content only once.
    """
    path = _named(words)
    try:
        return path is not None and not path.is_fifo() and _ASKS_FOR_JSON.search(_text(path)) is not None
    except UsageError:
        return False


def _named(words: list[str]) -> Path | None:
    for word, following in zip_longest(words, words[1:]):
        if word == OPTION and following is not None:
            return Path(following)
        if word.startswith(f"{OPTION}="):
            return Path(word.partition("=")[2])
    return None


def _words(parser: Parser, path: Path) -> list[str]:
    known = {
        name.removeprefix("--"): action
        for name, action in parser._option_string_actions.items()  # noqa: SLF001 -- argparse lists them nowhere else
        if name.startswith("--") and name not in (OPTION, "--help")
    }
    words: list[str] = []
    for key, value in _read(path).items():
        if key not in known:
            near = get_close_matches(key, known, n=1)
            raise UsageError(
                f"{path}: there is no setting {key[:_SHOWN]!r}.",
                hint=f"do you mean {near[0]!r}?" if near else f"each is an option of {parser.prog} --help, without --",
            )
        takes_value = known[key].nargs != 0
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, bool) != (not takes_value) or not isinstance(item, str | int | float):
                expected = "a string or a number" if takes_value else "true or false"
                got = _KINDS.get(type(item), "something else")  # the value itself may hold a password
                raise UsageError(f"{path}: expected {expected} for {key!r}, got {got}.")
            if takes_value:
                words.append(f"--{key}={item}")
            elif item:
                words.append(f"--{key}")
    return words


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
            str(value)  # Python writes no integer of thousands of digits
    except (ValueError, RecursionError) as error:
        reason = "too many brackets in one another" if isinstance(error, RecursionError) else error
        raise UsageError(
            f"{path} is no TOML: {reason}.", hint="write one option a line, such as fps = 5, and text in quotes"
        ) from error
    return found


def _text(path: Path) -> str:
    return _FILE.read_text(path).replace("\r\n", "\n")


def _warn_of_readers(path: Path, text: str) -> None:
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) and has_credentials(text):
        note(f"warning: {path} holds a password or the like, and others may read it: chmod 600 {path}")
