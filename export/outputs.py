"""Check the output path of a model before the work starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


def check_output(output: Path, source: Path, *, suffix: str = ".onnx") -> None:
    """Check that a model can be written to a path and does not overwrite its source.

    Raises:
        OutputError: the name does not end in the suffix, the folder is missing, or the path is the source.
    """
    if output.suffix.lower() != suffix:
        raise OutputError(
            f"Expected an output that ends in {suffix}, got {output}.", hint=f"name it {output.stem}{suffix}"
        )
    if not output.parent.is_dir():
        raise OutputError(f"There is no folder {output.parent} for {output.name}.", hint="create the folder first")
    if output.exists() and source.exists() and output.samefile(source):
        raise OutputError(f"{output} is the source itself, which would be lost.", hint="name another file")
