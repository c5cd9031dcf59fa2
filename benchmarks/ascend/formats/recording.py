"""The text of a recorded run, as lines that are safe to parse and to show, and checks of its figures."""

from __future__ import annotations

import codecs
import itertools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.ascend.row import PartialLatency
from edge_sphereface.errors import EdgeSphereFaceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUMBER = r"([-+\w.,]{1,100})"
"""What stands in a log where a number belongs, as a whole: :meth:`Recording.number` refuses what is none."""

_MAX_LINE = 4096
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][-+]?[0-9]{1,3})?")
_BYTE_ORDERS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_MAX_MS = 1e9
_MAX_RATE = 1e9
_MAX_BATCH = 65536
_TOLERANCE = 0.01
"""Relative difference up to which two figures of a log agree; tools round what they print."""
_BREAK = re.compile(r"[\r\n]+")
_COLOR = re.compile(r"\x1b\[[0-9;]{0,20}m")


class ImportedError(EdgeSphereFaceError, ValueError):
    """The file of a recorded run cannot be read, has no known format, or holds what a run cannot have."""

    code = "import"


def as_utf8(data: bytes) -> bytes:
    """Text in UTF-8 without byte order mark; PowerShell's ``>`` writes UTF-16 with one."""
    if data.startswith(_BYTE_ORDERS):
        return data.decode("utf-16", errors="replace").encode(errors="replace")
    return data.removeprefix(codecs.BOM_UTF8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the person says who imports a run.

    Attributes:
        source: who recorded the run, where and when.
        device: device; None to take it from the file.
        precision: precision of the computation; None to take it from the file.
        batch: number of crops in one call; None to take it from the file.
    """

    source: str
    device: str | None = None
    precision: str | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recorded run.

    Attributes:
        name: name of the file.
        lines: its lines without colors; lines of more than 4096 characters, which no tool prints, are left out.
        stated: what is known besides.
        may_be_cut: whether it ends with a digit and no line break, so that its last number may lack digits.
    """

    name: str
    lines: tuple[str, ...]
    stated: Stated
    may_be_cut: bool

    @classmethod
    def of(cls, text: str, *, name: str, stated: Stated) -> Recording:
        """Split a text into lines. A progress bar's rewritten line counts as several."""
        lines = (_COLOR.sub("", line).strip() for line in _BREAK.split(text) if len(line) <= _MAX_LINE)
        kept = tuple(line for line in lines if line)
        return cls(name=name, lines=kept, stated=stated, may_be_cut=text[-1:].isdigit())

    def search(self, pattern: re.Pattern[str], number: int) -> re.Match[str] | None:
        """Find a pattern in the line of a number, from 0.

        Raises:
            ImportedError: the match ends with the file, which may be cut within its last number.
        """
        line = self.lines[number]
        found = pattern.search(line)
        is_last = number == len(self.lines) - 1
        if found is not None and self.may_be_cut and is_last and found.end() == len(line):
            raise ImportedError(
                f"{self.name} ends with a number and without a line break, so that digits may be missing.",
                hint="give the whole file; if it is whole, add a line break",
            )
        return found

    def matches(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Find a pattern in each line, at most once.

        Raises:
            ImportedError: as :meth:`search`.
        """
        found = (self.search(pattern, number) for number in range(len(self.lines)))
        return (match for match in found if match is not None)

    def single(self, pattern: re.Pattern[str], what: str) -> re.Match[str] | None:
        """Find a pattern that a run prints once; None if it is missing.

        Raises:
            ImportedError: it is printed more often.
        """
        found = list(self.matches(pattern))
        if len(found) > 1:
            raise self.several(len(found), what)
        return found[0] if found else None

    def several(self, count: int, what: str) -> ImportedError:
        """The error for a file with more than one run."""
        return ImportedError(
            f"{self.name} holds {count} runs of {what}; expected one.", hint="give one file for each run"
        )

    def number(self, digits: str, what: str) -> float:
        """Read a number, without a comma that ends its part of the line.

        Raises:
            ImportedError: it is not a whole, finite number with a decimal point.
        """
        digits = digits.removesuffix(",")
        value = float(digits) if _NUMBER.fullmatch(digits) else math.nan
        if not math.isfinite(value):
            raise ImportedError(
                f"{self.name} has {digits!r:.80} as {what}; expected a number such as 1.25.",
                hint="give the file as the tool wrote it",
            )
        return value

    def time_ms(self, digits: str, what: str, *, zero: bool = False) -> float:
        """Read a time in milliseconds.

        Args:
            digits: text of the number.
            what: name of the figure for messages.
            zero: whether it may be zero, as that of a copy that needs none.

        Raises:
            ImportedError: it cannot be a time.
        """
        value = self.number(digits, what)
        if not (value > 0 or (zero and value == 0)) or value > _MAX_MS:
            raise ImportedError(
                f"{self.name} has {value:g} ms as {what}; expected a time above 0.", hint="record the run again"
            )
        return value

    def rate(self, digits: str, what: str) -> float:
        """Read a number of faces or calls a second.

        Raises:
            ImportedError: it cannot be a rate.
        """
        value = self.number(digits, what)
        if not 0 < value <= _MAX_RATE:
            raise ImportedError(
                f"{self.name} has {value:g} a second as {what}; expected a rate above 0 that a machine can have.",
                hint="record the run again",
            )
        return value

    def batch(self, printed: float | None) -> tuple[int | None, tuple[str, ...]]:
        """The batch size of the run, and doubts about it.

        Args:
            printed: what the tool printed; None if it prints none.
        """
        stated = self.stated.batch
        if printed is None:
            return stated, ()
        if not 1 <= printed <= _MAX_BATCH or printed != int(printed):
            return stated, (f"the batch size is printed as {printed:g}",)
        if stated is not None and stated != printed:
            return int(printed), (f"batch {stated} was stated, and the run printed batch {printed:g}",)
        return int(printed), ()

    def device(self, printed: str | None) -> tuple[str | None, tuple[str, ...]]:
        """The device of the run, and doubts about it. What the run itself says counts.

        Args:
            printed: what the tool printed; None if it prints none.
        """
        stated = self.stated.device
        if printed is None or stated is None:
            return printed or stated, ()
        own, other = (re.sub(r"\W", "", words).casefold() for words in (printed, stated))
        if own in other:
            return stated, ()
        return printed, () if other in own else (f"device {stated} was stated, and the run says {printed}",)


def order_doubts(latency: PartialLatency, what: str) -> Iterator[str]:
    """Describe statistics of one set of samples that contradict one another."""
    ascending = [
        ("min", latency.min_ms),
        ("median", latency.median_ms),
        ("p95", latency.p95_ms),
        ("p99", latency.p99_ms),
        ("max", latency.max_ms),
    ]
    known = [(name, value) for name, value in ascending if value is not None]
    for (low_name, low), (high_name, high) in itertools.pairwise(known):
        if low > high:
            yield f"{what}: the {low_name} {low:g} ms is above the {high_name} {high:g} ms"
    if latency.mean_ms is not None:
        if latency.min_ms is not None and latency.mean_ms < latency.min_ms:
            yield f"{what}: the mean {latency.mean_ms:g} ms is below the min {latency.min_ms:g} ms"
        if latency.max_ms is not None and latency.mean_ms > latency.max_ms:
            yield f"{what}: the mean {latency.mean_ms:g} ms is above the max {latency.max_ms:g} ms"


def rate_doubts(rate: float | None, mean_ms: float | None, batch: float | None) -> Iterator[str]:
    """Describe a rate that is not that of a batch in the mean time of a call."""
    if rate is None or mean_ms is None or batch is None:
        return
    expected = 1000 * batch / mean_ms
    if abs(rate - expected) > _TOLERANCE * expected:
        yield f"{rate:.6g} faces a second are printed, and a batch of {batch:g} in {mean_ms:g} ms makes {expected:.6g}"


def differ(one: float, other: float) -> bool:
    """Whether two figures of a log that should be equal are not."""
    return abs(one - other) > _TOLERANCE * max(abs(one), abs(other))


def statistics(
    recording: Recording, figures: Sequence[tuple[str, str]], what: str, *, zero: bool = False
) -> PartialLatency:
    """Read statistics as most tools print them.

    Args:
        recording: the run.
        figures: names and numbers, such as ``("percentile(99%)", "1.2")``.
        what: name of the time for messages.
        zero: whether a time may be zero.

    Raises:
        ImportedError: a figure cannot be a time, or there is no mean.
    """
    found = {
        name.replace(" ", ""): recording.time_ms(digits, f"{name} of {what}", zero=zero) for name, digits in figures
    }
    if "mean" not in found:
        raise ImportedError(f"{recording.name} has no mean of {what}.", hint="give the file as the tool wrote it")
    return PartialLatency(
        min_ms=found.get("min"),
        mean_ms=found.get("mean"),
        median_ms=found.get("median"),
        p95_ms=found.get("percentile(95%)"),
        p99_ms=found.get("percentile(99%)"),
        max_ms=found.get("max"),
    )
