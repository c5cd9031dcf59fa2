"""How to install optional dependencies, for the hints of errors."""

from __future__ import annotations

from pathlib import Path

_TREE = Path(__file__).resolve().parents[1]


def install_command(extra: str, tree: Path = _TREE) -> str:
    """The command that installs an extra.

    Args:
        extra: name of the extra.
        tree: folder that holds this package. With a ``pyproject.toml`` it is a checkout, whose packages are installed
            from there: the package index may lack the project, or have another version of it.
    """
    place = "." if (tree / "pyproject.toml").is_file() else "edge-sphereface"
    return f"pip install '{place}[{extra}]'"
