"""Reads untrusted files: regular files only, of bounded size, without blocking."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from edge_sphereface.errors import EdgeSphereFaceError, Remedy

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RegularFile:
    """Opens and reads one kind of file within bounds, and raises its errors.

    Named pipes, devices, sockets and folders are refused before they are opened, because opening one may block or have
    side effects. The kind is checked again on the open file, in case it was replaced. Symbolic links are followed. With
    ``pipes``, a pipe is read until its writer closes it or it exceeds ``limit``.

    Attributes:
        what: name of the kind of file, as in "There is no model file m.onnx".
        limit: largest size in bytes.
        error: class of the errors.
        missing: class of the error for a missing file; None for ``error``.
        hint: hint of the errors.
        remedy: remedy of the errors.
        pipes: whether pipes are accepted, such as those of a shell's ``<(command)``.
    """

    what: str
    limit: int
    error: type[EdgeSphereFaceError]
    missing: type[EdgeSphereFaceError] | None = None
    hint: str = "check the path"
    remedy: Remedy | None = None
    pipes: bool = False

    @contextmanager
    def open(self, path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
        """Open a file for reading.

        Raises:
            EdgeSphereFaceError: of class ``error`` or ``missing``: the file does not exist, cannot be read, is not a
                regular file, or is too large.
        """
        file = Path(path)
        with self._explained(file):
            status = os.stat(file)  # noqa: PTH116 -- beside fstat
            self._require(file, status)
            waits = stat.S_ISFIFO(status.st_mode)  # opening a pipe waits for its writer
            descriptor = os.open(file, _FLAGS & ~getattr(os, "O_NONBLOCK", 0) if waits else _FLAGS)
        with os.fdopen(descriptor, "rb") as stream:
            self._require(file, os.fstat(descriptor))
            yield stream

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """Read the content of a file, as of the time when it was opened.

        Raises:
            EdgeSphereFaceError: as :meth:`open`.
        """
        with self.open(path) as stream, self._explained(Path(path)):
            status = os.fstat(stream.fileno())
            if stat.S_ISREG(status.st_mode):
                return stream.read(status.st_size)
            data = stream.read(self.limit + 1)
            if len(data) > self.limit:
                raise self._too_large(Path(path), f"more than {self.limit}")
            return data

    def read_text(self, path: str | os.PathLike[str]) -> str:
        """Read a text file in UTF-8, with or without a byte order mark.

        Raises:
            EdgeSphereFaceError: as :meth:`open`, or the file is not UTF-8.
        """
        try:
            return self.read(path).decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            reason = f"The {self.what} {path} is not text in UTF-8: byte {problem.start} does not fit."
            raise self.refusal(reason) from problem

    def require(self, path: str | os.PathLike[str]) -> int:
        """Check a file that a library will open by its path; returns its size in bytes.

        Raises:
            EdgeSphereFaceError: as :meth:`open`.
        """
        with self.open(path) as stream:
            return os.fstat(stream.fileno()).st_size

    def refusal(self, message: str) -> EdgeSphereFaceError:
        """Error of class ``error`` with this kind of file's hint."""
        return self.error(message, hint=self.hint, remedy=self.remedy)

    @contextmanager
    def _explained(self, file: Path) -> Iterator[None]:
        try:
            yield
        except EdgeSphereFaceError:
            raise
        except (FileNotFoundError, NotADirectoryError) as problem:
            missing = self.missing or self.error
            raise missing(f"There is no {self.what} {file}.", hint=self.hint, remedy=self.remedy) from problem
        except (OSError, ValueError) as problem:  # ValueError: a zero byte in the path
            reason = (isinstance(problem, OSError) and problem.strerror) or problem
            raise self.refusal(f"Cannot read the {self.what} {file}: {reason}.") from problem

    def _require(self, file: Path, status: os.stat_result) -> None:
        if self.pipes and stat.S_ISFIFO(status.st_mode):
            return
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            raise self.error(
                f"Expected a {self.what} as a regular file, and {file} is {kind}.",
                hint="name a file; copy a stream to one first",
            )
        if status.st_size > self.limit:
            raise self._too_large(file, status.st_size)

    def _too_large(self, file: Path, size: int | str) -> EdgeSphereFaceError:
        return self.error(
            f"{file} has {size} bytes; a {self.what} has at most {self.limit}.", hint="is it the file you mean?"
        )
