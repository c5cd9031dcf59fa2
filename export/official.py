"""The official checkpoint, published on MindSpore Hub.

Source: mindspore-ai/models, research/cv/sphereface, and the file's page on MindSpore Hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.storage.cache import cache_folder
from edge_sphereface.storage.download import PinnedFile

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "sphereface_ascend_v160_casiawebface_official_cv_acc98.48.ckpt"

OFFICIAL = PinnedFile(
    name=_NAME,
    url=f"https://download.mindspore.cn/models/r1.6/{_NAME}",
    sha256="e81a805c60de07ab293fb14a3d59d393fd76198169263e35dcc99150c73089a3",
    max_bytes=230 << 20,
    license="Apache-2.0; trained on CASIA-WebFace, for research and education only",
)

LFW_ACCURACY = 0.9848
"""10-fold accuracy on LFW as stated by the publisher."""

LFW_THRESHOLD = 0.3
THRESHOLD_SOURCE_OFFICIAL = "LFW thresholds that the original's README reports: 0.28 to 0.305"
THRESHOLD_SOURCE_OTHER = "the original's LFW threshold; not measured for these weights"


def official_path() -> Path:
    """Path where ``python -m export fetch`` stores it; the file may not exist."""
    return cache_folder() / "checkpoints" / OFFICIAL.name
