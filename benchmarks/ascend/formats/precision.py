"""The precision that a log itself names: options of its tool, and names of networks in the .om format."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.ascend.formats.recording import Recording

_ASCENDING = ("int8", "float16", "float32")
_NAMED = re.compile(
    r"--(?P<option>fp16|int8)\b"
    r"|\[I\] Precision: (?P<printed>.{1,40})"
    r"|enableFp16=true",
    re.IGNORECASE,
)
_BREAK = re.compile(r"[^\w.-]+")
_WORDS = {
    "int8": re.compile("int8", re.IGNORECASE),
    "float16": re.compile("fp16|float16|half", re.IGNORECASE),
    "float32": re.compile("fp32|float32|must_keep_origin_dtype|single", re.IGNORECASE),
}


def named_precision(recording: Recording) -> str | None:
    """The lowest precision that the log names, which the computation may use; None if it names none."""
    named = {precision for words in _named(recording) for precision in _precisions(words)}
    return next((precision for precision in _ASCENDING if precision in named), None)


def precision_doubts(recording: Recording) -> Iterator[str]:
    """Describe a stated precision that is not the lowest that the log names."""
    stated, named = recording.stated.precision, named_precision(recording)
    if stated is None or named is None or named in _precisions(stated):
        return
    words = ", ".join(dict.fromkeys(words for words in _named(recording) if _precisions(words)))
    yield f"precision {stated} was stated, and the log names {named} ({words:.80})"


def _named(recording: Recording) -> Iterator[str]:
    for line in recording.lines:
        for found in _NAMED.finditer(line):
            yield found["option"] or found["printed"] or "fp16"
        if ".om" in line:
            yield from (word for word in _BREAK.split(line) if word.endswith(".om"))


def _precisions(words: str) -> list[str]:
    return [precision for precision, pattern in _WORDS.items() if pattern.search(words)]
