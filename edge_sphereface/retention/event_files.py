"""Removes lines from event files, while another process may append to them."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from datetime import datetime
from typing import IO, TYPE_CHECKING, NamedTuple

from edge_sphereface.errors import EdgeSphereFaceError, RetentionError
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.storage.files import PRIVATE, atomic_write, destination, is_special, locked, open_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_sphereface.retention.folder_index import EventAges

LINE_START = b'{"'
"""First bytes of every line."""

_LONGEST_LINE = 1 << 20
_WAIT_S = 10.0


class EventHeader(NamedTuple):
    """What identifies an event.

    Attributes:
        run: run of its stream.
        sequence: its number in the run.
        unix_s: its time by the calendar clock, in seconds since 1970.
    """

    run: str
    sequence: int
    unix_s: float

    @classmethod
    def read(cls, line: str | bytes) -> EventHeader | None:
        """Read the header from the JSON of an event; None if it is none."""
        try:
            values = parse_json(line)
            run, sequence, time = values["run"], values["sequence"], values["time"]
            unix_s = datetime.fromisoformat(str(time).replace("Z", "+00:00")).timestamp()
        except (JsonError, KeyError, TypeError, ValueError, OverflowError):
            return None
        return cls(run, sequence, unix_s) if isinstance(run, str) and isinstance(sequence, int) else None


def event_parts(path: Path) -> list[Path]:
    """An event file and its rotated parts, the oldest first; links and special files are left out.

    Raises:
        RetentionError: the folder cannot be read.
    """
    try:
        place = destination(path)
        if isinstance(place, int) or is_special(place):
            return []
        form = re.compile(re.escape(place.name) + r"\.(\d{1,6})")
        rotated = {
            int(found[1]): one for one in place.parent.iterdir() if (found := form.fullmatch(one.name)) is not None
        }
    except EdgeSphereFaceError as error:
        raise RetentionError(error.message, hint=error.hint) from error
    except OSError as error:
        raise RetentionError(f"Cannot read {path.parent}: {error.strerror}.", hint="check the path") from error
    parts = [rotated[number] for number in sorted(rotated, reverse=True)] + [place]
    return [part for part in parts if part.is_file() and not part.is_symlink()]


def expire_events(part: Path, ages: EventAges, keep_s: float, *, dry_run: bool) -> int:
    """Remove the events of a part that are older than a limit: its first lines, except events of the future.

    A clock that was ahead for a moment leaves an event of the future, which must not keep the old ones behind it. A
    file without events is not touched.

    Args:
        part: one of :func:`event_parts`.
        ages: tells how old events are.
        keep_s: the limit in seconds.
        dry_run: only count.

    Returns:
        Number of lines that are removed.

    Raises:
        RetentionError: the part cannot be rewritten; nothing was changed.
    """
    if not holds_events(part):
        return 0
    with _locked(part) as stream:
        end, count, passed = 0, 0, 0
        ahead: list[tuple[int, int]] = []
        for line in _lines(stream):
            passed += 1
            header = EventHeader.read(line)
            if header is None:
                continue
            age_s = ages.age_s(*header)
            if age_s == 0:
                ahead.append((stream.tell() - len(line), len(line)))
            elif age_s <= keep_s:
                break
            else:
                end, count = stream.tell(), passed - len(ahead)
        if count and not dry_run:
            with atomic_write(part, mode=PRIVATE) as target:
                for start, size in ahead:
                    if start < end:
                        stream.seek(start)
                        target.write(stream.read(size))
                stream.seek(end)
                shutil.copyfileobj(stream, target)
    return count


def holds_events(part: Path) -> bool:
    """Whether a file has a line that is an event. The file is only read.

    Raises:
        RetentionError: it cannot be read.
    """
    try:
        with part.open("rb") as stream:
            return any(EventHeader.read(line) is not None for line in _lines(stream))
    except OSError as error:
        raise RetentionError(f"Cannot read {part}: {error.strerror or error}.", hint="check the path") from error


def rewrite_events(part: Path, change: Callable[[str], str | None]) -> int:
    """Change the lines of a part.

    Args:
        part: one of :func:`event_parts`.
        change: gives the line that replaces a line, without a line break, or None to remove it.

    Returns:
        Number of lines that are changed or removed.

    Raises:
        RetentionError: the part cannot be rewritten; nothing was changed.
    """
    with _locked(part) as stream:
        count = sum(change(text) != text for text in map(_text, _lines(stream)))
        if count:
            stream.seek(0)
            with atomic_write(part, mode=PRIVATE) as target:
                for text in map(_text, _lines(stream)):
                    changed = change(text)
                    if changed is not None:
                        target.write(changed.encode("utf-8", "surrogateescape") + b"\n")
    return count


def read_lines(part: Path) -> Iterator[str]:
    """The lines of a part, without their line breaks.

    Raises:
        RetentionError: it cannot be read.
    """
    with _locked(part) as stream:
        yield from map(_text, _lines(stream))


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE):
        yield line


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").decode("utf-8", "surrogateescape")


@contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """A part that nobody appends to, because whoever does locks it for each line."""
    try:
        with (
            os.fdopen(open_private(part, os.O_RDWR, start=LINE_START), "rb") as stream,
            locked(stream.fileno(), wait_s=_WAIT_S) as is_locked,
        ):
            if not is_locked:
                raise RetentionError(f"Another process keeps {part} locked.", hint="is it stopped? end it")
            if not os.path.samestat(os.fstat(stream.fileno()), part.stat()):
                raise RetentionError(f"{part} was replaced meanwhile.", hint="try again")
            yield stream
    except RetentionError:
        raise
    except EdgeSphereFaceError as error:
        raise RetentionError(error.message, hint=error.hint) from error
    except OSError as error:
        raise RetentionError(f"Cannot rewrite {part}: {error.strerror or error}.", hint="check its folder") from error
