"""Compute 3 x 3 convolutions of stride 1 by Winograd's minimal filtering, in standard ONNX operators.

The activations of a stage are split into tiles of r x c outputs and keep this layout between its layers, as rows of
channels ``[(r c + 1) T, N, C]`` with T tiles per image. Row ``q T + t`` holds cell q of tile t. The last T rows are
zero and represent the outside of the image. One layer is

1. ``Gather`` by a constant index: the (r + 2)(c + 2) inputs of every tile, ``[(r + 2)(c + 2) T, N, C]``;
2. ``MatMul`` with the constant input transform;
3. one batched ``MatMul`` with the transformed weights, (r + 2)(c + 2) matrices of C x C;
4. ``MatMul`` with the constant output transform, whose last row is zero: it writes the zeros for the next layer;
5. ReLU, or PReLU as ``Max(x, a x)`` (every a <= 1) or ``a x + (1 - a) Relu(x)``; the residual ``Add``.

The batch is an inner axis, so the same matrices serve any batch size. Weights grow by a factor of (r + 2)(c + 2) / 9.
Products per output fall by a factor of 9 r c / ((r + 2)(c + 2)): 2.25 for 2 x 2, 4 for 4 x 4.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from edge_sphereface.model.tuning import MATRICES
from export.graph import INPUT_NAME
from export.rewrite.cook_toom import TAPS, transforms
from export.rewrite.prelu import decompose_prelu
from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array, Int64Array
    from export.rewrite.tile import Tile
    from export.rewrite.weights import Weights

_CONVOLUTION = re.compile(r"conv(\d)_(\d+)$")


def to_winograd(model: onnx.ModelProto, tiles: Mapping[int, Tile]) -> onnx.ModelProto:
    """Compute stages by Winograd's filtering, and decompose PRelu of the other stages (:func:`decompose_prelu`).

    Args:
        model: model that :func:`export.graph.build_graph` made, or one stage of it; it is not modified.
        tiles: tiles by stage, 1 to 4; other stages are computed directly.
    """
    weights = read_weights(model)
    writer = _Writer(tiles, _image_size(model), weights)
    for node in model.graph.node:
        writer.add(node)
    writer.leave(model.graph.output[0].name)
    return decompose_prelu(rebuild(model, writer.nodes, weights))


def _image_size(model: onnx.ModelProto) -> tuple[int, int]:
    shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    return (shape[1], shape[2]) if model.graph.input[0].name == INPUT_NAME["image"] else (shape[2], shape[3])


class _Writer:
    """Copies nodes, and rewrites the stages that are split into tiles."""

    def __init__(self, tiles: Mapping[int, Tile], image: tuple[int, int], weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._tiles = tiles
        self._size = image
        self._weights = weights
        self._stage: _Stage | None = None

    def add(self, node: onnx.NodeProto) -> None:
        found = _CONVOLUTION.match(node.name)
        if found is not None and found[2] == "1":
            self.leave(node.input[0])
            self._size = ((self._size[0] + 1) // 2, (self._size[1] + 1) // 2)
        elif found is not None and self._stage is None and int(found[1]) in self._tiles:
            number = int(found[1])
            self._stage = _Stage(f"stage{number}", self._tiles[number], self._size, self.nodes, self._weights)
            self._stage.enter(node.input[0], channels=self._weights[node.input[1]].shape[1])
        elif node.name == "flatten":
            self.leave(node.input[0])
        if self._stage is None:
            self.nodes.append(node)
        elif node.op_type == "Conv":
            self._stage.convolution(node)
        elif node.op_type == "PRelu":
            self._stage.prelu(node)
        else:
            rows = list(map(self._stage.name, node.input))
            self.nodes.append(helper.make_node(node.op_type, rows, [f"{node.name}.rows"]))

    def leave(self, tensor: str) -> None:
        """Restore the original shape of a stage's result before another node reads it."""
        if self._stage is not None:
            self._stage.leave(tensor)
            self._stage = None


