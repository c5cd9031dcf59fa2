"""Compares what a house reported with who was there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.json_output import rounded
from edge_sphereface.stream.events import FaceEvent, FaceIdentified, FaceUnknown, IdentityEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.day.cast import Role
    from benchmarks.day.house import Kept
    from benchmarks.day.schedule import Visit
    from benchmarks.day.traces import TraceFigures
    from edge_sphereface.stream.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class NameFigures:
    """Whether the right people were named.

    Attributes:
        visits: number of visits of enrolled people.
        named: number of these visits in which the right name was reported.
        reports: number of reported pairs of a visit, of anybody, and a name.
        right: number of reports with the right name.
        recall: share of the visits of enrolled people that were named.
        precision: share of the reports that were right; None without any.
        refused: number of visits of enrolled people in which the made liveness model took the face for a print.
    """

    visits: int
    named: int
    reports: int
    right: int
    recall: float = field(metadata=rounded(4))
    precision: float | None = field(metadata=rounded(4))
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoredFigures:
    """Whether ignored people left no trace.

    Attributes:
        visits: number of their visits.
        silent: number of visits without an event, a snapshot and a sighting.
        events: number of events of a face in their visits.
        named: number of visits in which anybody's name was reported.
    """

    visits: int
    silent: int
    events: int
    named: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerFigures:
    """How strangers were reported and grouped.

    Attributes:
        visits: number of visits of strangers.
        unknown: number of these visits that were reported as of somebody unknown.
        sightings: number of sightings in the store at the end of the day, of strangers and of others.
        of_others: number of them that are of no stranger.
        people: number of strangers with a sighting.
        groups: number of groups that the sightings of strangers are in.
        precision: share of the pairs of sightings in one group that are of one person; None without a pair.
        recall: share of the pairs of sightings of one person that are in one group; None without a pair.
        f1: harmonic mean of both; None where one is missing.
        recurring: number of strangers who came several times.
        recognized: number of those whose sightings are at least two, in one group, with nobody else in it.
    """

    visits: int
    unknown: int
    sightings: int
    of_others: int
    people: int
    groups: int
    precision: float | None = field(metadata=rounded(4))
    recall: float | None = field(metadata=rounded(4))
    f1: float | None = field(metadata=rounded(4))
    recurring: int
    recognized: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintFigures:
    """What became of the printed photograph.

    Attributes:
        named_without_check: whether the name was reported in a run without a liveness model.
        named: whether the name was reported in the house.
        states: how often events called the face ``live``, ``spoof`` or ``not_checked``.
        sightings: number of sightings in the store of strangers.
    """

    named_without_check: bool
    named: bool
    states: dict[str, int]
    sightings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeLiveness:
    """The liveness model, which was trained for this day on rendered faces and prints of people who do not come.

    Attributes:
        architecture: what it computes.
        faces: number of crops of rendered faces in the training.
        prints: number of crops of rendered prints in the training.
        tested: number of crops of further people.
        wrong: number of those that it decides wrongly.
    """

    architecture: str
    faces: int
    prints: int
    tested: int
    wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """What was reported on a simulated day, what of it was right, and what was left.

    Attributes:
        visits: number of visits.
        frames: number of frames.
        events: number of events.
        threshold: of the gallery, a cosine similarity.
        names: enrolled people.
        ignored: ignored people.
        strangers: strangers.
        print: the printed photograph.
        liveness: the made model.
        traces: bytes on the disk.
    """

    visits: int
    frames: int
    events: int
    threshold: float = field(metadata=rounded(4))
    names: NameFigures
    ignored: IgnoredFigures
    strangers: StrangerFigures
    print: PrintFigures
    liveness: MadeLiveness
    traces: tuple[TraceFigures, ...]


class Seen:
    """A visit with what was reported of it.

    Args:
        visit: who came.
        events: what was reported.
        sightings: what the store of strangers keeps of it at the end of the day.
        snapshots: number of pictures that were saved.
    """

    def __init__(self, visit: Visit, events: Sequence[Event], sightings: Sequence[Kept], snapshots: int) -> None:
        self.visit, self.sightings, self.snapshots = visit, sightings, snapshots
        self.faces = [event for event in events if isinstance(event, FaceEvent)]
        self.names = {event.name for event in events if isinstance(event, FaceIdentified)}
        self.is_unknown = any(isinstance(event, FaceUnknown) for event in events)
        states = [event.liveness for event in events if isinstance(event, IdentityEvent) and event.liveness]
        self.states = dict(Counter(map(str, states)))


def names(seen: Sequence[Seen]) -> NameFigures:
    """Judge names."""
    enrolled = _of(seen, "enrolled")
    named = sum(one.visit.person in one.names for one in enrolled)
    reports = sum(len(one.names) for one in seen)
    return NameFigures(
        visits=len(enrolled),
        named=named,
        reports=reports,
        right=named,
        recall=named / len(enrolled),
        precision=named / reports if reports else None,
        refused=sum("spoof" in one.states for one in enrolled),
    )


def ignored(seen: Sequence[Seen]) -> IgnoredFigures:
    """Judge silence."""
    own = _of(seen, "ignored")
    return IgnoredFigures(
        visits=len(own),
        silent=sum(not one.faces and not one.snapshots and not one.sightings for one in own),
        events=sum(len(one.faces) for one in own),
        named=sum(bool(one.names) for one in own),
    )


def strangers(seen: Sequence[Seen]) -> StrangerFigures:
    """Judge groups, by pairs of sightings."""
    recurring, own = _of(seen, "recurring"), [*_of(seen, "recurring"), *_of(seen, "passing")]
    pairs = [(one.visit.person, kept.stranger) for one in own for kept in one.sightings]
    total = sum(len(one.sightings) for one in seen)
    people, groups = (np.array(column) for column in zip(*pairs, strict=True)) if pairs else (np.empty(0),) * 2
    upper = np.triu_indices(len(pairs), k=1)
    same, together = ((column[:, None] == column[None])[upper] for column in (people, groups))
    both = int((same & together).sum())
    precision = both / int(together.sum()) if together.any() else None
    recall = both / int(same.sum()) if same.any() else None
    f1 = None
    if precision is not None and recall is not None:
        f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return StrangerFigures(
        visits=len(own),
        unknown=sum(one.is_unknown for one in own),
        sightings=total,
        of_others=total - len(pairs),
        people=len(set(people.tolist())),
        groups=len(set(groups.tolist())),
        precision=precision,
        recall=recall,
        f1=f1,
        recurring=len({one.visit.person for one in recurring}),
        recognized=sum(_is_recognized(person, seen) for person in {one.visit.person for one in recurring}),
    )


def _of(seen: Sequence[Seen], role: Role) -> list[Seen]:
    return [one for one in seen if one.visit.role == role]


def _is_recognized(person: str, seen: Sequence[Seen]) -> bool:
    """Whether somebody's sightings are several, in one group, with nobody else in it."""
    own = [kept.stranger for one in seen if one.visit.person == person for kept in one.sightings]
    others = {kept.stranger for one in seen if one.visit.person != person for kept in one.sightings}
    return len(own) > 1 and len(set(own)) == 1 and own[0] not in others


