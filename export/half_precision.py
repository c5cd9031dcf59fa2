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

import math
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import preprocess
from export.rewrite.cook_toom import interpolated
from export.rounded_product import fastest_product, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array
    from export.rewrite.cook_toom import Transforms
    from export.rounded_product import RoundedProduct

_LARGEST = 65504.0
_MOST_CHANNELS_6 = 128
"""Largest number of channels of a layer for which ncnn takes tiles of 6 x 6; it takes 4 x 4 for more."""
_LEAST_CHANNELS = 16
_EMBEDDING_SUMS = 4
_ROOT = 2**0.5
_POINTS = {6: (0, 1, -1, 2, -2, 0.5, -0.5), 4: (0, _ROOT / 2, -_ROOT / 2, _ROOT, -_ROOT), 2: (0, 1, -1)}
"""Points of ncnn's transforms, by the side of a tile; infinity is added."""
_KINDS = ("Conv", "PRelu", "Relu", "Add", "Flatten", "Gemm")


def tile_side(inputs: int, outputs: int) -> int:
    """Side of the tiles in which ncnn computes a convolution of stride 1 in half precision."""
    if max(inputs, outputs) <= _MOST_CHANNELS_6:
        return 6
    return 4 if min(inputs, outputs) >= _LEAST_CHANNELS else 2


class HalfPrecisionNetwork:
    """A network with half-precision arithmetic.

    Args:
        model: a plain float32 network with layout ``nchw``.
        product: what computes the products; None for the fastest here.

    Attributes:
        versions: packages that compute the products, with their versions.

    Raises:
        ModelFormatError: the network has an operator of another kind.
    """

    def __init__(self, model: onnx.ModelProto, product: RoundedProduct | None = None) -> None:
        product = product or fastest_product()
        self.versions = product.versions
        self._product = product.compute
        self._nodes = list(model.graph.node)
        self._input = model.graph.input[0].name
        self._output = model.graph.output[0].name
        unknown = {node.op_type for node in self._nodes} - set(_KINDS)
        if unknown:
            raise ModelFormatError(
                f"Expected a plain network of {', '.join(_KINDS)}, got {', '.join(sorted(unknown))}.",
                hint="convert the checkpoint again",
            )
        weights = {one.name: numpy_helper.to_array(one).astype(np.float32) for one in model.graph.initializer}
        tiled = {node.input[1] for node in self._nodes if node.op_type == "Conv" and _is_tiled(node, weights)}
        self._filters = {name: _filtered(weights[name]) for name in tiled}
        self._weights = {name: rounded(value) for name, value in weights.items() if name not in tiled}

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
            slopes = self._weights[node.input[1]].reshape(-1, 1, 1)
            return np.where(first > 0, first, rounded(first * slopes))
        if node.op_type == "Relu":
            return np.maximum(first, 0)
        if node.op_type == "Add":
            return rounded(first + inputs[1])
        if node.op_type == "Flatten":
            return first.reshape(len(first), -1)
        return self._embedding(node, first)

    def _convolution(self, node: onnx.NodeProto, value: Float32Array) -> Float32Array:
        padded = np.pad(value, ((0, 0), (0, 0), (1, 1), (1, 1)))
        if node.input[1] in self._filters:
            made = self._tiled(self._filters[node.input[1]], padded)
        else:
            made = self._windowed(self._weights[node.input[1]], padded, _stride(node))
        if len(node.input) > 2:
            made = rounded(made + self._weights[node.input[2]].reshape(-1, 1, 1))
        return made

    def _windowed(self, weights: Float32Array, padded: Float32Array, stride: int) -> Float32Array:
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::stride, ::stride]
        count, inputs, height, width = windows.shape[:4]
        columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(1, 9 * inputs, -1)
        made = self._product(weights.reshape(1, len(weights), -1), columns)
        return made.reshape(len(weights), count, height, width).transpose(1, 0, 2, 3)

    def _tiled(self, filters: Float32Array, padded: Float32Array) -> Float32Array:
        """Convolve with stride 1 in tiles; the last ones reach beyond the image and are cut."""
        size = math.isqrt(len(filters))
        side = size - 2
        made = _transforms(side)
        count, inputs, height, width = padded.shape
        rows, columns = -(-(height - 2) // side), -(-(width - 2) // side)
        more = ((0, 0), (0, 0), (0, rows * side + 2 - height), (0, columns * side + 2 - width))
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(padded, more), (size, size), axis=(2, 3))
        tiles = windows[:, :, ::side, ::side].transpose(4, 5, 1, 0, 2, 3).reshape(size, size, -1)
        moved = self._transformed(tiles, made.inputs)
        products = self._product(filters, moved.reshape(size * size, inputs, -1))
        outputs = products.shape[1]
        summed = self._transformed(products.reshape(size, size, -1), made.outputs)
        image = summed.reshape(side, side, outputs, count, rows, columns).transpose(3, 2, 4, 0, 5, 1)
        return image.reshape(count, outputs, rows * side, columns * side)[:, :, : height - 2, : width - 2]

    def _transformed(self, value: Float32Array, matrix: Float64Array) -> Float32Array:
        """Multiply either side of tiles by a small matrix: (S, S, N) becomes (R, R, N) by a matrix (R, S)."""
        small = matrix.astype(np.float32)[None]
        size = len(value)
        once = self._product(small, value.reshape(1, size, -1)).reshape(-1, size, value.shape[2])
        return self._product(np.repeat(small, len(once), axis=0), once)

    def _embedding(self, node: onnx.NodeProto, value: Float32Array) -> Float32Array:
        weights = self._weights[node.input[1]]
        is_transposed = any(word.name == "transB" and word.i for word in node.attribute)
        rows = weights if is_transposed else weights.T  # (D, K)
        sums = [
            self._product(
                np.ascontiguousarray(rows[None, :, part::_EMBEDDING_SUMS]),
                np.ascontiguousarray(value.T[None, part::_EMBEDDING_SUMS]),
            )[0]
            for part in range(_EMBEDDING_SUMS)
        ]
        total = rounded(rounded(sums[0] + sums[1]) + rounded(sums[2] + sums[3])).T
        return rounded(total + self._weights[node.input[2]])


