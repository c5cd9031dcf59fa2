"""Removes what identifies a person or a machine from texts of a report that is sent to others.

A report takes no name, address or serial number from the system. Texts of others, such as the message of an error, may
hold the path of a home folder or the name of the machine.
"""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_USER_VARIABLES = ("USER", "LOGNAME", "USERNAME", "SUDO_USER")
_PATH = re.compile(r"(?<![\w.:/\\-])(?:[A-Za-z]:|~)?(?:[/\\][^/\\\s:;,\"'()<>|]*)*[/\\]([^/\\\s:;,\"'()<>|]*)")
"""A path from a root or from a home folder; its last part by itself."""
_ADDRESS = re.compile(r"\b[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5}\b")
"""The hardware address of a network interface."""
_HIDDEN = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Privacy:
    """What is removed from texts.

    Attributes:
        names: names of users and of the machine.
        folders: folders whose paths are removed, also those that are not absolute.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]

    @classmethod
    def of_this_machine(cls, paths: Iterable[Path] = (), environment: Mapping[str, str] | None = None) -> Privacy:
        """Names and folders of this machine and its users.

        Args:
            paths: files that texts may name; the folders that they are in are removed.
            environment: variables of the environment; None for those of this process.
        """
        variables = os.environ if environment is None else environment
        home, host = Path(os.path.expanduser("~")), socket.gethostname()  # noqa: PTH111 -- works without a home folder
        names = {variables.get(name, "") for name in _USER_VARIABLES} | {home.name, host, host.partition(".")[0]}
        folders = {f"{home}{os.sep}", *(f"{path.parent}{os.sep}" for path in paths if path.parent.name)}
        return cls(
            names=tuple(sorted(filter(None, names), key=len, reverse=True)),
            folders=tuple(sorted(folders, key=len, reverse=True)),
        )

    def clean(self, text: str, *, most: int = 500) -> str:
        """A text without paths, names of users, the name of the machine and hardware addresses.

        Args:
            text: a message.
            most: largest number of characters of the result.
        """
        for folder in self.folders:
            text = text.replace(folder, "")
        text = _ADDRESS.sub(_HIDDEN, _PATH.sub(r"\1", text))
        for name in self.names:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", _HIDDEN, text)
        return text if len(text) <= most else f"{text[:most]}…"
