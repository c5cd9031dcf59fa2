"""Converts file names, which may contain any bytes, to text and back."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


def to_text(path: Path) -> str:
    r"""Convert a path to text with ``/`` as separator. Bytes that are not UTF-8 become ``\\xNN``."""
    return os.fsencode(path.as_posix()).decode("utf-8", errors="backslashreplace")


def find(folder: Path, text: str) -> Path:
    """Find the file below ``folder`` that a text from :func:`to_text` denotes."""
    plain = folder / text
    if "\\x" not in text or plain.exists():
        return plain
    return folder / os.fsdecode(_ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), text.encode()))
