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
    """What a kind of file must be, and how it is refused.

    A named pipe, a device, a socket or a folder is refused before it is opened: opening one may block, or do something.
    The kind is checked again on the open file, in case another one took its place. Symbolic links are followed. Only
    where ``pipes`` says so is a pipe read, until its writer has ended or it has given more than ``limit``.

    Attributes:
        what: it is, as in "There is no model file m.onnx".
        limit: bytes that it may have.
        error: class of what is raised.
        missing: class of what is raised where there is no file; None for ``error``.
        hint: what to do where it cannot be read.
        remedy: the same, by a stable name.
        pipes: whether it may be a pipe too, such as ``<(command)`` of a shell gives.
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
            EdgeSphereFaceError: of class ``error`` or ``missing``: there is none, it cannot be read, is not a regular
                file, or is too large.
        """
        file = Path(path)
        with self._explained(file):
            status = os.stat(file)  # noqa: PTH116 -- beside fstat
            self._require(file, status)
            waits = stat.S_ISFIFO(status.st_mode)  # for the writer
            descriptor = os.open(file, _FLAGS & ~getattr(os, "O_NONBLOCK", 0) if waits else _FLAGS)
        with os.fdopen(descriptor, "rb") as stream:
            self._require(file, os.fstat(descriptor))
            yield stream

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The content of a file, as far as it had been written when it was opened.

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
        """The content of a file of text in UTF-8, with or without a byte order mark.

        Raises:
            EdgeSphereFaceError: as :meth:`open`, or it is not text.
        """
        try:
            return self.read(path).decode("utf-8-sig")
        except UnicodeDecodeError as problem:
            reason = f"The {self.what} {path} is not text in UTF-8: byte {problem.start} does not fit."
            raise self.refusal(reason) from problem

    def require(self, path: str | os.PathLike[str]) -> int:
        """Check a file that a library will open by its path; gives its size in bytes.

        Raises:
            EdgeSphereFaceError: as :meth:`open`.
        """
        with self.open(path) as stream:
            return os.fstat(stream.fileno()).st_size

    def refusal(self, message: str) -> EdgeSphereFaceError:
        """An error of class ``error`` that says what to do."""
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
