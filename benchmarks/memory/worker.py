"""Process that embeds with one model, and prints its memory after each step as one JSON line.

It imports as little as a program that only embeds.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from edge_sphereface.evaluation.process_memory import peak_rss_mib
from edge_sphereface.inference.resident_memory import SMAPS, read_mappings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1 << 20
STEPS = ("Python", "numpy", "onnxruntime", "model", "inference")
"""What is loaded or done before each snapshot, in order."""
_LIBRARIES = {
    "onnxruntime": "onnxruntime",
    "cv2": "OpenCV",
    "opencv": "OpenCV",
    "numpy": "numpy",
    "libcrypto": "OpenSSL",
    "libssl": "OpenSSL",
    "python": "Python",
}
"""Names of libraries, by a part of the paths of their files; the first one counts."""
OTHER = "other files"
ALLOCATED = "allocated"
_INFERENCES = 50


def snapshot(smaps: Path = SMAPS) -> dict[str, tuple[float, float]]:
    """Resident and proportional memory of a process in MiB, by library, and what is allocated.

    Raises:
        OSError: the system does not tell, or the process has ended.
    """
    found: dict[str, tuple[float, float]] = {}
    for mapping in read_mappings(smaps):
        cause = _library(mapping.path) if mapping.path.startswith("/") else ALLOCATED
        resident, proportional = found.get(cause, (0.0, 0.0))
        found[cause] = (resident + mapping.resident / MIB, proportional + mapping.proportional / MIB)
    return found


def _library(path: str) -> str:
    inside = path.rpartition("site-packages/")[2]  # the folder of an environment may have the name of a library
    return next((name for part, name in _LIBRARIES.items() if part in inside), OTHER)


def embed(model: str, threads: int) -> Mapping[str, object]:
    """Embed with a model.

    Returns:
        ``steps``: a snapshot after each of :data:`STEPS`; ``peak``: peak resident memory in MiB.
    """
    steps = [snapshot()]
    import numpy as np

    steps.append(snapshot())
    from edge_sphereface.inference.telemetry import import_onnxruntime

    import_onnxruntime()
    steps.append(snapshot())
    from edge_sphereface.inference.embedder import Embedder

    embedder = Embedder(model, provider="cpu", threads=threads)
    steps.append(snapshot())
    crop = np.resize(np.arange(256, dtype=np.uint8), (1, *embedder.spec.crop_shape))
    for _ in range(_INFERENCES):
        embedder.embed(crop)
    steps.append(snapshot())
    return {"steps": steps, "peak": peak_rss_mib(), "precision": embedder.spec.precision}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(embed(sys.argv[1], int(sys.argv[2]))) + "\n")
