"""A picture of every face that was identified, or found unknown."""

from __future__ import annotations

import queue
import threading
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import SinkError
from edge_sphereface.files import PRIVATE, atomic_write, ensure_folder, may_write

if TYPE_CHECKING:
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.scene import FrameResult
    from edge_sphereface.types import UInt8Array

_KINDS = ("identified", "unknown")
_AROUND = 0.5
"""Of the face's box, on each side: a face alone tells a person little."""
_MOMENT = "????????T??????Z"
"""In names; without it, files of a stream whose name begins alike would be found too."""
_WAITING = 32
_QUALITY = 90


class Snapshots:
    """Writes JPEG files in a thread of its own; the event says which in its field ``snapshot``.

    Args:
        folder: is made, mode 0700; the files get mode 0600.
        keep: files of this stream that are kept, the newest.
    """

    def __init__(self, folder: str | Path, *, keep: int = 1000) -> None:
        if keep < 1:
            raise ValueError(f"Expected to keep at least 1 snapshot, got {keep}.")
        self.problem = ""
        self._folder, self._keep = Path(folder), keep
        self._names: deque[str] = deque()
        self._queue: queue.Queue[tuple[str, UInt8Array] | None] = queue.Queue(maxsize=_WAITING)
        self._prefix = ""
        self._thread: threading.Thread | None = None

    def open(self, stream: FaceStream) -> None:
        """Make the folder; see :meth:`FrameSink.open`."""
        self._prefix = f"{stream.settings.file_name}-"
        if not may_write(ensure_folder(self._folder, mode=0o700)):
            raise SinkError(
                f"Cannot keep snapshots in {self._folder}: permission denied.",
                hint="the folder must be writable for this user",
            )
        self._names = deque(sorted(path.name for path in self._folder.glob(f"{self._prefix}{_MOMENT}-*.jpg")))
        self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
        self._thread.start()

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        for event in result.events:
            if event.kind not in _KINDS:
                continue
            moment = datetime.fromtimestamp(event.unix_time, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
            name = f"{self._prefix}{moment}-{event.run}-{event.sequence}.jpg"
            try:
                self._queue.put_nowait((name, _around(result.frame.image, event.detail["box"])))
            except queue.Full:
                self.problem = "snapshots: the disk is too slow, some were left out"
            else:
                event.detail["snapshot"] = name

    def close(self, timeout_s: float) -> None:
        """See :meth:`FrameSink.close`."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout_s)

    def _run(self) -> None:
        import cv2

        while (item := self._queue.get()) is not None:
            name, image = item
            try:
                data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
                with atomic_write(self._folder / name, mode=PRIVATE) as stream:
                    stream.write(data)
                self._names.append(name)
                while len(self._names) > self._keep:
                    (self._folder / self._names.popleft()).unlink(missing_ok=True)
                self.problem = ""
            except OSError as error:
                self.problem = f"snapshots: {error}"


def _around(image: UInt8Array, box: list[float]) -> UInt8Array:
    """A copy of a face and what is around it."""
    left, top, right, bottom = box
    across, down = (right - left) * _AROUND, (bottom - top) * _AROUND
    rows = slice(max(round(top - down), 0), max(round(bottom + down), 1))
    columns = slice(max(round(left - across), 0), max(round(right + across), 1))
    return image[rows, columns].copy()
