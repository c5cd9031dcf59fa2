"""Event sinks that write lines to a stream or a rotated file, or call a Python function."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edge_sphereface.errors import OutputError, SinkError
from edge_sphereface.retention.event_files import LINE_START
from edge_sphereface.storage.files import destination, is_special, locked, open_private

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.stream.events import Event

_LOCK_S = 5.0


class StreamSink:
    """Writes to a text stream, such as stdout.

    Args:
        stream: the text stream; it is flushed after each event.
        form: returns the line of an event, or None to leave it out.
        left: called once when the reader has closed the stream.
    """

    name = "stdout"
    problem = ""
    dropped = 0

    def __init__(self, stream: IO[str], *, form: Callable[[Event], str | None], left: Callable[[], None]) -> None:
        self._stream, self._form, self._left = stream, form, left
        self._open = True
        self._printed: Event | None = None

    def open(self) -> None:
        """Nothing to do."""

    def write(self, event: Event) -> None:
        """Write the line of an event, if it has one.

        Raises:
            OSError: the stream does not take it, as on a full disk; the line is kept and written once.
        """
        line = self._form(event) if self._open else None
        if line is None:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"  # the name of a file may not be valid text
        try:
            if self._printed is not event:  # else it is in the stream's buffer already
                self._printed = event
                print(line.encode(encoding, "backslashreplace").decode(encoding), file=self._stream)
            self._stream.flush()
        except BrokenPipeError:
            self._open = False
            self._left()

    def pending(self) -> int:
        """No event waits here."""
        return 0

    def close(self) -> None:
        """Nothing to do: the stream stays open."""


class FileSink:
    """Appends JSON lines to a file, which is rotated to ``events.jsonl.1`` and so on when it is full.

    Args:
        path: path of the file. It gets mode 0600. A file or a symbolic link of another user is refused, and a file
            that others may read and that holds no events. A descriptor of this process (``/dev/stderr``), a device or a
            FIFO is written to as it is and never rotated.
        max_bytes: size at which the file is rotated.
        keep: number of rotated files to keep.
    """

    problem = ""
    dropped = 0

    def __init__(self, path: Path, *, max_bytes: int = 10 << 20, keep: int = 5) -> None:
        if max_bytes < 1 or keep < 0:
            raise ValueError(f"Expected a size of at least 1 byte and keep of at least 0, got {max_bytes} and {keep}.")
        self.name = str(path)
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._special = False
        self._rest = b""
        self._stream: IO[bytes] | None = None

    def open(self) -> None:
        """Open or create the file; see :meth:`EventSink.open`."""
        try:
            self._stream = self._opened()
        except OutputError as error:  # the file of another user
            raise SinkError(error.message, hint=error.hint) from error
        except OSError as error:
            raise SinkError(
                f"Cannot write events to {self._path}: {error.strerror or error}.",
                hint="the folder must exist and be writable for this user",
            ) from error

    def write(self, event: Event) -> None:
        """Append one line, whole or not at all; see :meth:`EventSink.write`."""
        data = f"{event.line()}\n".encode()
        while True:
            stream = self._stream = self._stream or self._opened()
            if self._special:
                self._send(stream, data)
                return
            with locked(stream.fileno(), wait_s=_LOCK_S) as is_locked:
                if not is_locked:
                    raise SinkError(f"Another process keeps {self.name} locked.", hint="is it stopped? end it")
                size = stream.seek(0, os.SEEK_END)
                is_full = bool(size) and size + len(data) > self._max_bytes
                if self._is_in_place(stream):
                    if not is_full:
                        self._append(stream, data, size)
                        return
                    self._rotate(stream)
            stream.close()  # the file of that name is another one now
            self._stream = None

    def _is_in_place(self, stream: IO[bytes]) -> bool:
        """Whether the open file still has its name: a removal of old events or of a person replaces it."""
        try:
            return os.path.samestat(os.fstat(stream.fileno()), self._path.stat())
        except FileNotFoundError:
            return False

    def _append(self, stream: IO[bytes], data: bytes, size: int) -> None:
        try:
            if stream.write(data) != len(data):  # a full disk may accept a part
                raise SinkError(f"The disk took only a part of a line of {self._path}.", hint="free some space")
        except OSError:
            with suppress(OSError):
                stream.truncate(size)
            raise

    def pending(self) -> int:
        """No event waits here."""
        return 0

    def close(self) -> None:
        """Flush the file to the disk and close it."""
        if self._stream is not None:
            with suppress(OSError):
                os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def _send(self, stream: IO[bytes], data: bytes) -> None:
        """Write to a pipe; the rest of a line that it accepts only in part comes before the next one."""
        self._rest = self._rest[stream.write(self._rest) or 0 :]
        taken = 0 if self._rest else stream.write(data) or 0  # None: the pipe is full
        if not taken:
            raise SinkError(f"Nobody reads {self.name}.", hint="read it, or name a file")
        self._rest = data[taken:]

    def _opened(self) -> IO[bytes]:
        place = destination(self.name)
        if isinstance(place, int):
            self._special = True
            return os.fdopen(os.dup(place), "wb", buffering=0)
        if is_special(place):
            self._special = True
            # For reading, too: then a FIFO without a reader neither blocks nor fails until it is full
            careful = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
            return os.fdopen(os.open(place, os.O_RDWR | careful), "wb", buffering=0)
        self._path = place
        descriptor = open_private(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, start=LINE_START)
        stream = os.fdopen(descriptor, "a+b", buffering=0)
        if stream.seek(0, os.SEEK_END):
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")  # power was lost in the middle of a line: start a new one
        return stream

    def _rotate(self, stream: IO[bytes]) -> None:
        if os.name != "posix":  # where an open file cannot be renamed
            stream.close()
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for newer, older in zip(names[-2::-1], names[:0:-1], strict=True):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink(missing_ok=True)


class CallbackSink:
    """Calls a Python function, which may be slow. Exceptions are counted, and the next event follows.

    Args:
        function: receives each event.
    """

    name = "callback"
    dropped = 0

    def __init__(self, function: Callable[[Event], object]) -> None:
        self._function = function
        self._failures = 0
        self.problem = ""

    def open(self) -> None:
        """Nothing to do."""

    def write(self, event: Event) -> None:
        """Call the function."""
        try:
            self._function(event)
        except Exception as error:  # noqa: BLE001 -- the function may raise anything; the stream continues
            self._failures += 1
            self.problem = f"{self._failures} failures, the last: {type(error).__name__}: {error}"

    def pending(self) -> int:
        """No event waits here."""
        return 0

    def close(self) -> None:
        """Nothing to do."""
