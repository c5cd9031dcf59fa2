"""Renders visits: a moving head, or a printed photograph that is moved as one plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.stream.strangers import FRAMES_PER_S, HEIGHT, WIDTH, wall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_sphereface.types import Float64Array, UInt8Array

TAIL_S = 2.0
"""Empty scene after a visit, in which its track ends."""
_PAPER_PX = 22
"""White border of the print, in pixels of the photograph."""
_PRINT_SCALE = 1.0
"""Pixels of the frame per pixel of the photograph; a face of LFW is about 100 pixels high."""
_DISTANCE = 900.0
"""Distance of the eye from the paper, in pixels of the frame."""


def empty(random: np.random.Generator) -> Iterator[UInt8Array]:
    """Frames (H, W, 3) uint8 BGR of a camera before which nobody stands."""
    for _ in range(round(FRAMES_PER_S * TAIL_S)):
        yield wall(random)


def held_print(photograph: UInt8Array, random: np.random.Generator, *, frames: int) -> Iterator[UInt8Array]:
    """Frames of a print that is held by hand: it sways and tilts as a plane, and is paler than the face.

    Args:
        photograph: (H, W, 3) uint8 BGR.
        random: noise and motion.
        frames: number of frames.
    """
    side = _PAPER_PX
    paper = cv2.copyMakeBorder(_printed(photograph), side, side, side, side, cv2.BORDER_CONSTANT, value=(235, 240, 240))
    phase = random.uniform(0, 2 * np.pi, 5)
    for number in range(frames):
        t = number / frames
        yaw, pitch, roll = (
            np.radians(degrees) * np.sin(times * t + phase[index])
            for index, (degrees, times) in enumerate(((14, 7), (8, 5), (4, 6)))
        )
        middle = np.array([WIDTH / 2 + 40 * np.sin(4 * t + phase[3]), HEIGHT / 2 + 8 * np.sin(9 * t + phase[4])])
        picture = wall(random)
        corners = _corners(paper.shape[1], paper.shape[0], yaw, pitch, roll) + middle
        height, width = paper.shape[:2]
        edges = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        transform = cv2.getPerspectiveTransform(edges, corners.astype(np.float32))
        cv2.warpPerspective(
            paper, transform, (WIDTH, HEIGHT), dst=picture, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT
        )
        yield picture


def _printed(photograph: UInt8Array) -> UInt8Array:
    """A photograph as a print shows it: less contrast, less color, softer."""
    gray = cv2.cvtColor(cv2.cvtColor(photograph, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    pale = cv2.addWeighted(photograph, 0.55, gray, 0.2, 50)
    return np.asarray(cv2.GaussianBlur(pale, (0, 0), 0.8), dtype=np.uint8)


def _corners(width: int, height: int, yaw: float, pitch: float, roll: float) -> Float64Array:
    """Corners (4, 2) of a sheet around its middle in pixels of the frame, seen in perspective."""
    x, y = width * _PRINT_SCALE / 2, height * _PRINT_SCALE / 2
    sheet = np.array([[-x, -y, 0.0], [x, -y, 0.0], [x, y, 0.0], [-x, y, 0.0]])
    cy, sy, cp, sp, cr, sr = (f(angle) for angle in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = (
        np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    )
    turned = sheet @ turn.T
    return np.asarray(turned[:, :2] * (_DISTANCE / (_DISTANCE + turned[:, 2:])), dtype=np.float64)
