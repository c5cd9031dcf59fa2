"""Records video with boxes and names."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.errors import SinkError
from edge_sphereface.retention.folder_index import UNKNOWN
from edge_sphereface.storage.files import PRIVATE
from edge_sphereface.stream.outputs.frames.drawing import draw_faces, fitted
from edge_sphereface.stream.outputs.frames.kept_files import KeptFiles

if TYPE_CHECKING:
    from pathlib import Path

    import cv2

    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.face_stream import FaceStream
    from edge_sphereface.stream.recognition.frame_processor import FrameResult
    from edge_sphereface.stream.tracking.track import Track

_FORMS = ((".mkv", "mp4v"), (".avi", "MJPG"))
"""Suffixes and codecs, the better first: Matroska survives a power cut, and every OpenCV has the other."""
_WAITING = 2
_LONGEST_GAP_S = 2.0
"""Without frames, after which the recording continues in a new segment."""
_LOOK_S = 5.0


class _Waiting(NamedTuple):
    frame: Frame
    faces: tuple[Track, ...]
    run: str

    @property
    def sightings(self) -> dict[str, str]:
        """Who is in the frame, by track."""
        return {f"{self.run}-{face.number}": face.person or UNKNOWN for face in self.faces}


class VideoRecorder:
    """Writes video with boxes and names in a thread of its own, in segments. It drops frames if the thread is too slow.

    Args:
        folder: of the segments; is created with mode 0700 if it does not exist. The files get mode 0600 and are named
            by stream and time (UTC).
        fps: frame rate of the video, whatever the rate of the camera.
        minutes: length of a segment.
        keep: number of the newest segments to keep.
        side: maximum length of the longer side, in pixels.
        free_bytes: to leave free on the disk; with less the recording pauses.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        fps: float = 10.0,
        minutes: float = 10.0,
        keep: int = 6,
        side: int = 1280,
        free_bytes: int = 200 << 20,
    ) -> None:
        if not 0 < fps <= 240 or minutes <= 0 or keep < 1 or side < 32:
            raise ValueError(
                f"Expected fps and minutes above 0, to keep at least 1 piece, and a side of at least 32 pixels, got "
                f"{fps}, {minutes}, {keep} and {side}."
            )
        self.problem = ""
        self._folder, self._fps, self._keep, self._side, self._free_bytes = folder, fps, keep, side, free_bytes
        self._piece_frames = max(round(minutes * 60 * fps), 1)
        self._waiting: deque[_Waiting] = deque(maxlen=_WAITING)
        self._condition = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._due_s = float("-inf")
        self._writer: cv2.VideoWriter | None = None
        self._shape: tuple[int, ...] = ()
        self._began_s = self._looked = self._last_s = float("-inf")
        self._written = 0
        self._path: Path | None = None
        self._seen: dict[str, str] = {}
        self._stream_run = secrets.token_hex(4)

    def open(self, stream: FaceStream) -> None:
        """Create the folder; see :meth:`FrameSink.open`."""
        files = KeptFiles(self._folder, stream.settings.file_name, [suffix for suffix, _ in _FORMS])
        self._thread = threading.Thread(target=self._run, args=(files,), name="recorder", daemon=True)
        self._thread.start()

    def take(self, result: FrameResult) -> None:
        """See :meth:`FrameSink.take`."""
        for event in result.events:  # a track is reported before it is seen here
            self._stream_run = event.run
        now_s = result.frame.time_s
        if self._due_s - 1 < now_s < self._due_s:
            return
        self._due_s = max(self._due_s + 1 / self._fps, now_s + 0.5 / self._fps)
        with self._condition:
            self._waiting.append(_Waiting(result.frame, result.in_sight, self._stream_run))
            self._condition.notify()

    def pending(self) -> int:
        """Number of frames that are not written yet."""
        return len(self._waiting)

    def close(self, timeout_s: float) -> None:
        """See :meth:`FrameSink.close`."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # ---- the thread -----------------------------------------------------------------------------------------------

    def _run(self, files: KeptFiles) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._closing)
                item = self._waiting.popleft() if self._waiting else None
            if item is None:
                break
            try:
                self._write(item, files)
            except Exception as error:  # noqa: BLE001 -- the thread must go on, and report it
                self.problem = f"recorder: {error}"
                self._finish()
        self._finish()
        files.index.close()

    def _write(self, item: _Waiting, files: KeptFiles) -> None:
        picture, scale = fitted(item.frame.image, self._side)
        picture = draw_faces(picture, [face for face in item.faces if face.standing != "ignored"], scale=scale)
        now_s = item.frame.time_s
        gap = not 0 <= now_s - self._last_s <= _LONGEST_GAP_S
        if self._writer is None or gap or picture.shape != self._shape or self._written >= self._piece_frames:
            self._finish()
            self._begin(item, picture.shape, files)
        self._look_at_the_disk(files.folder)
        self._record_sightings(item, files)
        self._last_s = now_s
        place = round((now_s - self._began_s) * self._fps)
        while self._written <= place and self._writer is not None:  # the frame before fills the place of a missing one
            self._writer.write(picture)
            self._written += 1

    def _record_sightings(self, item: _Waiting, files: KeptFiles) -> None:
        """Record who is new in the segment, or has a name now."""
        for track, name in item.sightings.items():
            if self._path is not None and self._seen.get(track) != name:
                files.index.sight(self._path.name, track, name)
                self._seen[track] = name

    def _begin(self, item: _Waiting, shape: tuple[int, ...], files: KeptFiles) -> None:
        import cv2

        frame, self._path, self._looked = item.frame, None, float("-inf")
        self._look_at_the_disk(files.folder)
        for suffix, codec in _FORMS:
            path = files.folder / f"{files.name(frame.unix_time)}{suffix}"
            files.index.add(path.name, {})  # first: no recording without a record survives a crash
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))  # OpenCV keeps the mode
            writer = cv2.VideoWriter(
                str(path), cv2.VideoWriter.fourcc(*codec), self._fps, (int(shape[1]), int(shape[0]))
            )
            if writer.isOpened():
                self._writer, self._shape, self._began_s, self._written = writer, shape, frame.time_s, 0
                self._path, self._seen, self.problem = path, {}, ""
                files.delete(files.names()[: -self._keep])
                return
            files.delete([path.name])
        raise SinkError("this OpenCV writes no video.", hint="pip install opencv-python-headless")

    def _finish(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _look_at_the_disk(self, folder: Path) -> None:
        """OpenCV reports neither a full disk nor that the file was deleted, as when a person is removed."""
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        if shutil.disk_usage(folder).free < self._free_bytes:
            raise SinkError(f"the disk of {folder} is nearly full", hint="free some space")
        if self._path is not None and not self._path.exists():
            self._finish()  # the next frame begins another segment
