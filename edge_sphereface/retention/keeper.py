"""Deletes what is older than its limit while a stream runs, in a thread of its own."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.retention.expiry import Expired, event_is_old, expire_event_file, expire_files
from edge_sphereface.retention.folder_index import FolderIndex
from edge_sphereface.retention.moment import read_moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.retention.limits import RetentionLimits
    from edge_sphereface.retention.moment import Moment

_MOST_FILES = 200
"""Files that one turn deletes in a folder."""
_PART_OF_LIMIT = 50
_LEAST_WAIT_S, _LONGEST_WAIT_S = 10.0, 600.0
_JUMP_S = 30.0
"""Difference of the two clocks that is written down."""
_MOST_RUNS = 1000


@runtime_checkable
class ExpiringQueue(Protocol):
    """A queue of events on the disk."""

    def expire(self, is_old: Callable[[str], bool]) -> int:
        """Delete the oldest events that are too old; returns their number."""
        ...


class TimedEvent(Protocol):
    """As much of an event as its age needs."""

    @property
    def run(self) -> str:
        """Run of its stream."""
        ...

    @property
    def sequence(self) -> int:
        """Its number in the run."""
        ...

    @property
    def unix_time(self) -> float:
        """When it happened, by the calendar clock."""
        ...


class EventTimes:
    """A sink that writes down how far the calendar clock is off while events are written.

    Args:
        folder: of the index.
        moment: gives the present moment.
    """

    name = "times of events"
    problem = ""
    dropped = 0

    def __init__(self, folder: Path, *, moment: Callable[[], Moment] = read_moment) -> None:
        self._folder, self._moment = folder, moment
        self._index: FolderIndex | None = None
        self._ahead_s: dict[str, float] = {}

    def open(self) -> None:
        """Open the index.

        Raises:
            RetentionError: it cannot be opened.
        """
        self._index = FolderIndex(self._folder, moment=self._moment)

    def write(self, event: TimedEvent) -> None:
        """Write down the difference of the clocks where it is new or has changed.

        Raises:
            RetentionError: the index cannot be written.
        """
        ahead_s = event.unix_time - self._moment().uptime_s
        if self._index is not None and abs(self._ahead_s.get(event.run, float("inf")) - ahead_s) > _JUMP_S:
            self._index.add_run(event.run, event.sequence, event.unix_time)
            self._ahead_s[event.run] = ahead_s
            while len(self._ahead_s) > _MOST_RUNS:
                del self._ahead_s[next(iter(self._ahead_s))]

    def pending(self) -> int:
        """No event waits here."""
        return 0

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None


class RetentionKeeper:
    """Deletes old pictures, recordings and events at intervals. A turn deletes a bounded number of files.

    Args:
        limits: how long they are kept.
        folders: of pictures and recordings.
        events: the event file; None for none.
        queues: queues of events for brokers.
        times: folder of the index of :class:`EventTimes`; None without limits for events.
        audit: gets a line for each turn that deleted something.
        by: who deletes, in the audit.
        moment: gives the present moment.
    """

    def __init__(  # noqa: PLR0913 -- what is kept, by name
        self,
        limits: RetentionLimits,
        *,
        folders: Sequence[Path] = (),
        events: Path | None = None,
        queues: Sequence[ExpiringQueue] = (),
        times: Path | None = None,
        audit: AuditLog | None = None,
        by: str = "retention",
        moment: Callable[[], Moment] = read_moment,
    ) -> None:
        self.problem = ""
        self._limits, self._folders, self._events, self._queues = limits, folders, events, queues
        self._times, self._audit, self._by, self._moment = times, audit, by, moment
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        shortest_s = limits.shortest_s or _LONGEST_WAIT_S
        self._wait_s = min(max(shortest_s / _PART_OF_LIMIT, _LEAST_WAIT_S), _LONGEST_WAIT_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(1.0)

    def turn(self) -> Expired:
        """Delete what is too old now, as far as the bound of a turn permits.

        Raises:
            EdgeSphereFaceError: something could not be deleted, after the rest was.
        """
        problems: list[EdgeSphereFaceError] = []
        done = Expired()
        for work in self._work():
            try:
                found = work()
            except EdgeSphereFaceError as error:
                problems.append(error)
                continue
            done = Expired(
                files=done.files + found.files, events=done.events + found.events, more=done.more or found.more
            )
        if self._audit is not None and (done.files or done.events):
            detail = {"files": len(done.files), "events": done.events}
            self._audit.record("expire", subject="", by=self._by, detail=detail)
        if problems:
            raise problems[0]
        return done

    def _work(self) -> Iterator[Callable[[], Expired]]:
        for folder in self._folders:
            yield partial(self._expire_folder, folder)
        if self._limits.keep_events is not None and self._times is not None:
            yield partial(self._expire_events, self._limits.keep_events, self._times)

    def _expire_folder(self, folder: Path) -> Expired:
        if not folder.is_dir():
            return Expired()
        with FolderIndex(folder, moment=self._moment) as index:
            return expire_files(index, self._limits, most=_MOST_FILES)

    def _expire_events(self, keep_s: float, times: Path) -> Expired:
        with FolderIndex(times, moment=self._moment) as index:
            is_old = event_is_old(index.event_ages(), keep_s)
            sent = sum(queue.expire(is_old) for queue in self._queues)
            done = Expired() if self._events is None else expire_event_file(index, self._events, keep_s)
            return Expired(events=done.events + sent)

    def _run(self) -> None:
        while True:
            more = False
            try:
                more = self.turn().more
                self.problem = ""
            except EdgeSphereFaceError as error:
                self.problem = f"retention: {error}"
            except Exception as error:  # noqa: BLE001 -- a thread that ends would say nothing
                self.problem = f"retention: {type(error).__name__}: {error}"
            if self._stopping.wait(1.0 if more else self._wait_s):
                return
