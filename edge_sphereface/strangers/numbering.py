"""Keeps the numbers of strangers while their groups grow, merge and split."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Numbering(NamedTuple):
    """Numbers of groups.

    Attributes:
        numbers: of each group; None where it needs a new one.
        successors: for each number that a merged group does not keep, the one that it keeps.
    """

    numbers: list[int | None]
    successors: dict[int, int]


def carry_over(groups: Sequence[Sequence[int | None]]) -> Numbering:
    """Give groups the numbers that most of their members had before.

    Of a group that has split, the part with most of its members keeps the number; a merged group keeps the number of
    most of its members. Of equal ones, the first group and the smallest number count.

    Args:
        groups: for each group, the number that each of its members had before; None for a new member.
    """
    held = [Counter(number for number in group if number is not None) for group in groups]
    heirs: dict[int, int] = {}
    for index, counts in enumerate(held):
        for number, count in counts.items():
            if number not in heirs or count > held[heirs[number]][number]:
                heirs[number] = index
    numbers: list[int | None] = []
    successors: dict[int, int] = {}
    for index, counts in enumerate(held):
        inherited = sorted((number for number in counts if heirs[number] == index), key=lambda n: (-counts[n], n))
        numbers.append(inherited[0] if inherited else None)
        successors.update(dict.fromkeys(inherited[1:], inherited[0]) if inherited else {})
    return Numbering(numbers, successors)
