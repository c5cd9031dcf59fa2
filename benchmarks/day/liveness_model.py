"""A small liveness model that is trained on rendered faces and prints: published weights are not at hand.

It shows how a veto works from the model's file to the events. It says nothing about real faces and real prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge_sphereface import __version__
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.liveness.crop import crop_around, is_checkable
from edge_sphereface.liveness.spec import METADATA_KEY, LivenessSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.types import Float64Array, UInt8Array

ARCHITECTURE = "linear, of mean differences between neighboring pixels in 10 x 10 parts of the crop"
_SIDE, _SCALE, _POOL = 80, 2.7, 8
_LIVE_CLASS = 1
_SHRINKAGE = 30.0
_STEEP = 4.0
"""Factor from the regression's values, about -1 for prints and 1 for faces, to the logit."""


def crops_of(frames: Iterable[UInt8Array], detector: Detector) -> list[UInt8Array]:
    """The crops that a checker would cut out of frames: of the largest face of each."""
    crops = []
    for frame in frames:
        faces = detector.detect(frame)
        if faces:
            box = max(faces, key=lambda face: face.area).box
            if is_checkable(frame, box):
                crops.append(crop_around(frame, box, scale=_SCALE, side=_SIDE))
    return crops


def train(live: Sequence[UInt8Array], prints: Sequence[UInt8Array], path: Path) -> None:
    """Fit the model by ridge regression, and write its file.

    Args:
        live: crops (80, 80, 3) uint8 BGR of rendered faces.
        prints: crops of rendered prints.
        path: of the ONNX file.
    """
    features = np.stack([_features(crop) for crop in (*live, *prints)])
    wanted = np.concatenate([np.full(len(live), 1 / len(live)), np.full(len(prints), -1 / len(prints))])
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-3
    normal = (features - middle) / spread
    weights = np.abs(wanted)[:, None] * normal  # both kinds count alike
    solved = np.linalg.solve(
        normal.T @ weights + np.eye(normal.shape[1]) * _SHRINKAGE / len(features), normal.T @ wanted
    )
    slopes = _STEEP * solved / spread
    _write(slopes, -float(slopes @ middle), path)


def count_errors(path: Path, crops: Sequence[tuple[UInt8Array, bool]]) -> int:
    """Number of crops that a model decides wrongly at 0.5.

    Args:
        path: of the ONNX file.
        crops: each with whether it is of a face.
    """
    session, _ = open_session(path, SessionConfig(threads=1))
    (probabilities,) = session.run(None, {"crops": np.stack([crop for crop, _ in crops])})
    wanted = np.array([is_live for _, is_live in crops])
    return int(((probabilities[:, _LIVE_CLASS] >= 0.5) != wanted).sum())


def _features(crop: UInt8Array) -> Float64Array:
    parts = _SIDE // _POOL
    gray = crop.astype(np.float64).mean(axis=2)
    padded = np.pad(gray, (0, 1))  # as the graph's convolution does
    edges = np.abs(padded[:-1, 1:] - gray) + np.abs(padded[1:, :-1] - gray)
    return np.asarray(edges.reshape(parts, _POOL, parts, _POOL).mean(axis=(1, 3)).ravel(), dtype=np.float64)


def _write(slopes: Float64Array, offset: float, path: Path) -> None:
    spec = LivenessSpec(
        architecture=ARCHITECTURE,
        side=_SIDE,
        crop_scale=_SCALE,
        live_class=_LIVE_CLASS,
        classes=2,
        source_file="trained by benchmarks.day on rendered faces and prints",
        source_sha256="0" * 64,
        exporter_version=__version__,
    )
    weights = np.stack([np.zeros_like(slopes), slopes], axis=1).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["crops"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["gray"], axes=[3], keepdims=0),
        helper.make_node("Unsqueeze", ["gray", "channel"], ["plane"]),
        helper.make_node("Conv", ["plane", "differences"], ["edges"], pads=[0, 0, 1, 1]),
        helper.make_node("Abs", ["edges"], ["sizes"]),
        helper.make_node("ReduceSum", ["sizes", "channel"], ["both"], keepdims=1),
        helper.make_node("AveragePool", ["both"], ["means"], kernel_shape=[_POOL, _POOL], strides=[_POOL, _POOL]),
        helper.make_node("Flatten", ["means"], ["features"], axis=1),
        helper.make_node("Gemm", ["features", "weights", "offsets"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "made liveness",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", _SIDE, _SIDE, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [
            helper.make_tensor("channel", TensorProto.INT64, [1], [1]),
            helper.make_tensor("differences", TensorProto.FLOAT, [2, 1, 2, 2], [-1, 1, 0, 0, -1, 0, 1, 0]),
            helper.make_tensor("weights", TensorProto.FLOAT, weights.shape, weights.ravel()),
            helper.make_tensor("offsets", TensorProto.FLOAT, [2], [0.0, offset]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, path)
