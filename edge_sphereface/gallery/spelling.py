"""Detects names that differ only in invisible characters."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from edge_sphereface.errors import IdentityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""Unicode's Default_Ignorable_Code_Point, and the empty Braille pattern.

References:
    Unicode Standard Annex #44, DerivedCoreProperties.txt.
"""


def skeleton(name: str) -> str:
    """Skeleton of a name. Names that differ only in compatible or invisible characters or white space share it."""
    if not name.isascii():
        name = unicodedata.normalize("NFKC", _INVISIBLE.sub("", name))
    return " ".join(name.split())


class Spellings:
    """Refuses new names that cannot be distinguished from an existing one.

    A name that equals its skeleton is found by a lookup of the skeleton. Only the other names are kept in memory; they
    are read once, when the first new name comes.

    Args:
        names: returns at least all names that differ from their skeleton.
        holds: whether there is an identity of exactly this name.
    """

    def __init__(self, names: Callable[[], Iterable[str]], holds: Callable[[str], bool]) -> None:
        self._names = names
        self._holds = holds
        self._odd: dict[str, str] | None = None
        self._taken: set[str] = set()

    def take(self, name: str) -> None:
        """Register a new name.

        Raises:
            IdentityError: the name differs from another one only in what cannot be seen.
        """
        if self._odd is None:
            found = ((skeleton(odd), odd) for odd in self._names())
            self._odd = {plain: odd for plain, odd in found if plain != odd}
        plain = skeleton(name)
        other = self._odd.get(plain)
        if other is None and plain != name and (plain in self._taken or self._holds(plain)):
            other = plain
        if other is not None and other != name:
            raise IdentityError(
                f"The name {name!a} looks like the name {other!a} of another identity.",
                hint="give a name that looks different, or the other spelling to add to that identity",
            )
        if plain == name:
            self._taken.add(name)
        else:
            self._odd[plain] = name
