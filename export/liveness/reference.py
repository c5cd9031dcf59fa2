"""Reference forward pass of a MiniFASNet in numpy, in float64, with explicit normalization.

It shares no code with the graph under test. The tests compare it with PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.liveness.network import EPSILON

if TYPE_CHECKING:
    from edge_sphereface.types import Float64Array, UInt8Array
    from export.liveness.network import Convolution, LivenessNetwork


class NumpyReference:
    """The network in numpy, accumulated in float64."""

    def __init__(self, network: LivenessNetwork) -> None:
        self._network = network
        self._parameters = {name: values.astype(np.float64) for name, values in network.parameters.items()}

    def logits(self, crops: UInt8Array) -> Float64Array:
        """Compute the values (N, classes) before the softmax of crops (N, H, W, 3) uint8 BGR."""
        return np.stack([self._classify(crop.transpose(2, 0, 1).astype(np.float64)) for crop in crops])

    def _classify(self, value: Float64Array) -> Float64Array:
        for block in self._network.blocks:
            before = value
            for layer in block.convolutions:
                value = self._convolve(value, layer)
            if block.gate:
                means = value.mean(axis=(1, 2), keepdims=True)
                hidden = np.maximum(self._convolve(means, block.gate[0]), 0)
                value = value * (1 + np.tanh(self._convolve(hidden, block.gate[1]) / 2)) / 2  # the logistic function
            if block.is_residual:
                value = value + before
        embedding = self._normalize(self._parameters["linear.weight"] @ value.reshape(-1), "bn")
        logits: Float64Array = self._parameters["prob.weight"] @ embedding
        return logits

    def _convolve(self, value: Float64Array, layer: Convolution) -> Float64Array:
        weights, side = self._parameters[f"{layer.name}.weight"], layer.padding
        padded = np.pad(value, ((0, 0), (side, side), (side, side)))
        rows, columns = weights.shape[2:]
        # one step of the loop per position of the kernel, which is several times as fast as a sum over windows
        shape = [
            (size - kernel) // layer.stride + 1 for size, kernel in zip(padded.shape[1:], (rows, columns), strict=True)
        ]
        value = np.zeros((len(weights), *shape))
        for row, column in np.ndindex(rows, columns):
            ends = [first + (count - 1) * layer.stride + 1 for first, count in zip((row, column), shape, strict=True)]
            part = padded[:, row : ends[0] : layer.stride, column : ends[1] : layer.stride]
            if layer.groups == 1:
                value += np.tensordot(weights[:, :, row, column], part, axes=1)
            else:
                value += weights[:, 0, row, column, None, None] * part
        value = self._normalize(value, layer.normalization)
        if not layer.slopes:
            return value
        return np.where(value > 0, value, self._parameters[layer.slopes][:, None, None] * value)

    def _normalize(self, value: Float64Array, name: str) -> Float64Array:
        shape = (-1, *[1] * (value.ndim - 1))
        gamma, beta, mean, variance = (
            self._parameters[f"{name}.{moment}"].reshape(shape)
            for moment in ("weight", "bias", "running_mean", "running_var")
        )
        result: Float64Array = (value - mean) / np.sqrt(variance + EPSILON) * gamma + beta
        return result