class _Stage:
    """Writes the nodes of one stage that is split into tiles."""

    def __init__(
        self, name: str, tile: Tile, size: tuple[int, int], nodes: list[onnx.NodeProto], weights: Weights
    ) -> None:
        self._name, self._tile, self._nodes, self._weights = name, tile, nodes, weights
        self._height, self._width = size
        self._down, self._across = -(-size[0] // tile.rows), -(-size[1] // tile.columns)
        self._input = ""
        self._by_rows, self._by_columns = transforms(tile.rows), transforms(tile.columns)

    def name(self, tensor: str) -> str:
        """Name of the tensor of rows that represents a tensor of the original graph."""
        return f"{self._name}.rows" if tensor == self._input else f"{tensor}.rows"

    def enter(self, tensor: str, channels: int) -> None:
        """Convert (N, C, H, W) to rows of channels by tiles."""
        self._input = tensor
        at = np.full(self._rows, self._height * self._width)
        at[self._row_of_pixel()] = np.arange(self._height * self._width)
        pixels = self._reshape(tensor, [0, channels, self._height * self._width], "pixels")
        rows = self._node("Transpose", [pixels], "by_pixel", perm=[2, 0, 1])
        padded = self._node("Pad", [rows, self._constant([0, 0, 0, 1, 0, 0], "pads")], "padded")
        self._node("Gather", [padded, self._constant(at, "tile_of_pixel")], "rows", axis=0)
        self._constant(self._inputs_of_tiles(), "inputs_of_tiles")
        self._weights[f"{self._name}.input_transform"] = _as_float(
            np.kron(self._by_rows.inputs, self._by_columns.inputs)
        )
        outputs = np.kron(self._by_rows.outputs, self._by_columns.outputs)
        self._weights[f"{self._name}.output_transform"] = _as_float(np.vstack([outputs, np.zeros(outputs.shape[1])]))

    def leave(self, tensor: str) -> None:
        """Convert rows back to (N, C, H, W), under the name of the tensor in the original graph."""
        at = self._constant(self._row_of_pixel(), "rows_of_pixels")
        rows = self._node("Gather", [self.name(tensor), at], "cells", axis=0)
        turned = self._node("Transpose", [rows], "turned", perm=[1, 2, 0])
        shape = self._constant([0, 0, self._height, self._width], "shape")
        self._nodes.append(helper.make_node("Reshape", [turned, shape], [tensor], name=f"{self._name}.image"))

    def convolution(self, node: onnx.NodeProto) -> None:
        """Write one layer up to its output transform."""
        kernel = self._weights[node.input[1]].astype(np.float64)
        count, channels = kernel.shape[:2]
        made = np.einsum("rk,oikl,cl->rcio", self._by_rows.weights, kernel, self._by_columns.weights)
        matrices = _as_float(made.reshape(self._tile.cells, channels, count))
        name = node.name
        rows = [self.name(node.input[0]), f"{self._name}.inputs_of_tiles"]
        taken = self._node("Gather", rows, f"{name}.tiles", axis=0)
        flat = self._reshape(taken, [self._tile.cells, -1], f"{name}.flat")
        moved = self._node("MatMul", [f"{self._name}.input_transform", flat], f"{name}.moved")
        moved = self._reshape(moved, [self._tile.cells, -1, channels], f"{name}.factors")
        if self._tile.weights_first:
            turned = self._node("Transpose", [moved], f"{name}.turned", perm=[0, 2, 1])
            self._weights[f"{name}{MATRICES}"] = np.ascontiguousarray(matrices.transpose(0, 2, 1))
            product = self._node("MatMul", [f"{name}{MATRICES}", turned], f"{name}.product")
        else:
            self._weights[f"{name}{MATRICES}"] = matrices
            product = self._node("MatMul", [moved, f"{name}{MATRICES}"], f"{name}.product")
        product = self._biased(node, product)
        flat = self._reshape(product, [self._tile.cells, -1], f"{name}.sums")
        cells = self._node("MatMul", [f"{self._name}.output_transform", flat], f"{name}.cells")
        if self._tile.weights_first:
            shaped = self._reshape(cells, [self._tile.rows * self._tile.columns + 1, count, -1], f"{name}.shaped")
            cells = self._node("Transpose", [shaped], f"{name}.back", perm=[0, 2, 1])
        self._reshape(cells, [self._rows, -1, count], f"{name}.rows")

    def _biased(self, node: onnx.NodeProto, product: str) -> str:
        """Add a bias before the output transform, so that the rows of zeros stay zero."""
        if len(node.input) < 3:
            return product
        both = (self._by_rows, self._by_columns)
        ones = [np.linalg.lstsq(made.outputs, np.ones(len(made.outputs)), rcond=None)[0] for made in both]
        added = _as_float(np.outer(np.kron(*ones), self._weights[node.input[2]].astype(np.float64)))
        axis = 2 if self._tile.weights_first else 1
        self._weights[f"{node.name}.moved_bias"] = np.expand_dims(added, axis)
        return self._node("Add", [product, f"{node.name}.moved_bias"], f"{node.name}.biased")

    def prelu(self, node: onnx.NodeProto) -> None:
        """Write a PReLU of rows, whose last axis are the channels."""
        slope, rows, name = self._weights[node.input[1]].reshape(-1), self.name(node.input[0]), node.name
        self._weights[f"{name}.slope"] = slope
        scaled = self._node("Mul", [rows, f"{name}.slope"], f"{name}.scaled")
        if (slope <= 1).all():
            self._node("Max", [rows, scaled], f"{name}.rows")
            return
        self._weights[f"{name}.rest"] = 1 - slope
        rest = self._node("Mul", [self._node("Relu", [rows], f"{name}.positive"), f"{name}.rest"], f"{name}.product")
        self._node("Add", [scaled, rest], f"{name}.rows")

    @property
    def _tiles(self) -> int:
        return self._down * self._across

    @property
    def _rows(self) -> int:
        return (self._tile.rows * self._tile.columns + 1) * self._tiles

    def _row(self, y: Int64Array, x: Int64Array) -> Int64Array:
        """Index of the row of a pixel; outside the image, that of a row of zeros."""
        rows, columns = self._tile.rows, self._tile.columns
        cell, tile = (y % rows) * columns + x % columns, (y // rows) * self._across + x // columns
        inside = (y >= 0) & (y < self._height) & (x >= 0) & (x < self._width)
        return np.where(inside, cell * self._tiles + tile, rows * columns * self._tiles)

    def _row_of_pixel(self) -> Int64Array:
        y, x = np.divmod(np.arange(self._height * self._width), self._width)
        return self._row(y, x)

    def _inputs_of_tiles(self) -> Int64Array:
        """Indices of the rows that hold the inputs of every tile, (cells * T,)."""
        down, across = np.divmod(np.arange(self._tiles), self._across)
        r, c = np.divmod(np.arange(self._tile.cells), self._tile.columns + TAPS - 1)
        y = down[None] * self._tile.rows + r[:, None] - 1
        x = across[None] * self._tile.columns + c[:, None] - 1
        return self._row(y, x).reshape(-1)

    def _reshape(self, tensor: str, shape: list[int], name: str) -> str:
        wanted = f"shape.{'_'.join(map(str, shape))}"
        self._weights[wanted] = np.array(shape, dtype=np.int64)
        return self._node("Reshape", [tensor, wanted], name)

    def _constant(self, values: object, name: str) -> str:
        full = f"{self._name}.{name}"
        self._weights[full] = np.asarray(values, dtype=np.int64)
        return full

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        full = name if name.startswith(("conv", "relu")) else f"{self._name}.{name}"
        self._nodes.append(helper.make_node(kind, inputs, [full], name=full, **attributes))
        return full


def _as_float(values: ArrayLike) -> Float32Array:
    return np.ascontiguousarray(values, dtype=np.float32)
