"""Reference forward passes that an ONNX file is compared with: MindSpore, or a plain implementation in numpy.

Both read the parameters from the checkpoint and share no code with the graph under test.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np

from export.errors import ParityError
from export.naming import MOMENTS
from export.source_graph import require_as_computed

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.types import Float32Array, Float64Array
    from export.checkpoint import Checkpoint
    from export.topology import Topology

ReferenceName: TypeAlias = Literal["auto", "mindspore", "numpy"]
REFERENCE_NAMES: tuple[ReferenceName, ...] = ("auto", "mindspore", "numpy")


class Reference(Protocol):
    """A reference forward pass."""

    name: str
    version: str

    def forward(self, batch: Float32Array) -> Float32Array:
        """Compute embeddings, not normalized.

        Args:
            batch: (N, 3, H, W) float32, normalized pixels.

        Returns:
            (N, D) float32.
        """
        ...


def open_reference(name: ReferenceName, checkpoint: Checkpoint, topology: Topology) -> Reference:
    """Open the named reference; ``auto`` is MindSpore if it is installed and reads the file, else numpy.

    Raises:
        ParityError: MindSpore was requested by name, and is not installed or does not read the file.
        TopologyError: an ONNX graph computes something else than the network that was read from it.
    """
    is_readable = checkpoint.is_mindspore and topology.is_original
    if name == "numpy" or (name == "auto" and (find_spec("mindspore") is None or not is_readable)):
        reference = NumpyReference(checkpoint, topology)
        if checkpoint.graph is not None:
            require_as_computed(checkpoint.graph, reference, topology)
        return reference
    if not is_readable:
        raise ParityError(
            f"MindSpore does not read {checkpoint.path.name}, a {checkpoint.format}.", hint="use --reference numpy"
        )
    if find_spec("mindspore") is None:
        raise ParityError("MindSpore is not installed.", hint="pip install mindspore==2.10.*, or use --reference numpy")
    from export.mindspore_reference import MindsporeReference

    return MindsporeReference(checkpoint.path, topology)


class NumpyReference:
    """The network in numpy, accumulated in float64."""

    name = "numpy"
    version = np.__version__

    def __init__(self, checkpoint: Checkpoint, topology: Topology) -> None:
        self._topology = topology
        self._parameters: dict[str, Float64Array] = {
            name: checkpoint.read(source).astype(np.float64) for name, source in topology.parameters.items()
        }

    def forward(self, batch: Float32Array) -> Float32Array:
        """Compute embeddings one image at a time, which bounds the memory."""
        return np.stack([self._embed(picture.astype(np.float64)) for picture in batch]).astype(np.float32)

    def _embed(self, value: Float64Array) -> Float64Array:
        adds_last = self._topology.shortcut == "after_activation"
        for stage, number in self._topology.layers:
            layer, ends_pair = f"{stage}_{number}", number > 1 and number % 2 == 1
            if number % 2 == 0:
                shortcut = value
            value = self._convolve(value, f"conv{layer}", stride=2 if number == 1 else 1)
            value = self._normalize(value, f"bn{layer}")
            if ends_pair and not adds_last:
                value = value + shortcut
            slope = self._parameters[f"relu{layer}.w"][:, None, None] if self._topology.activation == "prelu" else 0
            value = np.where(value > 0, value, slope * value)
            if ends_pair and adds_last:
                value = value + shortcut
        embedding = self._parameters["fc5.weight"] @ value.reshape(-1) + self._parameters["fc5.bias"]
        return self._normalize(embedding, "bn5")

    def _convolve(self, value: Float64Array, name: str, *, stride: int) -> Float64Array:
        padded = np.pad(value, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
        result: Float64Array = np.tensordot(self._parameters[f"{name}.weight"], windows, axes=((1, 2, 3), (0, 3, 4)))
        bias: Any = self._parameters.get(f"{name}.bias")
        return result if bias is None else result + bias[:, None, None]

    def _normalize(self, value: Float64Array, name: str) -> Float64Array:
        """Normalize by the statistics of the training, if the network has them."""
        if f"{name}.gamma" not in self._parameters:
            return value
        shape = (-1, *[1] * (value.ndim - 1))
        gamma, beta, mean, variance = (self._parameters[f"{name}.{moment}"].reshape(shape) for moment in MOMENTS)
        normalized: Float64Array = (value - mean) / np.sqrt(variance + self._topology.epsilon)
        return normalized * gamma + beta


def describe(reference: Reference, path: Path) -> str:
    """Describe a reference, for example ``mindspore 2.10.0 on x.ckpt``."""
    return f"{reference.name} {reference.version} on {path.name}"
