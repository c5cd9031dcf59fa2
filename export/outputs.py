"""Where a made model may go, checked before the work that makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def check_output(output: Path, source: Path) -> None:
    """Refuse a place where a model cannot be written, or where it would take its source's place.

    Raises:
        OutputError: the name does not end in .onnx, its folder is missing, or it is the source itself.
    """
    if output.suffix.lower() != ".onnx":
        raise OutputError(f"Expected an output that ends in .onnx, got {output}.", hint=f"name it {output.stem}.onnx")
    if not output.parent.is_dir():
        raise OutputError(f"There is no folder {output.parent} for {output.name}.", hint="create the folder first")
    if output.exists() and source.exists() and output.samefile(source):
        raise OutputError(f"{output} is the source itself, which would be lost.", hint="name another file")
