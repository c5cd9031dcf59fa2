"""Chooses people of LFW for a day in a house."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from edge_sphereface.errors import PairsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


def choose(images: Path, protocol: Protocol, numbers: Numbers, seed: int) -> Cast:
    """Choose people; no photograph is both enrolled and shown.

    Args:
        images: folder of LFW's images.
        protocol: its people with many photographs are enrolled; its strangers do not come.
        numbers: how many.
        seed: of the choice.

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
    enrolled, ignored = known[: numbers.enrolled], known[numbers.enrolled :][: numbers.ignored]
    recurring = again[: numbers.recurring]
    others = [name for name in _drawn(strangers, LOOKS, random) if name not in recurring]
    passing = others[: numbers.passing]
    wanted = (numbers.enrolled, numbers.ignored, numbers.recurring, numbers.passing)
    if tuple(map(len, (enrolled, ignored, recurring, passing))) != wanted:
        raise PairsError(
            f"Expected people for {wanted} roles in {images}, got {len(known)} with many photographs and "
            f"{len(others)} strangers.",
            hint="give LFW's folder of images",
        )
    people = [
        *(Person(name, "enrolled", _shared(probes[name], numbers.enrolled_visits)) for name in enrolled),
        *(Person(name, "ignored", _shared(probes[name], numbers.ignored_visits)) for name in ignored),
        *(Person(name, "recurring", _shared(strangers[name], numbers.recurring_visits)) for name in recurring),
        *(Person(name, "passing", _shared(strangers[name], 1)) for name in passing),
        Person(enrolled[0], "print", [[probes[enrolled[0]][-1]]]),
    ]
    return Cast(
        people=people,
        gallery={name: protocol.enrolled[name] for name in (*enrolled, *ignored)},
        others=[strangers[name][0] for name in others[numbers.passing :]],
    )


def _drawn(photographs: Mapping[str, Sequence[str]], least: int, random: np.random.Generator) -> list[str]:
    """The names of people with enough photographs, in random order."""
    names = sorted(name for name, paths in photographs.items() if len(paths) >= least)
    return [names[index] for index in random.permutation(len(names))]


def _shared(photographs: Sequence[str], visits: int) -> list[list[str]]:
    """Different photographs for each visit."""
    return [list(photographs[LOOKS * visit : LOOKS * (visit + 1)]) for visit in range(visits)]
