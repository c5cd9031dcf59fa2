"""Reads recorded runs of other machines in the format of the tool that recorded them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.ascend.formats import (
    ais_bench,
    ais_bench_summary,
    ascend_run,
    huawei_benchmark,
    kit_result,
    lfw_evaluation,
    mindspore_310,
    mindspore_lite,
    msame,
    mxbase,
    trtexec,
)
from benchmarks.ascend.formats.precision import named_precision, precision_doubts
from benchmarks.ascend.formats.recording import ImportedError, Recording, as_utf8
from benchmarks.ascend.row import Evidence, LedgerRow
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.storage.bounded_json import JsonError, escaped, parse_json
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.ascend.formats.recording import Stated

_TIMED = (ais_bench, msame, mindspore_310, mxbase, mindspore_lite, huawei_benchmark, trtexec)
"""Formats of logs with times: a file holds one of them."""
_JSON = (ais_bench_summary, kit_result, ascend_run)
_FILE = RegularFile(what="recorded run", limit=64 << 20, error=ImportedError, hint="give the log of one run")
_EXPECTED = (
    "expected the output of ais_bench, msame, MindSpore's program for Ascend 310, MxBase, MindSpore Lite's benchmark, "
    "Huawei's benchmark or trtexec, the summary JSON of ais_bench, the result of a proof kit, LFWACC=… std=… thd=…, or "
    "a result of `ascend run`"
)


def read(path: Path, stated: Stated) -> list[LedgerRow]:
    """Read the rows of a recorded run; each is marked ``imported`` and names the file and its SHA-256.

    Args:
        path: what a tool printed or wrote.
        stated: who recorded the run, and what is known besides.

    Raises:
        ImportedError: the file cannot be read, has no known format, holds several runs, or has a figure that cannot be
            right.
    """
    data = _FILE.read(path)
    name = escaped(path.name)
    content = as_utf8(data)
    text = content.decode(errors="replace")
    recording = Recording.of(text, name=name, stated=stated)
    try:
        rows = _from_json(content, recording) if text.lstrip().startswith("{") else _from_log(recording)
    except UsageError as error:
        raise ImportedError(f"{name}: {error.message}", hint=error.hint) from error
    if not rows:
        raise ImportedError(f"{name} has no figures in a known format.", hint=_EXPECTED)
    evidence = Evidence(name=name, sha256=hashlib.sha256(data).hexdigest())
    return [replace(row, file=evidence) for row in rows]


def _from_log(recording: Recording) -> list[LedgerRow]:
    found = [rows for rows in (reader.read(recording) for reader in _TIMED) if rows]
    if len(found) > 1:
        tools = " and ".join(rows[0].path for rows in found)
        raise ImportedError(f"{recording.name} holds runs of {tools}; expected one.", hint="give one file for each run")
    named, doubts = named_precision(recording), tuple(precision_doubts(recording))
    timed = [
        replace(row, precision=row.precision or named, doubts=(*row.doubts, *doubts)) for rows in found for row in rows
    ]
    return [*timed, *lfw_evaluation.read(recording)]


def _from_json(data: bytes, recording: Recording) -> list[LedgerRow]:
    try:
        values = parse_json(data, limit=_FILE.limit)
    except JsonError as error:
        raise ImportedError(
            f"{recording.name} is not JSON: {error}.", hint="give the file as it was written"
        ) from error
    return [row for reader in _JSON for row in reader.read(values, recording)]
