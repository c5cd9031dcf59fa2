"""Run one inference between two marks that a plugin of the emulator detects. It needs only the installed wheel.

Usage: ``python marked.py MODEL.onnx CROPS.npy``
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface import Embedder

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = 0x5EEDC0D
"""Argument of ``getpriority`` that marks a position, as in ``instructions.c``. It is invalid, so the call fails."""


def mark() -> None:
    """Mark the begin or the end of the count for the emulator."""
    with suppress(OSError):
        os.getpriority(MARK, 0)


def main(model: str, crops: str, mark: Callable[[], None] = mark) -> None:
    """Run two inferences on one thread, and mark the begin and the end of the second."""
    warnings.simplefilter("ignore")
    embedder, crop = Embedder(model, provider="cpu", threads=1), np.load(crops)[:1]
    embedder.forward(crop)
    mark()
    embedder.forward(crop)
    mark()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
