"""Saves an image of each identified or unknown face."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.retention.folder_index import UNKNOWN
from edge_sphereface.retention.moment import read_moment
from edge_sphereface.storage.files import PRIVATE, atomic_write
from edge_sphereface.stream.outputs.frames.kept_files import KeptFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.retention.moment import Moment
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import DecisionEvent
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.tracking.track import Track
    from edge_sphereface.types import UInt8Array

_AROUND = 0.5
"""Margin around a face's box on each side, as a share of its width and height."""
_WAITING = 32
_QUALITY = 90


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    with atomic_write(path, mode=PRIVATE) as stream:
        stream.write(data)


class _Waiting(NamedTuple):
    name: str
    image: UInt8Array
    sightings: dict[str, str]


class _Known(NamedTuple):
    """Somebody in a written image who was not known then, and of whom no event will tell."""

    track: str
    name: str


class Snapshots:
    """Writes JPEG files in a thread of its own. The field ``snapshot`` of the event names the file.

    Args:
        folder: is created with mode 0700 if it does not exist.
        keep: number of the newest files of this stream to keep.
        write: writes the bytes of a file to its path; called in the thread. By default it creates a file of mode 0600.
        moment: gives the present moment.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep: int = 1000,
        write: Callable[[Path, bytes], object] = write_private,
        moment: Callable[[], Moment] = read_moment,
    ) -> None:
        if keep < 1:
            raise ValueError(f"Expected to keep at least 1 snapshot, got {keep}.")
        self.problem = ""
        self._folder, self._keep, self._write, self._moment = folder, keep, write, moment
        self._names: deque[str] = deque()
        self._queue: queue.Queue[_Waiting | _Known | None] = queue.Queue(maxsize=_WAITING)
        self._in_sight: tuple[Track, ...] = ()
        self._stream_run = ""
        self._unknown: set[str] = set()
        self._files: KeptFiles | None = None
        self._thread: threading.Thread | None = None

    def open(self, stream: FaceStream) -> None:
        """Create the folder; see :meth:`FrameSink.open`."""
        self._files = KeptFiles(self._folder, stream.settings.file_name, (".jpg",), moment=self._moment)
        self._names = deque(self._files.names())
        self._thread = threading.Thread(target=self._run, args=(self._files,), name="snapshots", daemon=True)
        self._thread.start()

    def take(self, result: FrameResult) -> None:
        """Take note of the faces in sight, which the next image may show as well; see :meth:`snapshot`."""
        self._in_sight = result.in_sight
        if self._unknown:
            tracks = {f"{self._stream_run}-{track.number}": track for track in result.tracks}
            self._unknown &= tracks.keys()
            for key in [key for key in self._unknown if tracks[key].standing == "ignored"]:
                with suppress(queue.Full):
                    self._queue.put_nowait(_Known(key, tracks[key].person or UNKNOWN))
                    self._unknown.discard(key)

    def snapshot(self, event: DecisionEvent, frame: Frame) -> str | None:
        """See :meth:`SnapshotSink.snapshot`."""
        if self._files is None:
            return None
        name = f"{self._files.name(event.unix_time)}-{event.run}-{event.sequence}.jpg"
        sightings = self._sightings(event)
        self._stream_run = event.run
        self._unknown.update(track for track, who in sightings.items() if who == UNKNOWN)
        try:
            self._queue.put_nowait(_Waiting(name, surroundings(frame.image, event.box), sightings))
        except queue.Full:
            self.problem = "snapshots: the disk is too slow, some were left out"
            return None
        return name

    def _sightings(self, event: DecisionEvent) -> dict[str, str]:
        """Who is in the image of a face: that person, and whoever was in that place in the frame before."""
        rows, columns = _part_around(event.box)
        shown = {}
        for track in self._in_sight:
            left, top, right, bottom = track.face.box
            if left < columns.stop and right > columns.start and top < rows.stop and bottom > rows.start:
                shown[f"{event.run}-{track.number}"] = track.person or UNKNOWN
        return {**shown, f"{event.run}-{event.track}": event.name or UNKNOWN}

    def close(self, timeout_s: float) -> None:
        """See :meth:`FrameSink.close`."""
        if self._thread is not None:
            with suppress(queue.Full):  # a disk that hangs must not delay the end
                self._queue.put(None, timeout=timeout_s)
                self._thread.join(timeout_s)

    def _run(self, files: KeptFiles) -> None:
        while (item := self._queue.get()) is not None:
            try:
                if isinstance(item, _Known):
                    files.index.name_track(item.track, item.name)
                    continue
                data = encode_jpeg(item.image)
                files.index.add(item.name, item.sightings)  # first: no picture without a record survives a crash
                self._write(files.folder / item.name, data)
                self._names.append(item.name)
                old = [self._names.popleft() for _ in range(len(self._names) - self._keep)]
                files.delete(old)
                self.problem = ""
            except Exception as error:  # noqa: BLE001 -- the thread must go on, and report it
                self.problem = f"snapshots: {error}"
        files.index.close()


def surroundings(image: UInt8Array, box: tuple[float, float, float, float]) -> UInt8Array:
    """A copy of a face and its surroundings; the box may reach over the border."""
    return image[_part_around(box)].copy()


def _part_around(box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of a face and its surroundings."""
    left, top, right, bottom = box
    across, down = (right - left) * _AROUND, (bottom - top) * _AROUND
    rows = slice(max(round(top - down), 0), max(round(bottom + down), 1))
    return rows, slice(max(round(left - across), 0), max(round(right + across), 1))


def encode_jpeg(image: UInt8Array) -> bytes:
    """The JPEG file of an image (H, W, 3) uint8 BGR."""
    import cv2

    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
