"""A clock that ages what a database holds, kept in tables of that database: the calendar clock may jump."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.retention.moment import Moment
    from edge_sphereface.storage.private_database import Run

_JUMP_S = 600.0
"""Steps of the calendar clock that count as jumps; smaller ones are corrections."""
_LASTING_S = 3600.0
"""Running time after which a jump forward is believed."""
_MOST_STARTS = 1_000_000
_LARGEST_START = 1 << 39
"""Number of a start that a file never reaches; a larger one is damage."""
_FIRST_STARTS = 1 << 32
_LONGEST_S = 1e12
"""Time beyond which a value is damage; of one that is much larger, a second would be lost in rounding."""
_ROUNDING_S = 1.0

START_TABLE = (
    "CREATE TABLE start (number INTEGER PRIMARY KEY, identity TEXT, uptime_s REAL, served_s REAL, ahead_s REAL)"
)
CALENDAR_TABLE = (
    "CREATE TABLE calendar (id INTEGER PRIMARY KEY, start INTEGER, ahead_s REAL, shown_ahead_s REAL, since_s REAL)"
)


@dataclass(frozen=True, slots=True)
class Service:
    """A moment on the clock of service.

    Attributes:
        start: number of the start of the machine.
        served_s: running time of all starts until now, as far as it was observed.
        ahead_s: what the calendar clock showed beyond ``served_s``, at most.
        calendar_s: the calendar clock, without a jump forward that may be an error.
    """

    start: int
    served_s: float
    ahead_s: float
    calendar_s: float

    @property
    def now_s(self) -> float:
        """The moment in seconds; it never runs back."""
        return self.served_s + self.ahead_s


def observe(run: Run, moment: Moment) -> Service:
    """A moment on the clock of service, which is written down.

    Within one start of the machine the clock follows its running time. Between two starts, the calendar clock says how
    long the machine was off, and a high-water mark keeps it from running back. A calendar clock that jumps forward
    while the machine runs is believed once it has stayed there for an hour.

    Args:
        run: of a database that holds both tables.
        moment: the present one.
    """
    last = _last_start(run, moment)
    if last is None:
        number = 1 + secrets.randbelow(_FIRST_STARTS)  # damaged records may have got the small ones
        uptime_s, served_s, ahead_s = moment.uptime_s, 0.0, moment.unix_s
    elif last[1] == moment.start:
        number, uptime_s = last[0], max(moment.uptime_s, last[2])
        served_s, ahead_s = last[3] + uptime_s - last[2], last[4]
    else:
        number, uptime_s = last[0] + 1, moment.uptime_s
        served_s, ahead_s = last[3] + uptime_s, last[4]  # all was before this start
    ahead_s = max(ahead_s, moment.unix_s - served_s)
    run("INSERT OR REPLACE INTO start VALUES (?, ?, ?, ?, ?)", (number, moment.start, uptime_s, served_s, ahead_s))
    return Service(number, served_s, ahead_s, _calendar_s(run, number, served_s, moment.unix_s))


def _last_start(run: Run, moment: Moment) -> tuple[Any, ...] | None:
    """Number, identity, uptime_s, served_s and ahead_s of the last start; damaged ones after it are removed."""
    run("DELETE FROM start WHERE number NOT BETWEEN 1 AND ?", (_LARGEST_START,))
    query = "SELECT number, identity, uptime_s, served_s, ahead_s FROM start ORDER BY number DESC"
    while (last := run(query).fetchone()) is not None:
        is_ahead = last[1] == moment.start and is_time(last[2]) and last[2] > moment.uptime_s + _ROUNDING_S
        if all(map(is_time, last[2:])) and not is_ahead:
            break
        run("DELETE FROM start WHERE number = ?", (last[0],))
    found: tuple[Any, ...] | None = last
    return found


def ahead_of_starts(run: Run) -> dict[int, float]:
    """What the calendar clock showed beyond the time of service, at most, in each start of the machine."""
    rows = run("SELECT number, ahead_s FROM start LIMIT ?", (_MOST_STARTS,))
    return {number: ahead_s for number, ahead_s in rows if is_time(ahead_s)}


def age_s(now_s: float, served_s: object, ahead_s: float | None) -> float | None:
    """Age in seconds of what was recorded at a moment of service; None if the record of that moment is damaged.

    Args:
        now_s: the present moment on the clock of service.
        served_s: time of service at the moment.
        ahead_s: of the start of the machine at the moment, from :func:`ahead_of_starts`; None if it is not known.
    """
    if ahead_s is None or not isinstance(served_s, int | float) or not is_time(served_s):
        return None
    age = now_s - served_s - ahead_s
    return max(age, 0.0) if age > -_ROUNDING_S else None  # the clock never runs back


def is_time(value: object) -> bool:
    """Whether a value of the database can be a time in seconds."""
    return isinstance(value, int | float) and abs(value) <= _LONGEST_S  # also refuses NaN


def _calendar_s(run: Run, start: int, served_s: float, unix_s: float) -> float:
    """The calendar clock, without a jump forward that has not lasted yet."""
    shown_s = unix_s - served_s
    row = run("SELECT start, ahead_s, shown_ahead_s, since_s FROM calendar").fetchone()
    if row is None or not all(map(is_time, row)) or row[3] > served_s:
        ahead_s, first_shown_s, since_s = shown_s, shown_s, served_s
    else:
        last_start, ahead_s, first_shown_s, since_s = row
        if start != last_start:  # the machine was off, nobody knows how long
            ahead_s = max(ahead_s, shown_s)
        if start != last_start or abs(shown_s - first_shown_s) > _JUMP_S:
            first_shown_s, since_s = shown_s, served_s
        elif served_s - since_s >= _LASTING_S:
            ahead_s = shown_s
    run("INSERT OR REPLACE INTO calendar VALUES (1, ?, ?, ?, ?)", (start, ahead_s, first_shown_s, since_s))
    return served_s + min(ahead_s, shown_s)
