"""When who comes to which camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.day.cast import Person, Role

CAMERAS = ("front door", "garden", "hall")
MIDNIGHT = 1_795_737_600.0
"""Begin of the simulated day, 2026-11-27 00:00 UTC, in seconds since 1970."""
_FIRST_S, _LAST_S = 7 * 3600.0, 22 * 3600.0
"""The house sleeps before and after."""


class Visit(NamedTuple):
    """Somebody before a camera.

    Attributes:
        at_s: begin, in seconds after midnight.
        camera: name of the camera.
        person: name in LFW.
        role: what this person does in the house.
        photographs: what the face is rendered from.
    """

    at_s: float
    camera: str
    person: str
    role: Role
    photographs: Sequence[str]


def plan(people: Sequence[Person], seed: int) -> list[Visit]:
    """Spread the visits of everybody over the day and the cameras, one after the other.

    Args:
        people: everybody who comes.
        seed: of the order, moments and cameras.
    """
    random = np.random.default_rng(seed)
    visits = [(person, photographs) for person in people for photographs in person.visits]
    slot_s = (_LAST_S - _FIRST_S) / len(visits)
    found = []
    for place, index in enumerate(random.permutation(len(visits))):
        person, photographs = visits[index]
        at_s = _FIRST_S + slot_s * (place + 0.5 * random.random())
        camera = CAMERAS[int(random.integers(len(CAMERAS)))]
        found.append(Visit(at_s, camera, person.name, person.role, photographs))
    return found
