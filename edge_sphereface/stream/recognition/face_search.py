"""Searches a frame for faces: at times in the whole frame, else only where faces are expected or something changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.detection.scaled_detector import ScaledDetector
from edge_sphereface.stream.tracking.changes import ChangeMap
from edge_sphereface.stream.tracking.tiles import TileGrid, cost, surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.detection.scaled_detector import Region
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.types import Face, UInt8Array

_WORTH = 0.7
"""Regions are searched if they cost at most this share of the whole frame."""


class FaceSearch:
    """Searches frames of one camera, in order.

    Args:
        detector: finds faces.
        whole_frame_s: seconds between searches of the whole frame; 0 to search the whole frame each time.
    """

    def __init__(self, detector: Detector, *, whole_frame_s: float) -> None:
        self._detector = ScaledDetector(detector)
        self._whole_frame_s = whole_frame_s
        self._changes: ChangeMap | None = None
        self._grid: TileGrid | None = None
        self._whole_s = 0.0

    def restart(self) -> None:
        """Search the whole next frame, as when the source changed."""
        self._changes = None

    def find(self, frame: Frame, expected: Sequence[Face], side: int) -> list[Face] | None:
        """Search a frame for faces.

        Args:
            frame: the frame.
            expected: tracked faces, where they are expected in this frame.
            side: length of the longer side of the frame after downscaling, in pixels.

        Returns:
            The faces, highest score first; None if the detector did not run, because no face is expected and nothing
            changed.
        """
        image, changes = frame.image, self._changes
        is_whole_due = not 0 <= frame.time_s - self._whole_s < self._whole_frame_s
        if changes is not None and changes.frame == image.shape[:2] and not is_whole_due:
            grid = self._grid_of(image, side)
            regions = _regions(image, changes, grid, expected)
            if not regions:
                return None
            if not self._detector.plans_for_sizes and cost(regions) <= _WORTH * cost([grid.whole]):
                faces = self._find_in(image, side, regions, grid)
                if faces is not None:
                    changes.searched(grid.tiles_in(regions)[np.ix_(*grid.tiles_at(*changes.pixels))])
                    return faces
        if self._whole_frame_s > 0:
            self._whole_s, self._changes = frame.time_s, ChangeMap(image)
        return self._detector.find(image, side)

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Return the same faces with the best landmarks that the detector provides."""
        return self._detector.improve(image, faces)

    def _find_in(self, image: UInt8Array, side: int, regions: Sequence[Region], grid: TileGrid) -> list[Face] | None:
        """Faces in regions; None if one of them reaches out of its region."""
        found: list[Face] = []
        for region in regions:
            faces = self._detector.find(image, side, region)
            if any(grid.cuts(region, face.box) for face in faces):
                return None
            found += faces
        return sorted(found, key=lambda face: -face.score)

    def _grid_of(self, image: UInt8Array, side: int) -> TileGrid:
        height, width = image.shape[:2]
        if self._grid is None or self._grid.frame != (height, width, side):
            self._grid = TileGrid(height, width, side)
        return self._grid


def _regions(image: UInt8Array, changes: ChangeMap, grid: TileGrid, expected: Sequence[Face]) -> list[Region]:
    """Regions where faces are expected, or something else changed."""
    boxes = [face.box for face in expected]
    changed = changes.compare(image)
    for box in boxes:  # the face itself moves
        changed[changes.cells_of(surroundings(box))] = False
    rows, columns = np.nonzero(changed)
    tile_rows, tile_columns = grid.tiles_at(*changes.pixels)
    return grid.regions(grid.near(tile_rows[rows], tile_columns[columns]) | grid.around(boxes))