def text(figures: DayFigures) -> str:
    """Format the figures as text."""
    name, silent, group, held = figures.names, figures.ignored, figures.strangers, figures.print
    made = figures.liveness
    precision = "none" if name.precision is None else f"{100 * name.precision:.1f} %"
    f1 = "none" if group.f1 is None else f"{group.f1:.3f}"
    lines = [f"{figures.visits} visits, {figures.frames} frames, {figures.events} events"]
    lines.append(
        f"names      {name.named} of {name.visits} visits of enrolled people named ({100 * name.recall:.1f} %); "
        f"{name.right} of {name.reports} reported names right ({precision})"
    )
    lines.append(f"ignored    {silent.silent} of {silent.visits} visits without any trace, {silent.events} events")
    lines.append(
        f"strangers  {group.unknown} of {group.visits} visits reported as unknown; {group.sightings} sightings, "
        f"{group.of_others} of others; {group.people} people in {group.groups} groups, pairwise F1 {f1}; "
        f"{group.recognized} of {group.recurring} recurring ones recognized"
    )
    lines.append(
        f"print      {'named' if held.named else 'not named'}, and {'' if held.named_without_check else 'not '}"
        f"named without a liveness model; events: {held.states}"
    )
    lines.append(
        f"liveness   made model ({made.architecture}), {made.wrong} of {made.tested} test crops wrong; it knows "
        "rendered faces only"
    )
    lines += [
        f"{trace.kind:<10} {trace.traces} traces, {trace.found_in_time} found while they may stay, "
        f"{trace.found_later} after {trace.keep_hours:g} hours"
        for trace in figures.traces
    ]
    return "\n".join(lines)
