"""Read and write results: one JSON object with the environment of the measurement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.json_output import json_object
from edge_sphereface.storage.bounded_json import JsonError, parse_json
from edge_sphereface.storage.files import SHARED, atomic_write
from edge_sphereface.storage.regular_file import RegularFile

_FILE = RegularFile(what="result", limit=256 << 20, error=UsageError, hint="give a JSON file written with -o")

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.json_output import Dataclass
    from edge_sphereface.types import JsonObject


def load_result(path: Path) -> JsonObject:
    """Read a result that a command wrote with ``-o``.

    Raises:
        UsageError: the file cannot be read, or is not a result.
    """
    try:
        content = parse_json(_FILE.read(path), limit=_FILE.limit)
    except JsonError as error:
        raise UsageError(
            f"Cannot read {path} as a result: {error}.", hint="give a JSON file written with -o"
        ) from error
    if not isinstance(content, dict) or "environment" not in content:
        raise UsageError(f"{path} is not a result of this tool.", hint="give a JSON file written with -o")
    return content


def keep_result(result: Dataclass, output: Path | None) -> None:
    """Write a result if a path is given."""
    if output is not None:
        with atomic_write(output, mode=SHARED) as stream:
            stream.write(json.dumps(json_object(result), indent=1).encode())
