"""Runs one inference between two marks that a plugin of the emulator sees; needs the installed wheel alone.

Usage: ``python marked.py MODEL.onnx CROPS.npy``
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress

import numpy as np

from edge_sphereface import Embedder

MARK = 0x5EEDC0D
"""As in ``instructions.c``: no kind of process that ``getpriority`` knows, so the call does nothing but fail."""


def main(model: str, crops: str) -> None:
    """The second of two inferences, on one thread."""
    warnings.simplefilter("ignore")
    embedder, crop = Embedder(model, provider="cpu", threads=1), np.load(crops)[:1]
    embedder.forward(crop)
    mark()
    embedder.forward(crop)
    mark()


def mark() -> None:
    """Show the emulator where the count begins and ends."""
    with suppress(OSError):
        os.getpriority(MARK, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
