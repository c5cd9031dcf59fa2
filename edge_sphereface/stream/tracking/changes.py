"""Finds where a camera's image changed since it was last searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.types import BoolArray, Float32Array, UInt8Array

_CELLS = 160
"""Cells along the longer side. A face of 20 pixels in a frame of 1280 pixels has two and a half."""
_LEAST, _MOST = 6.0, 12.0
"""Limits of the smallest change that counts, in levels of 256: where much moves, movement must not pass for noise."""
_DEVIATIONS = 6.0
"""Changes of more than this many standard deviations of the noise count."""
_MAD = 1.4826
"""Standard deviation over median absolute deviation, of normal noise."""
_EVERY = 4
"""Statistics of the noise use one of this many cells in each direction."""


class ChangeMap:
    """Compares each cell of a frame with the same cell of the frame in which it was last searched.

    Slow changes add up until they count, because the reference of a cell is not renewed before. A change of the whole
    image's brightness does not count.

    Args:
        image: (H, W, 3) uint8 BGR, the first frame. All later frames have its shape.

    Attributes:
        frame: height and width of the frame.
        pixels: rows (h,) and columns (w,) of the frame in the middle of the cells.
    """

    def __init__(self, image: UInt8Array) -> None:
        height, width = image.shape[:2]
        self.frame = height, width
        self._step = max(max(height, width) // _CELLS, 1)
        self._first = min(self._step // 2, height - 1, width - 1)
        self.pixels = np.arange(self._first, height, self._step), np.arange(self._first, width, self._step)
        self._reference = self._now = self._cells(image)

    def compare(self, image: UInt8Array) -> BoolArray:
        """Compare a frame with the reference.

        Returns:
            (h, w) bool, True where the image changed.
        """
        self._now = self._cells(image)
        change = self._now - self._reference
        sample = change[::_EVERY, ::_EVERY]
        brightness = np.median(sample)
        noise = _MAD * float(np.median(np.abs(sample - brightness)))
        changed: BoolArray = np.abs(change - brightness) > min(max(_DEVIATIONS * noise, _LEAST), _MOST)
        return changed

    def searched(self, cells: BoolArray) -> None:
        """Renew the reference of the cells (h, w) bool that were searched in the frame that was last compared."""
        self._reference = np.where(cells, self._now, self._reference)

    def cells_of(self, box: Float32Array) -> tuple[slice, slice]:
        """Cells, as slices of their rows and columns, of a box: left, top, right, bottom in pixels of the frame."""
        left, top, right, bottom = (max(int(edge / self._step), 0) for edge in box)
        return slice(top, bottom), slice(left, right)

    def _cells(self, image: UInt8Array) -> Float32Array:
        """Brightness of each cell, averaged over its neighbors against noise: (h, w) float32."""
        import cv2

        middles = slice(self._first, None, self._step)
        pixels = np.ascontiguousarray(image[middles, middles])
        gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
        averaged: Float32Array = np.asarray(cv2.blur(gray, (3, 3)), dtype=np.float32)
        return averaged
