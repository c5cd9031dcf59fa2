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
from edge_sphereface.extras import install_command
from edge_sphereface.redaction import has_credentials
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from edge_sphereface.cli.option import Option
    from edge_sphereface.types import JsonObject

OPTION = "--config"
_FILE = RegularFile(what="file of settings", limit=1 << 16, error=UsageError, hint=f"check {OPTION}")
_MAX_DOTS = 64
"""Maximum number of dots in a line: each dot of a key nests a table, and settings have none."""
_ASKS_FOR_JSON = re.compile(r"(?m)^[ \t]*[\"']?json[\"']?[ \t]*=[ \t]*true\b")
_HINT = "each key is an option of edge-sphereface watch --help, without --"
_SHOWN = 60
_OWN_KEYS = {
    "URL": "url",
    "PORT": "listen",
    "FILE": "file",
    "FOLDER": "folder",
    "COMMAND": "command",
    "PREFIX": "prefix",
}
"""Key of a table for the option of the table's own name, by a part of that option's placeholder in help."""
_KINDS = {bool: "true or false", str: "a string", int: "a number", float: "a number", dict: "a table", list: "a list"}
_READERS = ("tomllib", "tomli")
"""Python's own reader from 3.11 on, and the package that it came from."""


def read_configuration(
    options: Iterable[Option], words: list[str], tables: Mapping[str, Iterable[Option]] | None = None
) -> dict[str, Any]:
    """Values of the options in the file that a command line names, by their attributes; empty if it names none.

    A table ``[http]`` holds the options whose names begin with ``http-``, without that beginning. The option ``http``
    itself is its key ``listen``; others of the name of a table are ``url``, ``file``, ``folder``, ``command`` or
    ``prefix``, by what they take.

    Args:
        options: keys of the file.
        words: of the command line.
        tables: keys of the tables that may stand in the file several times, such as ``[[camera]]``; the values of all
            tables of one name are a tuple, ``camera_tables``.

    Raises:
        UsageError: the file is missing, is not TOML, has a key that is no option, or a value that its option refuses.
        ExtraError: Python 3.10 without ``tomli``.
    """
    path = _named(words)
    if path is None:
        return {}
    by_name = {option.name: option for option in options}
    content = _read(path)
    values: dict[str, Any] = {}
    for kind, keys in (tables or {}).items():
        found = content.pop(kind, None)
        if found is not None:
            values[f"{kind}_tables"] = _tables(kind, found, list(keys), str(path), by_name)
    return {**option_values(_flat(content, by_name), by_name.values(), str(path)), **values}


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


def option_values(content: Mapping[str, Any], options: Iterable[Option], place: str) -> dict[str, Any]:
    """Values of options by their attributes.

    Args:
        content: values as TOML or JSON have them, by the names of the options.
        options: that may be named.
        place: where they stand, for messages.

    Raises:
        UsageError: a key is no option, or its value is none that it takes.
    """
    by_name = {option.name: option for option in options}
    values: dict[str, Any] = {}
    for key, found in content.items():
        option = by_name.get(key)
        if option is None:
            near = get_close_matches(key, by_name, n=1)
            raise UsageError(
                f"{place}: there is no setting {key[:_SHOWN]!r}.",
                hint=f"do you mean {near[0]!r}?" if near else _HINT,
            )
        if option.is_list and found == []:
            values[option.attribute] = []
        for item in found if option.is_list and isinstance(found, list) else [found]:
            if item is True and option.bare is not None:  # as the option without a value
                values[option.attribute] = option.bare
                continue
            _check_type(option, item, place)
            if option.read is not None:
                value = _parsed(option, str(item), place)
                values[option.attribute] = [*values.get(option.attribute, []), value] if option.is_list else value
            else:
                values[option.attribute] = bool(option.default) != item
    return values


def _flat(content: Mapping[str, Any], options: Mapping[str, Option]) -> dict[str, Any]:
    """The content with the keys of its tables as names of options."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        prefix = name.replace("_", "-")
        own = _own_key(options.get(prefix))
        if not isinstance(value, dict) or not (own or any(option.startswith(f"{prefix}-") for option in options)):
            flat[name] = value
            continue
        for key, item in value.items():
            option = f"{prefix}-{key}"
            flat[prefix if option not in options and key == own else option] = item
    return flat


def _own_key(option: Option | None) -> str | None:
    """The key of a table that is the option of the table's own name; None if it takes nothing of that kind."""
    placeholder = "" if option is None else option.metavar or ""
    return next((key for part, key in _OWN_KEYS.items() if part in placeholder), None)


def _tables(
    kind: str, found: object, options: Sequence[Option], path: str, shared: Collection[str]
) -> tuple[dict[str, Any], ...]:
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise UsageError(f"{path}: expected tables for {kind!r}.", hint=f"write [[{kind}]] above each")
    places = [f"{path}: {_named_table(kind, number, table)}" for number, table in enumerate(found, 1)]
    own = {option.name for option in options}
    for table, place in zip(found, places, strict=True):
        for key in table:
            if key in shared and key not in own:
                raise UsageError(
                    f"{place}: {key!r} is no setting of one {kind} alone.",
                    hint=f"write it at the top of the file, above the first [[{kind}]]",
                )
    return tuple(option_values(table, options, place) for table, place in zip(found, places, strict=True))


def _named_table(kind: str, number: int, table: Mapping[str, Any]) -> str:
    name = table.get("name")
    return f"{kind} {name[:_SHOWN]!r}" if isinstance(name, str) else f"{kind} {number}"


def _check_type(option: Option, item: object, place: str) -> None:
    is_switch = option.read is None
    if isinstance(item, bool) != is_switch or not isinstance(item, str | int | float):
        expected = "true or false" if is_switch else "a string or a number"
        got = _KINDS.get(type(item), "something else")  # the value itself may hold a password
        raise UsageError(f"{place}: expected {expected} for {option.name!r}, got {got}.")


def _parsed(option: Option, text: str, place: str) -> Any:
    try:
        return option.parse(text)
    except ArgumentTypeError as error:
        raise UsageError(f"{place}: {option.name}: {error}.", hint=_HINT) from error


def _read(path: Path) -> JsonObject:
    reader = next((name for name in _READERS if find_spec(name) is not None), None)
    if reader is None:
        raise ExtraError("Python 3.10 cannot read TOML by itself.", hint=f"{install_command('toml')}, or give options")
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
            f"{path} is not TOML: {reason}.",
            hint="write one option per line, such as fps = 5, text in quotes, and [[camera]] above each camera",
        ) from error
    return found


def _text(path: Path) -> str:
    return _FILE.read_text(path).replace("\r\n", "\n")


def _warn_of_readers(path: Path, text: str) -> None:
    if path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH) and has_credentials(text):
        note(f"warning: {path} holds credentials, and other users may read it: chmod 600 {path}")
