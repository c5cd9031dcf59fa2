"""MindSpore on the CPU: the network of the checkpoint, compiled in graph mode."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.contender import Peer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="mindspore_cpu",
    title="MindSpore CPU",
    requirements=("mindspore>=2.10,<2.11", "ml-dtypes", "safetensors", "numpy"),
    settings="graph mode, float32; oneDNN held to AVX2, since on some AVX-512 processors its convolutions fall back to "
    "reference code 80 times slower",
    needs_checkpoint=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        os.environ["OMP_NUM_THREADS"] = str(setup.threads)
        import mindspore

        from export.checkpoint import open_checkpoint
        from export.mindspore_reference import MindsporeReference
        from export.topology import infer_topology

        mindspore.set_context(runtime_num_threads=setup.threads)
        with open_checkpoint(model) as checkpoint:
            topology = infer_topology(checkpoint.entries)
        self._reference = MindsporeReference(model, topology)
        self.version = f"MindSpore {self._reference.version}"

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:  # noqa: ARG002
        """Convert the input to floats, as in the original."""
        return batch

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        return self._reference.forward(prepared)
