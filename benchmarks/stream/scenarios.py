"""Scenes of the rendered video: people walk, approach, cross, blur, turn away, hide, or stand in a group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.stream.face_renderer import Pose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT, FPS = 1280, 720, 25
PILLAR = (560, 720)
"""First and last column of a pillar that hides people, in pixels."""
_OFF = 90
"""Distance beyond the border at which a head is invisible, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One appearance of a person in front of the camera.

    Attributes:
        person: number of the person.
        begin: start in seconds of the video.
        seconds: duration in seconds.
        pose: function from the elapsed share of the visit to the pose of the head.
        near: nearness to the camera; a head with a larger value covers the others.
    """

    person: int
    begin: float
    seconds: float
    pose: Callable[[float], Pose]
    near: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A short scene.

    Attributes:
        name: name of the scene.
        visits: visits of the people who take part.
        seconds: duration in seconds.
        pillar: whether a pillar in the middle hides people.
    """

    name: str
    visits: tuple[Visit, ...]
    seconds: float
    pillar: bool = False


def walk(begin: float, people: Sequence[int]) -> Act:
    """One person enters on the left and leaves on the right."""
    return _act("walk", begin, 6.0, [(people[0], lambda t: _walking(t, y=330, scale=1.1), 1.0)])


def approach(begin: float, people: Sequence[int]) -> Act:
    """One person approaches the camera."""

    def pose(t: float) -> Pose:
        return Pose(x=420 + 300 * t, y=260 + 90 * t, scale=0.55 + 1.3 * t**1.5, yaw=8 * _wave(t, 2), look=2 * t)

    return _act("approach", begin, 6.0, [(people[0], pose, 1.0)])


def cross(begin: float, people: Sequence[int]) -> Act:
    """Two people walk past each other, and one covers the other."""
    return _act(
        "cross",
        begin,
        7.0,
        [
            (people[0], lambda t: _walking(t, y=340, scale=1.0), 1.0),
            (people[1], lambda t: _walking(1 - t, y=350, scale=1.25), 2.0),
        ],
    )


def blur(begin: float, people: Sequence[int]) -> Act:
    """One person stands while the image is out of focus twice."""

    def pose(t: float) -> Pose:
        lost = max(np.sin(4 * np.pi * t - 0.8), 0.0)
        return Pose(x=640 + 40 * _wave(t, 1), y=330, scale=1.2, blur=4.5 * lost, yaw=6 * _wave(t, 3), look=2 * t)

    return _act("blur", begin, 8.0, [(people[0], pose, 1.0)])


def turn(begin: float, people: Sequence[int]) -> Act:
    """One person turns away and back."""

    def pose(t: float) -> Pose:
        away = np.clip((0.5 - abs(t - 0.5)) * 4 - 0.6, 0, 1)
        return Pose(x=800, y=320 + 4 * _wave(t, 2), scale=1.15, yaw=180 * away, roll=4 * _wave(t, 2), look=2 * t)

    return _act("turn", begin, 8.0, [(people[0], pose, 1.0)])


def hide(begin: float, people: Sequence[int]) -> Act:
    """One person walks behind a pillar, and another one comes out."""

    def goes(t: float) -> Pose:
        return Pose(x=-_OFF + (640 + _OFF) * min(t * 1.1, 1), y=330, scale=1.0, yaw=14 * _wave(t, 2), look=t)

    def comes(t: float) -> Pose:
        return Pose(x=640 + (640 + _OFF) * max(t * 1.1 - 0.1, 0), y=325, scale=1.0, yaw=14 * _wave(t, 2), look=t)

    visits = (
        Visit(person=people[0], begin=begin, seconds=4.0, pose=goes),
        Visit(person=people[1], begin=begin + 4.1, seconds=4.0, pose=comes),
    )
    return Act(name="hide", visits=visits, seconds=8.6, pillar=True)


def group(begin: float, people: Sequence[int]) -> Act:
    """Four people stand, and one after the other turns the head."""

    def stands(place: int) -> Callable[[float], Pose]:
        def pose(t: float) -> Pose:
            looks_away = 55 * max(_wave(t - place / 5, 1), 0) ** 3
            return Pose(
                x=220 + 280 * place + 12 * _wave(t, place + 1),
                y=300 + 30 * (place % 2) + 5 * _wave(t, 2),
                scale=0.85 + 0.1 * place,
                yaw=looks_away * (1 if place % 2 else -1),
                roll=3 * _wave(t, 2),
                look=2 * t,
            )

        return pose

    return _act("group", begin, 10.0, [(people[place], stands(place), float(place)) for place in range(4)])


ACTS = ((walk, 1), (approach, 1), (cross, 2), (blur, 1), (turn, 1), (hide, 2), (group, 4))
"""Scenes of one round, with the number of people in each."""


def round_size() -> int:
    """Return the number of people in one round of all scenes."""
    return sum(count for _, count in ACTS)


def play(cast: Sequence[int]) -> list[Act]:
    """Return rounds of all scenes for a cast.

    Args:
        cast: numbers of people, :func:`round_size` for each round.
    """
    acts: list[Act] = []
    begin, people = 0.0, list(cast)
    while len(people) >= round_size():
        for make, count in ACTS:
            acts.append(make(begin, people[:count]))
            del people[:count]
            begin += acts[-1].seconds
    return acts


def _act(name: str, begin: float, seconds: float, parts: Sequence[tuple[int, Callable[[float], Pose], float]]) -> Act:
    visits = tuple(
        Visit(person=person, begin=begin, seconds=seconds, pose=pose, near=near) for person, pose, near in parts
    )
    return Act(name=name, visits=visits, seconds=seconds + 1.0)


def _walking(t: float, *, y: float, scale: float) -> Pose:
    return Pose(
        x=-_OFF + (WIDTH + 2 * _OFF) * t,
        y=y + 6 * _wave(t, 9),
        scale=scale,
        yaw=16 * _wave(t, 2),
        roll=3 * _wave(t, 9),
        blur=0.6,
        look=2 * t,
    )


def _wave(t: float, times: float) -> float:
    return float(np.sin(2 * np.pi * times * t))
