"""The package mtcnn, which runs in TensorFlow, and the network in onnxruntime."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Peer, onnxruntime_plain
from benchmarks.pipeline.contenders.plain import PlainWay, from_keypoints

if TYPE_CHECKING:
    from benchmarks.pipeline.contenders.contender import Setup
    from benchmarks.pipeline.contenders.plain import Detected
    from edge_sphereface.types import UInt8Array

PEER = Peer(
    name="mtcnn_tensorflow",
    title="mtcnn (TensorFlow) and onnxruntime",
    requirements=("numpy", "opencv-python-headless", "onnxruntime", "mtcnn", "tensorflow-cpu"),
    settings="the package's and onnxruntime's defaults, threads set; our float network",
)


class Contender(PlainWay):
    """See :class:`benchmarks.pipeline.contenders.Contender`."""

    def __init__(self, setup: Setup) -> None:
        import tensorflow as tf
        from mtcnn import MTCNN

        tf.config.threading.set_intra_op_parallelism_threads(setup.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        network = onnxruntime_plain.Contender(Path(setup.model), setup.of_network())
        self._detector = MTCNN(device="CPU:0")
        self.version = f"mtcnn {version('mtcnn')}, TensorFlow {tf.__version__}, {network.version}"
        super().__init__(self._detect, network, setup)

    def _detect(self, image: UInt8Array) -> Detected:
        return from_keypoints(self._detector.detect_faces(image[..., ::-1]))
