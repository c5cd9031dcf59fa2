"""ncnn with models converted by pnnx.

No wheel contains its INT8 tools (ncnn2table, ncnn2int8), so only float models are measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders.contender import FLOAT16, Peer, converted
from export.pnnx import NcnnFiles, run_pnnx

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="ncnn",
    title="ncnn",
    requirements=("ncnn", "numpy"),
    # pnnx depends on PyTorch (several GB) for a Python interface that is not used here: the converter is a program.
    without_dependencies=("pnnx",),
    settings="float32 weights and arithmetic, Winograd and packed layout on (ncnn's defaults); one crop after another, "
    "since ncnn has no batch",
    has_half=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        import ncnn

        param, weights = (converted(model, setup.folder, f".ncnn.{kind}") for kind in ("param", "bin"))
        if not (param.is_file() and weights.is_file()):
            _convert(model, setup, NcnnFiles(network=param, weights=weights))
        self._net = ncnn.Net()
        self._net.opt.num_threads = setup.threads
        half = setup.precision == FLOAT16
        self._net.opt.use_fp16_packed = self._net.opt.use_fp16_storage = self._net.opt.use_fp16_arithmetic = half
        if self._net.load_param(str(param)) or self._net.load_model(str(weights)):
            raise RuntimeError("ncnn does not load what pnnx made")
        self._mat = ncnn.Mat
        self.version = f"ncnn {ncnn.__version__}"

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:  # noqa: ARG002
        """Convert each crop to a matrix."""
        return [self._mat(picture).clone() for picture in batch]

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference per crop."""
        outputs = []
        for picture in prepared:
            extractor = self._net.create_extractor()
            extractor.input("in0", picture)
            outputs.append(np.array(extractor.extract("out0")[1]))
        return np.stack(outputs)


def _convert(model: Path, setup: Setup, made: NcnnFiles) -> None:
    copy = setup.folder / "source.onnx"  # pnnx writes a dozen files beside its input
    copy.write_bytes(model.read_bytes())
    run_pnnx(copy, made, (1, 3, setup.height, setup.width), is_half=False)
