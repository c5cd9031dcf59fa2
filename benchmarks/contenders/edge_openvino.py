"""This project's runtime on onnxruntime's OpenVINO provider, whose wheel excludes that of onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import edge
from benchmarks.contenders.contender import Peer
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.inference.telemetry import import_onnxruntime

if TYPE_CHECKING:
    from benchmarks.contenders.contender import Setup

PEER = Peer(
    name="edge_openvino",
    title="edge_sphereface, provider openvino",
    requirements=("onnxruntime-openvino>=1.24", "opencv-python-headless", "numpy"),
    settings="onnxruntime's OpenVINO provider; the runtime's defaults; input in the model's own layout",
    takes_quantized=True,
    takes_crops=True,
    is_ours=True,
)


class Contender(edge.Contender):
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        super().__init__(model, setup)
        self.version += f"; OpenVINO {_bundled_openvino()}"

    @staticmethod
    def config(setup: Setup) -> SessionConfig:
        """Settings of the session."""
        return SessionConfig(provider="openvino", threads=setup.threads)


def _bundled_openvino() -> str:
    """Version of OpenVINO in onnxruntime's wheel, by the name of its library."""
    (folder,) = import_onnxruntime().__path__
    names = [path.name for path in Path(folder).rglob("libopenvino.so.*")]
    versions = [name.removeprefix("libopenvino.so.") for name in names if name.count(".") > 2]
    return next(iter(versions), "of unknown version")
