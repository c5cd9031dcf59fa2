"""Joins the comparison of a run's outputs (``check-outputs``) with the rows of the run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.ascend.formats.recording import ImportedError, as_utf8
from benchmarks.ascend.ledger import printable
from benchmarks.ascend.row import Evidence, LedgerRow, Proof
from edge_sphereface.errors import KitError
from edge_sphereface.kit.check import KitCheck
from edge_sphereface.kit.manifest import MANIFEST
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from pathlib import Path

_FILE = RegularFile(what="kit check", limit=1 << 18, error=ImportedError, hint="give the JSON of `check-outputs`")
_STATED = "that the checked outputs are those of this run is the importer's word"


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
        found = KitCheck.from_json(as_utf8(data), name=f"The check {printable(path.name)}")
    except KitError as error:
        raise ImportedError(error.message, hint=error.hint) from error
    return Checked(found=found, file=Evidence(name=printable(path.name), sha256=hashlib.sha256(data).hexdigest()))


def join(row: LedgerRow, checked: Checked) -> LedgerRow:
    """Mark a row as proven or failed.

    Raises:
        ImportedError: the row is of another kit, or of another result than the check.
    """
    found = checked.found
    name = "the run" if row.file is None else row.file.name
    doubts = row.doubts
    if row.kit is None:
        doubts = (*doubts, _STATED)
    else:
        if row.kit.sha256 != found.manifest_sha256:
            raise ImportedError(
                f"{checked.file.name} checks outputs of another kit than that of {name}.",
                hint="check the outputs of this run with its own kit",
            )
        if found.result_sha256 is None:
            doubts = (*doubts, _STATED)
        elif row.file is not None and found.result_sha256 != row.file.sha256:
            raise ImportedError(
                f"{checked.file.name} checks another result than {name}.", hint="check the outputs of this run"
            )
    if found.passed and row.precision is not None and row.precision not in found.keeps:
        doubts = (*doubts, f"the outputs keep the bounds of {found.precision}, and not of {row.precision}")
    if found.mistake is not None:
        doubts = (*doubts, f"its outputs show a usual mistake: {found.mistake.name}")
    proof: Proof = "proven" if found.passed else "failed"
    kit = row.kit or Evidence(name=MANIFEST, sha256=found.manifest_sha256)
    return replace(row, proof=proof, doubts=doubts, kit=kit, check=checked.file)
