"""Check the figures in the documentation against recorded results.

``docs/figures.toml`` contains the claims. A claim names a page, its text with fields, a record, and the path of each
field's value. This module compares the pages with the records, and finds figures without a claim. ``python -m
benchmarks.figures`` prints the differences; with ``--write`` it writes the recorded values to the pages.

A path consists of keys, positions, ``key=value&key=value`` for the only element of a list with these values, and ``*``
for all elements. A value is a path, or a list that is evaluated from left to right: ``["rows/0/ms", "/",
"rows/1/ms"]``; ``["max", PATH]`` (``min``, ``sum``, ``len``) reduces a path with ``*``. The paths of a claim are
relative to its ``at``, if present. Where a page has several tables with the same rows, ``below`` is a text above the
one that is meant.
"""

from __future__ import annotations

import json
import re
import string
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from edge_sphereface.types import JsonObject

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "docs" / "figures.toml"
RESULTS = ROOT / "benchmarks" / "results"
_NUMBER = r"[+-]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?"
_UNIT = (
    r"(?:%|\u00d7|°|(?:ms|µs|us|s|seconds?|minutes?|hours?|points?|[KMGT]i?B|bytes|G?FLOP|px|pixels|times|W|[MG]Hz"
    r"|(?:faces|frames|photographs|pictures|events|embeddings|searches) (?:a|per) second|frames/s|fps)\b)"
)
_FIGURES = re.compile(
    rf"(?<![\w.^])(?<!\w-){_NUMBER}(?:/\d+)?(?![\w-])"  # not a part of a name, such as INT8, Cortex-A72 or x86-64
)
_CHAIN = re.compile(rf"\s*(?:(?:to|and|or|in|,|\+|±)\s*{_NUMBER}\s*)*{_UNIT}")
"""Text after a figure with a unit: the unit, possibly after other figures that share it, as in "4 to 5 ms"."""
_NO_PROSE = re.compile(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|https?://\S+|<!--.*?-->", re.DOTALL)
_OPERATIONS: Mapping[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
_REDUCTIONS: Mapping[str, Callable[[list[float]], float]] = {"max": max, "min": min, "sum": sum, "len": len}


class FigureError(ValueError):
    """The claims or a record do not contain a requested value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A text on a page with recorded figures.

    Attributes:
        page: path of the page relative to the project's root.
        record: path of the record relative to ``benchmarks/results``.
        text: text on the page with a field for each figure: ``{median:.1f} ms``.
        values: expression of each field.
        at: path that the paths of the values are relative to.
        below: text above the table that holds the claim; empty for anywhere on the page.
    """

    page: str
    record: str
    text: str
    values: Mapping[str, Any]
    at: str = ""
    below: str = ""

    def fields(self) -> list[tuple[str, str]]:
        """Name and format of each field, in order."""
        return [(name, form or "") for _, name, form, _ in string.Formatter().parse(self.text) if name is not None]

    def pattern(self) -> re.Pattern[str]:
        """Pattern that matches the text with any numbers in its fields and any line breaks."""
        parts = []
        for literal, name, _, _ in string.Formatter().parse(self.text):
            parts.append(re.sub(r"(?:\\ )+", lambda _: r"\s+", re.escape(literal)))
            if name is not None:
                parts.append(f"({_NUMBER})")
        return re.compile("".join(parts))

    def matches(self, page: str) -> list[re.Match[str]]:
        """Where the text is on the page, within the table below ``below``."""
        start, end = (page.find(self.below) if self.below else 0), len(page)
        if self.below:
            table = page.find("\n|", start)
            blank = page.find("\n\n", table)
            end = blank if blank >= 0 else end
        return list(self.pattern().finditer(page, start, end)) if start >= 0 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Contents of ``docs/figures.toml``.

    Attributes:
        claims: claims of measured figures.
        unmeasured: texts by page whose numbers are not measurements of this project.
        patterns: patterns of such texts on any page.
    """

    claims: Sequence[Claim]
    unmeasured: Mapping[str, Sequence[str]]
    patterns: Sequence[str]


class Found(NamedTuple):
    """Position of a claim on its page, with the shown and the recorded values."""

    spans: list[tuple[int, int]]
    shown: list[str]
    recorded: list[str]


def read_ledger(path: Path = LEDGER) -> Ledger:
    """Read the claims.

    Raises:
        FigureError: the fields of a claim do not match its values.
    """
    content = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli").loads(path.read_text("utf-8"))
    claims = []
    for entry in _spread(content.get("claim", [])):
        place = {name: entry[name] for name in ("page", "record", "text", "at", "below") if name in entry}
        claim = Claim(**place, values={name: value for name, value in entry.items() if name not in place})
        if {name for name, _ in claim.fields()} != claim.values.keys():
            raise FigureError(f"Expected a value for each field of {claim.text!r}, got {sorted(claim.values)}.")
        claims.append(claim)
    unmeasured: dict[str, list[str]] = {}
    for entry in content.get("unmeasured", []):
        unmeasured.setdefault(entry["page"], []).extend(entry["texts"])
    return Ledger(
        claims=claims, unmeasured=unmeasured, patterns=[entry["regex"] for entry in content.get("pattern", [])]
    )


def _spread(entries: Sequence[JsonObject]) -> Iterator[JsonObject]:
    """Expand an entry for a table to one entry per row: ``each`` gives ``<row>`` and ``<key>`` of every row."""
    for entry in entries:
        rows = entry.get("each", {"": ""})
        for row, key in rows.items():
            written = json.dumps({name: value for name, value in entry.items() if name != "each"})
            yield json.loads(written.replace("<row>", row).replace("<key>", key))


def pages(root: Path = ROOT) -> dict[str, str]:
    """Return the texts of the README and of all pages of ``docs``, by path."""
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return {str(path.relative_to(root).as_posix()): path.read_text("utf-8") for path in paths}


def value(record: Any, expression: Any) -> float:
    """Evaluate an expression.

    Args:
        record: parsed JSON.
        expression: path, or list of paths, numbers and operators.

    Raises:
        FigureError: the record has no value at a path.
    """
    if isinstance(expression, (int, float)):
        return expression
    if isinstance(expression, str):
        return _number(_one(record, expression), expression)
    if expression[0] in _REDUCTIONS:
        found = [_number(item, expression[1]) for item in _walk(record, expression[1].split("/"))]
        if not found:
            raise FigureError(f"The record holds nothing at {expression[1]!r}.")
        return _REDUCTIONS[expression[0]](found)
    result = value(record, expression[0])
    for operator, operand in zip(expression[1::2], expression[2::2], strict=True):
        result = _OPERATIONS[operator](result, value(record, operand))
    return result


def find(claim: Claim, page: str, results: Path = RESULTS) -> Found:
    """Find a claim on its page.

    Raises:
        FigureError: the claim does not occur exactly once, or its record lacks a value.
    """
    matches = claim.matches(page)
    if len(matches) != 1:
        raise FigureError(f"{claim.page}: expected once, found {len(matches)} times: {claim.text!r}")
    record = _record(results / claim.record)
    if claim.at:
        record = _one(record, claim.at)
    return Found(
        spans=[matches[0].span(number + 1) for number in range(len(claim.fields()))],
        shown=list(matches[0].groups()),
        recorded=[format(value(record, claim.values[name]), form) for name, form in claim.fields()],
    )


def differences(ledger: Ledger, texts: Mapping[str, str], results: Path = RESULTS) -> list[str]:
    """Describe the claims that are missing on their page or differ from their record, one sentence each."""
    wrong = []
    for claim in ledger.claims:
        try:
            found = find(claim, texts[claim.page], results)
        except (FigureError, OSError, KeyError) as error:
            wrong.append(f"{error} (record {claim.record})")
            continue
        if found.shown != found.recorded:
            wrong.append(f"{claim.page} shows {found.shown}, {claim.record} holds {found.recorded}: {claim.text!r}")
    return wrong


def uncovered(ledger: Ledger, texts: Mapping[str, str], results: Path = RESULTS) -> list[str]:
    """Describe figures without a claim or an exception, and unused exceptions, one sentence each."""
    wrong = []
    for name, text in texts.items():
        covered: list[tuple[int, int]] = []
        for claim in ledger.claims:
            if claim.page == name:
                covered += find(claim, text, results).spans
        for exception in ledger.unmeasured.get(name, []):
            spans = [match.span() for match in re.finditer(r"\s+".join(map(re.escape, exception.split())), text)]
            if not spans:
                wrong.append(f"{name}: the exception {exception!r} is not on the page")
            covered += spans
        for pattern in ledger.patterns:
            covered += [match.span() for match in re.finditer(pattern, text)]
        for start, end in figures(text):
            if not any(low <= start and end <= high for low, high in covered):
                line = text.count("\n", 0, start) + 1
                around = " ".join(text[max(0, start - 50) : end + 40].split())
                wrong.append(f"{name}:{line}: no record of {text[start:end]!r} in «{around}»")
    return wrong


def figures(text: str) -> Iterator[tuple[int, int]]:
    """Find the numbers on a page that look like measurements.

    They have a unit, a decimal point, a thousands separator, an exponent or a fraction, or are in a table. Code,
    addresses and names (INT8, Cortex-A72) are ignored.
    """
    prose = _NO_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    for match in _FIGURES.finditer(prose):
        line = prose[prose.rfind("\n", 0, match.start()) + 1 :]
        listed = line.startswith("|")
        if listed or re.search(r"[.,/]\d|e[+-]?\d", match[0]) or _CHAIN.match(prose, match.end()):
            yield match.span()


def rewritten(ledger: Ledger, name: str, text: str, results: Path = RESULTS) -> str:
    """Return a page with the recorded values."""
    places = []
    for claim in ledger.claims:
        if claim.page == name:
            found = find(claim, text, results)
            places += list(zip(found.spans, found.recorded, strict=True))
    for (start, end), shown in sorted(places, reverse=True):
        text = text[:start] + shown + text[end:]
    return text


@cache
def _record(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def _walk(node: Any, steps: Sequence[str]) -> Iterator[Any]:
    """Return all values at a path."""
    if not steps:
        yield node
        return
    step, rest = steps[0], steps[1:]
    if step == "*":
        for item in node.values() if isinstance(node, dict) else node:
            yield from _walk(item, rest)
    elif isinstance(node, dict):
        if step in node:
            yield from _walk(node[step], rest)
    elif isinstance(node, list) and "=" in step:
        wanted = [part.split("=", 1) for part in step.split("&")]
        for item in node:
            if all(str(item.get(key)) == expected for key, expected in wanted):
                yield from _walk(item, rest)
    elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
        yield from _walk(node[int(step)], rest)


def _one(record: Any, path: str) -> Any:
    found = list(_walk(record, path.split("/")))
    if len(found) != 1:
        raise FigureError(f"The record holds {len(found)} values at {path!r}.")
    return found[0]


def _number(found: Any, path: str) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise FigureError(f"The record holds no number at {path!r}.")
    return found


def main(arguments: Sequence[str]) -> int:
    """Print the differences. With ``--write``, write the recorded values to the pages first."""
    ledger, texts = read_ledger(), pages()
    if "--write" in arguments:
        texts = {name: rewritten(ledger, name, text) for name, text in texts.items()}
        for name, text in texts.items():
            (ROOT / name).write_text(text, "utf-8")
    wrong = differences(ledger, texts) or uncovered(ledger, texts)
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
