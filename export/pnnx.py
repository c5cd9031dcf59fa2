"""Converts ONNX files for ncnn by pnnx, a program that its wheel carries."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import ExtraError, ModelFormatError
from edge_sphereface.model.ncnn_network import MAX_NETWORK_BYTES
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_S = 600
_NETWORK_FILE = RegularFile(what="network of pnnx", limit=MAX_NETWORK_BYTES, error=ModelFormatError)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnFiles:
    """What ncnn loads.

    Attributes:
        network: path of the description, ``.param``.
        weights: path of the weights, ``.bin``.
    """

    network: Path
    weights: Path

    def text(self) -> str:
        """The description."""
        return _NETWORK_FILE.read_text(self.network)


def require_pnnx() -> Path:
    """Path of the program.

    Raises:
        ExtraError: it is not installed.
    """
    spec = find_spec("pnnx")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    found = [] if folder is None else [path for path in (folder / "pnnx", folder / "pnnx.exe") if path.is_file()]
    if not found:
        raise ExtraError(
            "The conversion for ncnn needs the program of the package pnnx.",
            hint="pip install --no-deps pnnx; PyTorch, which it depends on, is not used",
        )
    return found[0]


def run_pnnx(model: Path, made: NcnnFiles, shape: Sequence[int], *, is_half: bool) -> None:
    """Convert a model.

    Args:
        model: path of an ONNX file of float32; pnnx writes a dozen files beside it.
        made: paths of the results.
        shape: shape of the input, (1, 3, H, W).
        is_half: whether the weights are stored in float16.

    Raises:
        ExtraError: pnnx is not installed.
        ModelFormatError: pnnx did not make both files.
    """
    command = [
        str(require_pnnx()),
        str(model),
        f"inputshape=[{','.join(map(str, shape))}]f32",
        f"fp16={int(is_half)}",
        f"ncnnparam={made.network}",
        f"ncnnbin={made.weights}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 -- the program of an installed package
            command, cwd=model.parent, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_S
        )
        problem = f"exit code {done.returncode}: {done.stderr[-300:].strip()}"
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    if not (made.network.is_file() and made.weights.is_file()):
        raise ModelFormatError(
            f"pnnx made no files for ncnn of {model.name} ({problem}).", hint="use another version of pnnx"
        )
