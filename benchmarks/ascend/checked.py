"""Joins the comparison of a run's outputs (``check-outputs``) with the rows of the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import ImportedError, as_utf8
from benchmarks.ascend.row import Evidence, LedgerRow
from edge_sphereface.errors import KitError
from edge_sphereface.kit.check import KitCheck
from edge_sphereface.kit.manifest import MANIFEST
from edge_sphereface.model.certificate import device_bounds
from edge_sphereface.storage.bounded_json import escaped
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.model.certificate import Bounds

_FILE = RegularFile(what="kit check", limit=1 << 18, error=ImportedError, hint="give the JSON of `check-outputs`")
_STATED = "that the checked outputs are those of this run is the importer's word"
_ACCURACY = "a check of golden crops proves no accuracy on photographs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A comparison of outputs, and the file that holds it."""

    found: KitCheck
    file: Evidence


def read_check(path: Path) -> Checked:
    """Read the JSON that ``check-outputs`` prints.

    Raises:
        ImportedError: the file cannot be read, or is no such comparison.
    """
    data = _FILE.read(path)
    try:
        found = KitCheck.from_json(as_utf8(data), name=f"The check {escaped(path.name)}")
    except KitError as error:
        raise ImportedError(error.message, hint=error.hint) from error
    return Checked(found=found, file=Evidence(name=escaped(path.name), sha256=hashlib.sha256(data).hexdigest()))


def join(rows: Sequence[LedgerRow], checked: Checked) -> list[LedgerRow]:
    """Mark the rows of the run that was checked as proven or failed; the others stay ``not checked``.

    A check of a kit's result belongs to the file that it names, a check of outputs alone to the only file with a time.
    That golden crops are embedded rightly proves no accuracy on photographs.

    Raises:
        ImportedError: no file, or more than one, can be that of the check, or it is of another kit.
    """
    timed = [row for row in rows if not _is_accuracy(row)]
    files = {row.file.sha256: row.file.name for row in timed if row.file is not None}
    named = checked.found.result_sha256
    if named is None and len(files) != 1:
        raise ImportedError(
            f"{checked.file.name} checks the outputs of one run, and {len(files)} files with times were given.",
            hint="import each run with the check of its own outputs",
        )
    if named is not None and named not in files:
        raise ImportedError(
            f"{checked.file.name} checks another result than {', '.join(files.values()) or 'those that were given'}.",
            hint="give the result.json that was checked, or check the outputs of this run",
        )
    chosen = next(iter(files)) if named is None else named
    joined = []
    for row in rows:
        if _is_accuracy(row):
            joined.append(replace(row, doubts=(*row.doubts, _ACCURACY)))
        elif row.file is not None and row.file.sha256 == chosen:
            joined.append(_judged(row, checked, row.file.name))
        else:
            joined.append(replace(row, doubts=(*row.doubts, f"{checked.file.name} checks another file's outputs")))
    return joined


def _is_accuracy(row: LedgerRow) -> bool:
    return row.accuracy is not None and row.milliseconds() is None and row.faces_per_second is None


def _judged(row: LedgerRow, checked: Checked, name: str) -> LedgerRow:
    found, doubts = checked.found, list(row.doubts)
    if row.kit is not None and row.kit.sha256 != found.manifest_sha256:
        raise ImportedError(
            f"{checked.file.name} checks outputs of another kit than that of {name}.",
            hint="check the outputs of this run with its own kit",
        )
    if found.result_sha256 is None:
        doubts.append(_STATED)
    if row.accuracy is not None:
        doubts.append(_ACCURACY)
    if found.passed and row.precision is not None and row.precision not in found.keeps:
        doubts.append(f"the outputs keep the bounds of {found.precision}, and not of {row.precision}")
    usual = device_bounds(found.precision)
    if found.passed and found.precision != "int8" and _is_wider(found.bounds, usual):
        doubts.append(f"checked with the kit's bounds, {_text(found.bounds)}, and not the usual, {_text(usual)}")
    if found.mistake is not None:
        doubts.append(f"its outputs show a usual mistake: {found.mistake.name}")
    return replace(
        row,
        proof="proven" if found.passed else "failed",
        doubts=tuple(doubts),
        kit=row.kit or Evidence(name=MANIFEST, sha256=found.manifest_sha256),
        check=checked.file,
    )


def _is_wider(bounds: Bounds, usual: Bounds) -> bool:
    return bounds.max_abs_error > usual.max_abs_error or bounds.min_cosine < usual.min_cosine


def _text(bounds: Bounds) -> str:
    return f"cosine {bounds.min_cosine:g} and error {bounds.max_abs_error:g}"
