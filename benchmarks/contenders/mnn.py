"""MNN with its own converter."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders.contender import FLOAT16, Peer, converted

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="mnn",
    title="MNN",
    requirements=("MNN", "numpy"),
    settings="CPU backend, precision high (float32), module interface, rearranged weights, fixed input shape",
    dynamic_batch=False,
    has_half=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        import MNN  # type: ignore[import-not-found]

        target = converted(model, setup.folder, ".mnn")
        if not target.is_file():
            # The program `mnnconvert` is not used: it installs a package and reports the conversion before it ends.
            program = [sys.executable, "-c", "import sys, _tools, MNN; _tools.mnnconvert(sys.argv)"]
            arguments = ["-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(target), "--bizCode", "edge"]
            done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
            if not target.is_file():
                raise RuntimeError(f"mnnconvert made no file: {(done.stdout + done.stderr)[-300:]}")
        precision = "low" if setup.precision == FLOAT16 else "high"
        manager = MNN.nn.create_runtime_manager(({"backend": 0, "precision": precision, "numThread": setup.threads},))
        # Weights are packed for the processor on loading, not in each inference
        self._net = MNN.nn.load_module_from_file(
            str(target), ["input"], ["embedding"], runtime_manager=manager, rearrange=True
        )
        self._mnn = MNN
        self.version = f"MNN {MNN.version() if callable(getattr(MNN, 'version', None)) else ''}".strip()

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:  # noqa: ARG002
        """Fill a placeholder of the batch's shape."""
        value = self._mnn.expr.placeholder(list(batch.shape), self._mnn.expr.NCHW)
        value.write(batch)
        return value

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        return np.array(self._net.forward([prepared])[0].read())