@cache
def _transforms(side: int) -> Transforms:
    return interpolated(_POINTS[side])


def _stride(node: onnx.NodeProto) -> int:
    return next((word.ints[0] for word in node.attribute if word.name == "strides"), 1)


def _is_tiled(node: onnx.NodeProto, weights: Mapping[str, Float32Array]) -> bool:
    return _stride(node) == 1 and max(weights[node.input[1]].shape[:2]) >= _LEAST_CHANNELS


def _filtered(weights: Float32Array) -> Float32Array:
    """Transform the weights (O, I, 3, 3) of a layer into those of its tiles, (S * S, O, I)."""
    outputs, inputs = weights.shape[:2]
    matrix = _transforms(tile_side(inputs, outputs)).weights
    filtered = np.einsum("ik,ockl,jl->ijoc", matrix, weights.astype(np.float64), matrix)
    return rounded(filtered.astype(np.float32)).reshape(-1, outputs, inputs)


class HalfPrecisionEmbedder:
    """Embeds crops as ncnn does in half precision, a share of a batch on each processor.

    Args:
        model: see :class:`HalfPrecisionNetwork`.
        spec: specification of the network, with layout ``nchw``.

    Attributes:
        versions: packages that compute, with their versions.
    """

    def __init__(self, model: onnx.ModelProto, spec: ModelSpec) -> None:
        self._network = HalfPrecisionNetwork(model)
        self._spec = spec
        self.versions = self._network.versions

    def forward(self, crops: UInt8Array) -> Float32Array:
        """Embed (N, H, W, 3) uint8 crops: (N, D) float32, not normalized."""
        shares = np.array_split(crops, min(len(crops), usable_cpus()))
        with ThreadPoolExecutor(len(shares)) as pool:
            return np.concatenate(list(pool.map(self._embed, shares)))

    def _embed(self, crops: UInt8Array) -> Float32Array:
        return self._network.forward(preprocess(crops, self._spec))
