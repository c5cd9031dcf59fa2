"""How names of people are spelled where they are stored, and compared wherever they are looked for."""

from __future__ import annotations

import re
import unicodedata

_SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")


def stored_name(name: str) -> str:
    """The form in which a new name is stored: composed (NFC), with single ordinary spaces, and none at the ends."""
    return single_spaced(unicodedata.normalize("NFC", name))


def single_spaced(name: str) -> str:
    """Replace each run of white space in a name with one ordinary space, and strip the ends."""
    return _SPACES.sub(" ", name).strip(" ")
