"""Models how ncnn computes a network in half precision on Arm, for machines that have no half-precision arithmetic.

Every product, sum and transform rounds to float16, in the order in which ncnn accumulates: channel by channel into one
sum for each output of a tile. Transforms round after each term, which is more often than ncnn rounds. The embedding
layer has four sums for each output. Numbers below 6e-5 keep more digits than float16 has; numbers beyond 65504 are
refused.

References:
    ncnn, src/layer/arm/convolution_3x3_winograd_fp16s.h and convolution_arm_asimdhp.cpp: which layers take which tiles.
    Dekker, A Floating-Point Technique for Extending the Available Precision, Numerische Mathematik 18, 1971: rounding
    to fewer digits by two subtractions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import preprocess
from export.rewrite.cook_toom import interpolated

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

_SPLIT = np.float32(2**13 + 1)
"""Factor that splits the 24 digits of float32 so that the 11 of float16 remain."""
_LARGEST = 65504.0
_MOST_CHANNELS_6 = 128
"""Largest number of channels of a layer for which ncnn takes tiles of 6 x 6; it takes 4 x 4 for more."""
_LEAST_CHANNELS = 16
_EMBEDDING_SUMS = 4
_ROOT = 2**0.5
_POINTS = {6: (0, 1, -1, 2, -2, 0.5, -0.5), 4: (0, _ROOT / 2, -_ROOT / 2, _ROOT, -_ROOT), 2: (0, 1, -1)}
"""Points of ncnn's transforms, by the side of a tile; infinity is added."""
_BLOCK_VALUES = 1 << 18
"""Number of sums that are kept at a time, 1 MiB."""


_KINDS = ("Conv", "PRelu", "Relu", "Add", "Flatten", "Gemm")


def rounded(value: Float32Array) -> Float32Array:
    """Round to the digits of float16, in place."""
    shifted = value * _SPLIT
    np.subtract(shifted, value, out=value)
    np.subtract(shifted, value, out=value)
    return value


def tile_side(inputs: int, outputs: int) -> int:
    """Side of the tiles in which ncnn computes a convolution of stride 1 in half precision."""
    if max(inputs, outputs) <= _MOST_CHANNELS_6:
        return 6
    return 4 if min(inputs, outputs) >= _LEAST_CHANNELS else 2


