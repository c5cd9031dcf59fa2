"""Run inferences between marks that a plugin of the emulator detects. It needs only the installed wheel.

Usage: ``python marked.py MODEL.onnx CROPS.npy``
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = 0x5EEDC0D
"""Argument of ``getpriority`` that marks a position, as in ``instructions.c``. It is invalid, so the call fails."""


def mark() -> None:
    """Mark a position for the emulator; a processor that is not emulated does nothing."""
    with suppress(OSError):
        os.getpriority(MARK, 0)


def main(model: str, crops: str, mark: Callable[[], None] = mark) -> None:
    """Run two inferences on one thread, with a mark before, between and after them."""
    from edge_sphereface import Embedder

    warnings.simplefilter("ignore")
    embedder, crop = Embedder(model, provider="cpu", threads=1), np.load(crops)[:1]
    mark()
    embedder.forward(crop)
    mark()
    embedder.forward(crop)
    mark()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
