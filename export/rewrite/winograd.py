"""Compute 3 x 3 convolutions by Winograd's minimal filtering, in standard ONNX operators.

The activations are cut into tiles of r x c outputs and keep this layout between layers, as rows of channels
(:class:`~export.rewrite.grid.Grid`). One layer of stride 1 is

1. ``Pad`` by one row of zeros, which represents the outside of the image;
2. ``Gather`` by a constant index: the (r + 2)(c + 2) inputs of every tile, ``[(r + 2)(c + 2) T, N, C]``;
3. ``MatMul`` with the constant input transform, or two for rows and columns;
4. products with the transformed weights, (r + 2)(c + 2) matrices of C x C, in one batched ``MatMul`` or one for each;
5. ``MatMul`` with the constant output transform, or two; the bias;
6. ReLU, or PReLU as ``Max(x, a x)`` (every a <= 1) or ``a x + (1 - a) Relu(x)``; the residual ``Add``.

The batch is an inner axis, so the same matrices serve any batch size. Weights grow by a factor of (r + 2)(c + 2) / 9.
Products per output fall by a factor of 9 r c / ((r + 2)(c + 2)): 2.25 for 2 x 2, 4 for 4 x 4. With stride 2, a tile has
(2 r + 1)(2 c + 1) inputs and products, see :mod:`~export.rewrite.cook_toom`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from onnx import helper

from edge_sphereface.model.tuning import MATRICES
from export.graph import INPUT_NAME
from export.rewrite.cook_toom import TAPS, transforms
from export.rewrite.grid import Grid
from export.rewrite.prelu import decomposed
from export.rewrite.tile import StageForm
from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array
    from export.rewrite.tile import Tile
    from export.rewrite.weights import Weights

_CONVOLUTION = re.compile(r"conv(\d)_(\d+)$")


def to_winograd(model: onnx.ModelProto, forms: Mapping[int, StageForm], *, check: bool = True) -> onnx.ModelProto:
    """Compute layers by Winograd's filtering, and decompose PRelu of the others (:mod:`export.rewrite.prelu`).

    Args:
        model: model that :func:`export.graph.build_graph` made, or one stage of it; it is not modified.
        forms: forms by stage, 1 to 4; other stages are computed directly.
        check: whether ``onnx.checker`` checks the result.
    """
    weights = read_weights(model)
    writer = _Writer(forms, _image_size(model), weights)
    for node in model.graph.node:
        writer.add(node)
    writer.image(model.graph.output[0].name)
    return rebuild(model, decomposed(writer.nodes, weights), weights, check=check)


def _image_size(model: onnx.ModelProto) -> tuple[int, int]:
    shape = [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim]
    return (shape[1], shape[2]) if model.graph.input[0].name == INPUT_NAME["image"] else (shape[2], shape[3])


class _Rows(NamedTuple):
    """A tensor of rows of channels that represents a tensor of the original graph."""

    name: str
    grid: Grid
    channels: int


class _Writer:
    """Copies nodes, and rewrites the layers that are computed in tiles."""

    def __init__(self, forms: Mapping[int, StageForm], image: tuple[int, int], weights: Weights) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._forms = forms
        self._size = image
        self._weights = weights
        self._rows: dict[str, _Rows] = {}
        """Tensors of rows by the name of the tensor that they represent."""
        self._images: set[str] = set()
        """Tensors that exist as rows and as in the original graph."""

    def add(self, node: onnx.NodeProto) -> None:
        """Write a node of the original graph."""
        convolution = _CONVOLUTION.match(node.name)
        if convolution is not None:
            form = self._forms.get(int(convolution[1]), StageForm())
            tile = form.tile(int(convolution[2]))
            if tile is not None:
                self._convolution(node, tile)
                return
        elif node.op_type == "PRelu" and node.input[0] in self._rows:
            self._prelu(node)
            return
        elif node.op_type in ("Relu", "Add") and node.input[-1] in self._rows:
            self._elementwise(node)
            return
        for name in node.input:
            self.image(name)
        self.nodes.append(node)
        if convolution is not None:
            self._size = self._size_after(_stride(node))

    def image(self, tensor: str) -> None:
        """Write a tensor in its original shape, (N, C, H, W), if it exists only as rows."""
        rows = self._rows.get(tensor)
        if rows is None or tensor in self._images:
            return
        self._images.add(tensor)
        grid = rows.grid
        at = self._constant(grid.row_of_pixel(), f"{tensor}.rows_of_pixels")
        taken = self._node("Gather", [rows.name, at], f"{tensor}.pixels", axis=0)
        turned = self._node("Transpose", [taken], f"{tensor}.planes", perm=[1, 2, 0])
        shape = self._constant([0, 0, grid.height, grid.width], f"{tensor}.shape")
        self.nodes.append(helper.make_node("Reshape", [turned, shape], [tensor], name=f"{tensor}.image"))

    def _size_after(self, stride: int) -> tuple[int, int]:
        return -(-self._size[0] // stride), -(-self._size[1] // stride)

    def _as_rows(self, tensor: str, channels: int) -> _Rows:
        """Return the rows of a tensor, which are in the order of its pixels if it was an image until now."""
        if tensor not in self._rows:
            grid = Grid(height=self._size[0], width=self._size[1])
            flat = self._reshape(tensor, [0, channels, grid.size], f"{tensor}.flat")
            rows = self._node("Transpose", [flat], f"{tensor}.rows", perm=[2, 0, 1])
            self._rows[tensor] = _Rows(rows, grid, channels)
            self._images.add(tensor)
        return self._rows[tensor]

    def _convolution(self, node: onnx.NodeProto, tile: Tile) -> None:
        kernel, stride = self._weights[node.input[1]], _stride(node)
        count, channels = kernel.shape[:2]
        source = self._as_rows(node.input[0], channels)
        self._size = self._size_after(stride)
        grid = Grid(height=self._size[0], width=self._size[1], rows=tile.rows, columns=tile.columns)
        both = (transforms(tile.rows, stride), transforms(tile.columns, stride))
        name = node.name
        padded = self._node("Pad", [source.name, self._constant([0, 0, 0, 1, 0, 0], "one_row")], f"{name}.padded")
        at = self._constant(grid.inputs(source.grid, stride), f"inputs.{_name(source.grid)}.{_name(grid)}")
        taken = self._node("Gather", [padded, at], f"{name}.tiles", axis=0)
        moved = self._transformed(taken, [made.inputs for made in both], tile, f"{name}.moved")
        taps = kernel.transpose((2, 3, 0, 1) if tile.factors == "w" else (2, 3, 1, 0))
        matrices = np.kron(both[0].weights, both[1].weights) @ taps.reshape(TAPS**2, -1).astype(np.float64)
        product = self._products(moved, _as_float(matrices).reshape(-1, *taps.shape[2:]), tile, name)
        sums = self._transformed(product, [made.outputs for made in both], tile, f"{name}.sums")
        if tile.factors == "w":
            shaped = self._reshape(sums, [tile.rows * tile.columns, count, -1], f"{name}.shaped")
            sums = self._node("Transpose", [shaped], f"{name}.back", perm=[0, 2, 1])
        rows = self._reshape(sums, [grid.size, -1, count], f"{name}.rows")
        if len(node.input) > 2:
            rows = self._node("Add", [rows, node.input[2]], f"{name}.biased")
        self._rows[node.output[0]] = _Rows(rows, grid, count)

    def _transformed(self, tensor: str, matrices: list[np.ndarray[Any, Any]], tile: Tile, name: str) -> str:
        """Transform the rows and columns of tiles, whose cells are the first axis."""
        tall, broad = (matrix.shape[1] for matrix in matrices)
        if not tile.separate:
            flat = self._reshape(tensor, [tall * broad, -1], f"{name}.flat")
            return self._node("MatMul", [self._matrix(np.kron(*matrices)), flat], name)
        columns = self._reshape(tensor, [tall, broad, -1], f"{name}.by_columns")
        moved = self._node("MatMul", [self._matrix(matrices[1]), columns], f"{name}.columns")
        rows = self._reshape(moved, [tall, -1], f"{name}.by_rows")
        return self._node("MatMul", [self._matrix(matrices[0]), rows], name)

    def _products(self, moved: str, matrices: Float32Array, tile: Tile, name: str) -> str:
        cells, channels = len(matrices), matrices.shape[2 if tile.factors == "w" else 1]
        factors = self._reshape(moved, [cells, -1, channels], f"{name}.factors")
        if tile.factors == "w":
            turned = self._node("Transpose", [factors], f"{name}.turned", perm=[0, 2, 1])
            self._weights[f"{name}{MATRICES}"] = matrices
            return self._node("MatMul", [f"{name}{MATRICES}", turned], f"{name}.product")
        if tile.factors == "":
            self._weights[f"{name}{MATRICES}"] = matrices
            return self._node("MatMul", [factors, f"{name}{MATRICES}"], f"{name}.product")
        parts = [f"{name}.factor{cell}" for cell in range(cells)]
        self.nodes.append(helper.make_node("Split", [factors], parts, name=f"{name}.parts", axis=0))
        made = []
        for cell, (part, matrix) in enumerate(zip(parts, matrices, strict=True)):
            self._weights[f"{name}.matrix{cell}"] = matrix
            made.append(self._node("MatMul", [part, f"{name}.matrix{cell}"], f"{name}.product{cell}"))
        return self._node("Concat", made, f"{name}.product", axis=0)

    def _prelu(self, node: onnx.NodeProto) -> None:
        """Write a PReLU of rows, whose last axis are the channels."""
        slope, name = self._weights[node.input[1]].reshape(-1), node.name
        source = self._rows[node.input[0]]
        self._weights[f"{name}.slope"] = slope
        scaled = self._node("Mul", [source.name, f"{name}.slope"], f"{name}.scaled")
        if (slope <= 1).all():
            made = self._node("Max", [source.name, scaled], f"{name}.rows")
        else:
            self._weights[f"{name}.rest"] = 1 - slope
            positive = self._node("Relu", [source.name], f"{name}.positive")
            rest = self._node("Mul", [positive, f"{name}.rest"], f"{name}.product")
            made = self._node("Add", [scaled, rest], f"{name}.rows")
        self._rows[node.output[0]] = source._replace(name=made)

    def _elementwise(self, node: onnx.NodeProto) -> None:
        """Write a node whose inputs are rows, in the layout of the newest of them."""
        newest = self._rows[node.input[-1]]
        names = [self._laid_out(name, newest) for name in node.input]
        made = self._node(node.op_type, names, f"{node.name}.rows")
        self._rows[node.output[0]] = newest._replace(name=made)

    def _laid_out(self, tensor: str, like: _Rows) -> str:
        """Return the rows of a tensor in the grid of another one."""
        rows = self._as_rows(tensor, like.channels)
        if rows.grid == like.grid:
            return rows.name
        at = self._constant(like.grid.taken_from(rows.grid), f"cells.{_name(rows.grid)}.{_name(like.grid)}")
        return self._node("Gather", [rows.name, at], f"{tensor}.{_name(like.grid)}", axis=0)

    def _reshape(self, tensor: str, shape: list[int], name: str) -> str:
        return self._node("Reshape", [tensor, self._constant(shape, f"shape.{'_'.join(map(str, shape))}")], name)

    def _constant(self, values: object, name: str) -> str:
        self._weights[name] = np.asarray(values, dtype=np.int64)
        return name

    def _matrix(self, values: np.ndarray[Any, Any]) -> str:
        """Store a constant matrix once."""
        made = _as_float(values)
        known = (n for n, w in self._weights.items() if n.startswith("transform") and np.array_equal(w, made))
        name = next(known, f"transform{sum(n.startswith('transform') for n in self._weights)}")
        self._weights[name] = made
        return name

    def _node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def _stride(node: onnx.NodeProto) -> int:
    return next((attribute.ints[0] for attribute in node.attribute if attribute.name == "strides"), 1)


def _name(grid: Grid) -> str:
    return f"{grid.height}x{grid.width}by{grid.rows}x{grid.columns}"


def _as_float(values: ArrayLike) -> Float32Array:
    return np.ascontiguousarray(values, dtype=np.float32)