class HalfPrecisionNetwork:
    """A network with half-precision arithmetic, computed in numpy.

    Args:
        model: a plain float32 network with layout ``nchw``.

    Raises:
        ModelFormatError: the network has an operator of another kind.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = list(model.graph.node)
        self._input = model.graph.input[0].name
        self._output = model.graph.output[0].name
        self._weights: Mapping[str, Float32Array] = {
            tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer
        }
        self._filters: dict[str, Float32Array] = {}
        unknown = {node.op_type for node in self._nodes} - set(_KINDS)
        if unknown:
            raise ModelFormatError(
                f"Expected a plain network of {', '.join(_KINDS)}, got {', '.join(sorted(unknown))}.",
                hint="convert the checkpoint again",
            )

    def forward(self, batch: Float32Array) -> Float32Array:
        """Compute embeddings, not normalized.

        Args:
            batch: (N, 3, H, W) float32, normalized pixels.

        Returns:
            (N, D) float32.

        Raises:
            ModelFormatError: a value is beyond the range of float16.
        """
        values = {self._input: rounded(np.array(batch, dtype=np.float32))}
        for node in self._nodes:
            inputs = [values[name] for name in node.input if name in values]
            made = self._compute(node, inputs)
            if not np.abs(made).max() <= _LARGEST:
                raise ModelFormatError(
                    f"{node.name} computes numbers beyond {_LARGEST:g}, the largest of float16.",
                    hint="use float32",
                )
            values[node.output[0]] = made
        return values[self._output]

    def _compute(self, node: onnx.NodeProto, inputs: list[Float32Array]) -> Float32Array:
        first = inputs[0]
        if node.op_type == "Conv":
            return self._convolution(node, first)
        if node.op_type == "PRelu":
            slopes = rounded(self._weights[node.input[1]].reshape(-1, 1, 1).copy())
            return np.where(first > 0, first, rounded(first * slopes))
        if node.op_type == "Relu":
            return np.maximum(first, 0)
        if node.op_type == "Add":
            return rounded(first + inputs[1])
        if node.op_type == "Flatten":
            return first.reshape(len(first), -1)
        return self._embedding(node, first)

    def _convolution(self, node: onnx.NodeProto, value: Float32Array) -> Float32Array:
        stride = next((word.ints[0] for word in node.attribute if word.name == "strides"), 1)
        weights = self._weights[node.input[1]]
        outputs, inputs = weights.shape[:2]
        padded = np.pad(value, ((0, 0), (0, 0), (1, 1), (1, 1)))
        if stride == 1 and max(inputs, outputs) >= _LEAST_CHANNELS:
            made = self._tiled(node.input[1], padded, tile_side(inputs, outputs))
        else:
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
            height, width = windows.shape[2:4]
            columns = windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(value), 9 * inputs, height * width)
            flat = rounded(weights.reshape(1, outputs, -1).copy())
            made = np.stack([_product(flat, one[None])[0] for one in columns]).reshape(-1, outputs, height, width)
        if len(node.input) > 2:
            made = rounded(made + rounded(self._weights[node.input[2]].reshape(-1, 1, 1).copy()))
        return made

    def _tiled(self, name: str, padded: Float32Array, side: int) -> Float32Array:
        """Convolve with stride 1 in tiles; the last ones reach beyond the image and are cut."""
        made = interpolated(_POINTS[side])
        size = side + 2
        if name not in self._filters:
            weights = self._weights[name].astype(np.float64)
            filtered = np.einsum("ik,ockl,jl->ijoc", made.weights, weights, made.weights)
            shape = (size * size, *weights.shape[:2])
            self._filters[name] = rounded(filtered.astype(np.float32)).reshape(shape)
        count, inputs, height, width = padded.shape
        rows, columns = -(-(height - 2) // side), -(-(width - 2) // side)
        more = ((0, 0), (0, 0), (0, rows * side + 2 - height), (0, columns * side + 2 - width))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(padded, more), (size, size), axis=(2, 3))
        tiles = windows[:, :, ::side, ::side].transpose(4, 5, 1, 0, 2, 3).reshape(size, size, inputs, -1)
        moved = _transformed(_transformed(tiles, made.inputs, 0), made.inputs, 1)
        products = _product(self._filters[name], moved.reshape(size * size, inputs, -1))
        outputs = products.shape[1]
        summed = products.reshape(size, size, outputs, -1)
        summed = _transformed(_transformed(summed, made.outputs, 0), made.outputs, 1)
        image = summed.reshape(side, side, outputs, count, rows, columns).transpose(3, 2, 4, 0, 5, 1)
        return image.reshape(count, outputs, rows * side, columns * side)[:, :, : height - 2, : width - 2]

    def _embedding(self, node: onnx.NodeProto, value: Float32Array) -> Float32Array:
        weights = rounded(self._weights[node.input[1]].copy())
        is_transposed = any(word.name == "transB" and word.i for word in node.attribute)
        rows = weights if is_transposed else weights.T  # (D, K)
        sums = [
            _product(
                np.ascontiguousarray(rows[None, :, part::_EMBEDDING_SUMS]),
                np.ascontiguousarray(value.T[None, part::_EMBEDDING_SUMS]),
            )[0]
            for part in range(_EMBEDDING_SUMS)
        ]
        total = rounded(rounded(sums[0] + sums[1]) + rounded(sums[2] + sums[3])).T
        return rounded(total + rounded(self._weights[node.input[2]].copy()))


class HalfPrecisionEmbedder:
    """Embeds crops as ncnn does in half precision.

    Args:
        model: see :class:`HalfPrecisionNetwork`.
        spec: specification of the network, with layout ``nchw``.
    """

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec) -> None:
        self._network = HalfPrecisionNetwork(model)
        self._spec = spec

    def forward(self, crops: UInt8Array) -> Float32Array:
        """Embed (N, H, W, 3) uint8 crops: (N, D) float32, not normalized."""
        return self._network.forward(preprocess(crops, self._spec))


def _transformed(value: Float32Array, matrix: Float64Array, axis: int) -> Float32Array:
    """Multiply one axis by a small matrix, rounding after each term."""
    moved = np.moveaxis(value, axis, 0)
    rows = []
    for coefficients in np.asarray(matrix, dtype=np.float32):
        total = np.zeros(moved.shape[1:], dtype=np.float32)
        for factor, one in zip(coefficients, moved, strict=True):
            if factor:
                total = rounded(total + factor * one)
        rows.append(total)
    return np.moveaxis(np.stack(rows), 0, axis)


def _product(left: Float32Array, right: Float32Array) -> Float32Array:
    """(B, M, K) times (B, K, N), with one sum for each result that rounds after each of K terms."""
    batch, outputs, terms = left.shape
    columns = right.shape[2]
    result = np.empty((batch, outputs, columns), dtype=np.float32)
    block = max(1, _BLOCK_VALUES // (batch * outputs))
    for start in range(0, columns, block):
        part = np.ascontiguousarray(right[:, :, start : start + block].transpose(1, 0, 2))
        total = np.zeros((batch, outputs, part.shape[2]), dtype=np.float32)
        term, shifted = np.empty_like(total), np.empty_like(total)
        for number in range(terms):
            np.multiply(left[:, :, number, None], part[number][:, None], out=term)
            np.add(total, term, out=total)
            np.multiply(total, _SPLIT, out=shifted)
            np.subtract(shifted, total, out=total)
            np.subtract(shifted, total, out=total)
        result[:, :, start : start + block] = total
    return result
