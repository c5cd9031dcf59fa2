"""Divides a frame into tiles, and joins those that are worth searching to regions for the detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.detection.scaled_detector import Region, scaled_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge_sphereface.types import BoolArray, Float32Array, Int64Array

_TILE_PX = 32
"""Side of a tile in pixels of the downscaled frame. Detectors work in steps of up to this size: in a region of whole
tiles, a face lies between the same steps as in the whole frame."""
_MARGIN = 0.5
"""Width of the surroundings of a face that are searched with it, in longer sides of its box."""
_CALL_PX = 10_000
"""Cost of a detection beside that of its pixels, in pixels. Measured with YuNet on one x86-64 core."""


class TileGrid:
    """The tiles of frames of one size.

    Args:
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        side: length of the longer side of a frame after downscaling, in pixels.
    """

    def __init__(self, height: int, width: int, side: int) -> None:
        self.frame = height, width, side
        self._height, self._width = scaled_size(height, width, side)
        self._shape = -(-self._height // _TILE_PX), -(-self._width // _TILE_PX)
        self._tile = _TILE_PX * np.array([width / self._width, height / self._height])

    @property
    def whole(self) -> Region:
        """The whole frame."""
        return Region(0, 0, self._width, self._height)

    def tiles_at(self, rows: Int64Array, columns: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Numbers of the tiles that show rows (N,) and columns (M,) of the frame."""
        return (rows / self._tile[1]).astype(np.int64), (columns / self._tile[0]).astype(np.int64)

    def near(self, rows: Int64Array, columns: Int64Array) -> BoolArray:
        """Tiles (rows, columns) bool, True for those with these numbers, and for their neighbors."""
        import cv2

        tiles = np.zeros(self._shape, dtype=np.uint8)
        tiles[rows, columns] = 1
        return np.asarray(cv2.dilate(tiles, np.ones((3, 3), dtype=np.uint8)), dtype=np.bool_)

    def around(self, boxes: Iterable[Float32Array]) -> BoolArray:
        """Tiles (rows, columns) bool, True for those that show boxes or their surroundings.

        Args:
            boxes: left, top, right, bottom in pixels of the frame.
        """
        tiles = np.zeros(self._shape, dtype=np.bool_)
        for box in boxes:
            left, top, right, bottom = (surroundings(box) / np.tile(self._tile, 2)).tolist()
            rows = slice(max(int(top), 0), max(int(bottom) + 1, 0))
            tiles[rows, max(int(left), 0) : max(int(right) + 1, 0)] = True
        return tiles

    def regions(self, tiles: BoolArray) -> list[Region]:
        """Join adjacent tiles to rectangles that do not overlap."""
        import cv2

        _, _, statistics, _ = cv2.connectedComponentsWithStats(tiles.astype(np.uint8), connectivity=8)
        joined: list[Region] = []
        for x, y, width, height in (_TILE_PX * statistics[1:, :4]).tolist():
            region = Region(x, y, min(x + width, self._width), min(y + height, self._height))
            while other := next((other for other in joined if _are_better_joined(region, other)), None):
                joined.remove(other)
                region = _hull(region, other)
            joined.append(region)
        return joined

    def tiles_in(self, regions: Iterable[Region]) -> BoolArray:
        """Tiles (rows, columns) bool, True for those of regions."""
        tiles = np.zeros(self._shape, dtype=np.bool_)
        for left, top, right, bottom in regions:
            tiles[top // _TILE_PX : -(-bottom // _TILE_PX), left // _TILE_PX : -(-right // _TILE_PX)] = True
        return tiles

    def cuts(self, region: Region, box: Float32Array) -> bool:
        """Whether a box, in pixels of the frame, reaches a border of a region inside of the frame."""
        left, top, right, bottom = map(float, box / np.tile(self._tile, 2) * _TILE_PX)
        return (
            left <= region.left > 0
            or top <= region.top > 0
            or right >= region.right < self._width
            or bottom >= region.bottom < self._height
        )


def cost(regions: Iterable[Region]) -> float:
    """Cost of searching regions, in pixels."""
    return sum(_CALL_PX + (right - left) * (bottom - top) for left, top, right, bottom in regions)


def surroundings(box: Float32Array) -> Float32Array:
    """A box with the part of the frame around it in which its face is searched."""
    margin = _MARGIN * (box[2:] - box[:2]).max()
    wide: Float32Array = box + margin * np.array([-1, -1, 1, 1], dtype=np.float32)
    return wide


def _are_better_joined(one: Region, other: Region) -> bool:
    """Whether regions overlap, so that a face may be found twice, or cost less as one."""
    shared_width = min(one.right, other.right) - max(one.left, other.left)
    shared_height = min(one.bottom, other.bottom) - max(one.top, other.top)
    return (shared_width > 0 and shared_height > 0) or cost([_hull(one, other)]) <= cost([one, other])


def _hull(one: Region, other: Region) -> Region:
    return Region(
        min(one.left, other.left), min(one.top, other.top), max(one.right, other.right), max(one.bottom, other.bottom)
    )
