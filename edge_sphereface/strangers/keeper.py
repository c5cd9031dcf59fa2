"""Keeps strangers beside streams, in a thread of its own: a stream hands over a track and goes on."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.errors import (
    EdgeSphereFaceError,
    EmbeddingError,
    OutputError,
    StrangerError,
    StrangerFormatError,
)
from edge_sphereface.retention.moment import read_moment
from edge_sphereface.strangers.store import MOST_SIGHTINGS, StrangerStore, delete_damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.retention.moment import Moment
    from edge_sphereface.strangers.known import KnownStrangers
    from edge_sphereface.strangers.records import Sighting, Stranger
    from edge_sphereface.types import Float32Array

_MOST_WAITING = 200
"""Sightings that wait while the disk is full or slow; beyond, the oldest are lost and counted."""
_PART_OF_LIMIT = 200
_LEAST_WAIT_S, _LONGEST_WAIT_S = 0.2, 300.0
"""Bounds of the time between two looks for what is old."""
_EARLY_PART = 50
"""Part of the limit by which sightings go early, so that the file is overwritten that often and not for each."""
_RETRY_S = 5.0
_REST = 9.0
"""Rest after a turn, as a multiple of the time that it took: a tenth of a processor is enough for strangers."""
_LONGEST_REST_S = 60.0
_PROBES = 64
"""Embeddings that are searched in the gallery at once: streams wait for it meanwhile."""
_LAST_TURN_S = 2.0


class _Waiting(NamedTuple):
    """A sighting that is not written yet, and since when it waits, in seconds of the machine's running time."""

    sighting: Sighting
    since_s: float


