"""Chooses people of LFW for a day in a house."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from edge_sphereface.errors import PairsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.gallery.identification import Protocol

Role: TypeAlias = Literal["enrolled", "ignored", "recurring", "passing", "print"]
"""``recurring`` and ``passing`` are strangers who come several times or once; ``print`` is a photograph of somebody
enrolled, held into the camera."""
LOOKS = 2
"""Photographs of a visit, which blend into one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """How many people come, and how often.

    Attributes:
        enrolled: number of enrolled people.
        ignored: number of people who are enrolled and ignored.
        recurring: number of strangers who come several times.
        passing: number of strangers who come once.
        enrolled_visits: visits of each enrolled person.
        ignored_visits: visits of each ignored person.
        recurring_visits: visits of each recurring stranger.
    """

    enrolled: int = 8
    ignored: int = 2
    recurring: int = 5
    passing: int = 15
    enrolled_visits: int = 4
    ignored_visits: int = 3
    recurring_visits: int = 3


class Person(NamedTuple):
    """A person of LFW.

    Attributes:
        name: name in LFW.
        role: what this person does in the house.
        visits: photographs of each visit, as paths below the folder of images.
    """

    name: str
    role: Role
    visits: Sequence[Sequence[str]]


class Cast(NamedTuple):
    """People of a day.

    Attributes:
        people: everybody who comes; the printed photograph last.
        gallery: photographs that are enrolled, by name: of the enrolled and of the ignored people.
        others: photographs of people who do not come, one of each.
    """

    people: Sequence[Person]
    gallery: Mapping[str, Sequence[str]]
    others: Sequence[str]


def choose(images: Path, protocol: Protocol, numbers: Numbers, seed: int, *, is_alone: Callable[[str], bool]) -> Cast:
    """Choose people; no photograph is both enrolled and shown.

    Args:
        images: folder of LFW's images.
        protocol: its people with many photographs are enrolled; its strangers do not come.
        numbers: how many.
        seed: of the choice.
        is_alone: whether the head of a photograph shows one face. Another face beside it would be reported, as it
            should be, and count as a report of the person.

    Raises:
        PairsError: there are too few people with enough photographs.
    """
    random = np.random.default_rng(seed)
    probes: dict[str, list[str]] = {}
    for photograph, name in protocol.probes:
        probes.setdefault(name, []).append(photograph)
    asked = {path.split("/")[0] for path in protocol.strangers}
    strangers = {
        folder.name: sorted(f"{folder.name}/{image.name}" for image in folder.iterdir())
        for folder in sorted(images.iterdir())
        if folder.is_dir() and folder.name not in protocol.enrolled and folder.name not in asked
    }
    known = _drawn(probes, LOOKS * max(numbers.enrolled_visits, numbers.ignored_visits) + 1, random)
    again = _drawn(strangers, LOOKS * numbers.recurring_visits, random)
    others = _drawn(strangers, LOOKS, random)

    def first(
        names: Iterable[str], photographs: Mapping[str, Sequence[str]], people: int, visits: int
    ) -> dict[str, list[str]]:
        """The first of these people with enough photographs of one face."""
        alone = ((name, list(islice(filter(is_alone, photographs[name]), LOOKS * visits))) for name in names)
        return dict(islice((found for found in alone if len(found[1]) == LOOKS * visits), people))

    enrolled = first(known, probes, numbers.enrolled, numbers.enrolled_visits)
    ignored = first(_without(known, enrolled), probes, numbers.ignored, numbers.ignored_visits)
    recurring = first(again, strangers, numbers.recurring, numbers.recurring_visits)
    passing = first(_without(others, recurring), strangers, numbers.passing, 1)
    wanted = (numbers.enrolled, numbers.ignored, numbers.recurring, numbers.passing)
    if tuple(map(len, (enrolled, ignored, recurring, passing))) != wanted:
        raise PairsError(
            f"Expected people for {wanted} roles in {images}, got {len(known)} with many photographs and "
            f"{len(others)} strangers.",
            hint="give LFW's folder of images",
        )
    held = next(iter(enrolled))
    return Cast(
        people=[
            *(Person(name, "enrolled", _by_visit(paths)) for name, paths in enrolled.items()),
            *(Person(name, "ignored", _by_visit(paths)) for name, paths in ignored.items()),
            *(Person(name, "recurring", _by_visit(paths)) for name, paths in recurring.items()),
            *(Person(name, "passing", _by_visit(paths)) for name, paths in passing.items()),
            Person(held, "print", [[probes[held][-1]]]),
        ],
        gallery={name: protocol.enrolled[name] for name in (*enrolled, *ignored)},
        others=[strangers[name][0] for name in _without(others, {**recurring, **passing})],
    )


def _drawn(photographs: Mapping[str, Sequence[str]], least: int, random: np.random.Generator) -> list[str]:
    """The names of people with enough photographs, in random order."""
    names = sorted(name for name, paths in photographs.items() if len(paths) >= least)
    return [names[index] for index in random.permutation(len(names))]


def _without(names: Iterable[str], chosen: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name in names if name not in chosen]


def _by_visit(photographs: Sequence[str]) -> list[Sequence[str]]:
    """Different photographs for each visit."""
    return [photographs[start : start + LOOKS] for start in range(0, len(photographs), LOOKS)]
