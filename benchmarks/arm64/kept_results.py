"""Keep results of hours of emulation, so that an interrupted run continues."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from benchmarks.recorded import read_record
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.json_output import json_text
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, JsonError, parse_json
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RecordT = TypeVar("RecordT")


class KeptResults:
    """Results in a folder, each by everything that it depends on.

    Args:
        folder: folder of the results; it is made when the first one is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, kind: type[RecordT], depends: Sequence[str]) -> RecordT | None:
        """Return the result that depends on these words; None if there is none. One that is damaged is removed."""
        path = self._path(depends)
        if not path.is_file():
            return None
        try:
            return read_record(kind, parse_json(path.read_bytes(), limit=MAX_JSON_BYTES))
        except (UsageError, JsonError):
            path.unlink()
            return None

    def keep(self, result: object, depends: Sequence[str]) -> None:
        """Keep a result that depends on these words."""
        ensure_folder(self._folder)
        with atomic_write(self._path(depends), mode=SHARED) as stream:
            stream.write(json_text(result).encode())

    def _path(self, depends: Sequence[str]) -> Path:
        key = hashlib.sha256("\n".join(depends).encode()).hexdigest()[:32]
        return self._folder / f"{key}.json"


def installed_packages(folder: Path) -> list[str]:
    """Return names and versions of the packages that are installed in a folder."""
    return sorted(path.name for path in folder.glob("*.dist-info"))