class StrangerKeeper:
    """Adds sightings to a store, groups them, and removes what is too old or has a name by now.

    Every failure is told in :attr:`problem`, and tried again; none reaches the stream. A store that is damaged is
    deleted and begun anew, because nothing could be removed from it when its time is over.

    Args:
        path: file of the store, which is made if it is missing.
        gallery: the known identities; its fingerprint is that of the embeddings.
        key: 32 bytes that encrypt the store.
        keep_s: how long a sighting is kept, in seconds; none stays longer.
        threshold: least average similarity of the sightings of one person, and of a sighting of somebody enrolled; None
            for the gallery's threshold.
        most: number of sightings that are kept.
        audit: gets a line when sightings were removed because of their age.
        by: who removes, in the audit.
        moment: gives the present moment.
    """

    def __init__(  # noqa: PLR0913 -- what is kept, by name
        self,
        path: Path,
        *,
        gallery: Gallery,
        key: bytes | None = None,
        keep_s: float,
        threshold: float | None = None,
        most: int = MOST_SIGHTINGS,
        audit: AuditLog | None = None,
        by: str = "strangers",
        moment: Callable[[], Moment] = read_moment,
    ) -> None:
        self.problem = ""
        self._path, self._gallery, self._key, self._keep_s = path, gallery, key, keep_s
        self._threshold, self._most = threshold, most
        self._audit, self._by, self._moment = audit, by, moment
        self._wait_s = min(max(keep_s / _PART_OF_LIMIT, _LEAST_WAIT_S), _LONGEST_WAIT_S)
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._lost = self._evicted = 0
        self._begun_anew = False
        self._known: KnownStrangers | None = None
        self._is_changed = True
        """Whether the groups may have changed since they were made."""
        self._store: StrangerStore | None = None
        self._wakened = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="strangers", daemon=True)

    def __enter__(self) -> Self:
        """Open the store, so that a wrong one is refused at the start; then start the thread.

        Raises:
            EdgeSphereFaceError: it belongs to something else, has another key, or holds embeddings of another kind.
        """
        try:
            with self._beginning_anew():
                self._opened()
        except OutputError as error:  # the disk may be full for a moment
            self.problem = f"strangers: {error}"
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._wakened.set()
        self._thread.join(_LAST_TURN_S)

    # ---- for streams ------------------------------------------------------------------------------------------

    def take(self, sighting: Sighting) -> None:
        """Keep a sighting; it is written in the keeper's thread. May be called from any thread."""
        waiting = _Waiting(sighting, self._moment().uptime_s)
        with self._lock:
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(waiting)
        self._wakened.set()

    def recognize(self, embedding: Float32Array) -> Stranger | None:
        """The stranger whom an embedding (D,) of length one shows, as known so far. May be called from any thread."""
        known = self._known
        return None if known is None else known.nearest(embedding)

    def open_store(self) -> StrangerStore:
        """Open the store for another thread, which closes it; what it changes is grouped after :meth:`reconsider`.

        Raises:
            StrangerError: it cannot be opened.
        """
        return StrangerStore(
            self._path, fingerprint=self._gallery.fingerprint, key=self._key, most=self._most, moment=self._moment
        )

    def reconsider(self) -> None:
        """Look again for strangers who have a name by now, after a change of the gallery."""
        self._is_changed = True
        self._wakened.set()

    # ---- the thread -------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Write what waits, remove what is too old or has a name, and group again if something changed.

        Raises:
            EdgeSphereFaceError: something of it failed; a later turn tries again.
        """
        with self._beginning_anew():
            store = self._opened()
            try:
                self._write(store)
            finally:  # whatever cannot be written, nothing stays longer
                self._expire(store)
            threshold = self._threshold_now()
            if threshold is not None and self._is_changed:
                self._is_changed = False
                try:
                    store.forget_known(partial(self._is_known, threshold=threshold))
                    self._known = store.group(threshold)
                except EdgeSphereFaceError:
                    self._is_changed = True
                    raise

    def close(self) -> None:
        """Let go of the file. A later turn opens it again; the thread closes it at its end."""
        if self._store is not None:
            self._store.close()
            self._store = None

    @contextmanager
    def _beginning_anew(self) -> Iterator[None]:
        """Close the store after a failure, and delete it if it is damaged."""
        try:
            yield
        except StrangerFormatError:
            self.close()
            if not delete_damaged(self._path):
                raise
            self._begun_anew = self._is_changed = True
            self._known = None
        except EdgeSphereFaceError:
            self.close()
            raise

    def _opened(self) -> StrangerStore:
        if self._store is None:
            self._store = StrangerStore(
                self._path,
                fingerprint=self._gallery.fingerprint,
                create=True,
                key=self._key,
                most=self._most,
                moment=self._moment,
            )
        return self._store

    def _write(self, store: StrangerStore) -> None:
        now_s = self._moment().uptime_s
        with self._lock:
            while self._waiting and now_s - self._waiting[0].since_s > self._keep_s - 2 * self._wait_s:
                self._waiting.popleft()
                self._lost += 1
            waiting = tuple(self._waiting)
        if waiting:
            good = [one for one in waiting if _can_be_kept(store, one.sighting)]
            ages_s = [max(now_s - one.since_s, 0.0) for one in good]
            self._evicted += store.add([one.sighting for one in good], ages_s=ages_s)
            with self._lock:
                self._waiting = deque(one for one in self._waiting if one not in waiting)
                self._lost += len(waiting) - len(good)
            self._is_changed = True

    def _expire(self, store: StrangerStore) -> None:
        """Remove what would be too old at the turn after the next one."""
        slack_s = 2 * self._wait_s
        if store.oldest_s() > self._keep_s - slack_s:
            gone = store.expire(self._keep_s - max(self._keep_s / _EARLY_PART, slack_s))
            self._is_changed = True
            if gone and self._audit is not None:
                self._audit.record("expire", subject="", by=self._by, detail={"strangers": gone})
        else:
            store.erase()

    def _threshold_now(self) -> float | None:
        if self._threshold is not None:
            return self._threshold
        own = self._gallery.threshold
        return None if own is None else own.value

    def _is_known(self, embeddings: Float32Array, threshold: float) -> Sequence[bool]:
        known: list[bool] = []
        for begin in range(0, len(embeddings), _PROBES):
            found = self._gallery.search(embeddings[begin : begin + _PROBES], top=1)
            known += [bool(candidates) and candidates[0].similarity >= threshold for candidates in found]
        return known

    def _run(self) -> None:
        while True:
            is_last, began, wait_s = self._stopping.is_set(), time.monotonic(), self._wait_s
            try:
                self.turn()
                self.problem = self._losses()
            except EdgeSphereFaceError as error:
                self.problem, wait_s = f"strangers: {error}", min(_RETRY_S, self._wait_s)
            except Exception as error:  # noqa: BLE001 -- a thread that ends would say nothing
                self.problem, wait_s = f"strangers: {type(error).__name__}: {error}", min(_RETRY_S, self._wait_s)
            if is_last:
                self.close()
                return
            self._stopping.wait(min(_REST * (time.monotonic() - began), _LONGEST_REST_S, self._wait_s))
            if not self._wakened.wait(wait_s):
                self._is_changed = True  # other programs may have changed the store or the gallery
            self._wakened.clear()

    def _losses(self) -> str:
        """What was lost so far, as a sentence; empty if nothing was."""
        parts = [
            f"{self._path.name} was damaged and was begun anew" if self._begun_anew else "",
            f"the file is full: {self._evicted} oldest sightings went before their time" if self._evicted else "",
            f"{self._lost} sightings were lost" if self._lost else "",
        ]
        found = "; ".join(filter(None, parts))
        return found and f"strangers: {found}"


def _can_be_kept(store: StrangerStore, sighting: Sighting) -> bool:
    """Whether a sighting can be written; one that never can must not hold up the others."""
    try:
        store.require_storable(sighting)
    except (EmbeddingError, StrangerError):
        return False
    return True
