"""The layout of a stage's activations: an image cut into tiles, as rows of channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.rewrite.cook_toom import TAPS, products

if TYPE_CHECKING:
    from edge_sphereface.types import Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Image of ``height`` x ``width`` pixels in T tiles of ``rows`` x ``columns`` cells.

    Activations are ``[rows * columns * T, N, C]``: row ``q T + t`` holds cell q of tile t. Tiles at the lower and at
    the right edge may have cells outside the image, whose values are never read.

    Attributes:
        height: height of the image.
        width: width of the image.
        rows: rows of cells in a tile.
        columns: columns of cells in a tile.
    """

    height: int
    width: int
    rows: int = 1
    columns: int = 1

    @property
    def across(self) -> int:
        """Number of tiles side by side."""
        return -(-self.width // self.columns)

    @property
    def tiles(self) -> int:
        """Number of tiles T."""
        return -(-self.height // self.rows) * self.across

    @property
    def size(self) -> int:
        """Number of rows of the activations."""
        return self.rows * self.columns * self.tiles

    def row_of_pixel(self) -> Int64Array:
        """Indices of the rows of all pixels, (height * width,)."""
        y, x = np.divmod(np.arange(self.height * self.width), self.width)
        return self._row(y, x)

    def taken_from(self, source: Grid) -> Int64Array:
        """Indices of the rows of another grid of the same image, (size,). Cells outside the image take any row."""
        made = np.zeros(self.size, dtype=np.int64)
        made[self.row_of_pixel()] = source.row_of_pixel()
        return made

    def inputs(self, source: Grid, stride: int) -> Int64Array:
        """Indices of the rows of a layer's input that the tiles of its output read, (products * T,).

        Args:
            source: grid of the input. Its rows are followed by one row of zeros, which represents the outside.
            stride: stride of the layer, whose padding is 1.
        """
        size = (products(self.rows, stride), products(self.columns, stride))
        down, across = np.divmod(np.arange(self.tiles), self.across)
        r, c = np.divmod(np.arange(size[0] * size[1]), size[1])
        y = down[None] * self.rows * stride + r[:, None] - TAPS // 2
        x = across[None] * self.columns * stride + c[:, None] - TAPS // 2
        inside = (y >= 0) & (y < source.height) & (x >= 0) & (x < source.width)
        return np.where(inside, source._row(y, x), source.size).reshape(-1)

    def _row(self, y: Int64Array, x: Int64Array) -> Int64Array:
        cell = (y % self.rows) * self.columns + x % self.columns
        return cell * self.tiles + (y // self.rows) * self.across + x // self.columns
