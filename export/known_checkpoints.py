"""Checkpoints that the exporter recognizes by their SHA-256, with their properties."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.storage.cache import cache_file, cache_folder
from edge_sphereface.storage.download import PinnedFile
from export import official
from export.presets import PRESETS
from export.pretrained import PRETRAINED_LFW_ACCURACY, PRETRAINED_LFW_THRESHOLD, PRETRAINED_SHA256

if TYPE_CHECKING:
    from export.presets import PresetName


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCheckpoint:
    """A published file of weights.

    Attributes:
        title: description in words.
        sha256: SHA-256 of the file in hexadecimal.
        preset: conventions of its publisher.
        license: license of the file, and what its training data allow.
        lfw_accuracy: 10-fold accuracy on LFW as a share.
        accuracy_source: origin of that accuracy and its protocol, in words.
        threshold: least cosine similarity of two faces of the same person; None if none is published.
        threshold_source: origin of the threshold, in words.
    """

    title: str
    sha256: str
    preset: PresetName
    license: str
    lfw_accuracy: float
    accuracy_source: str
    threshold: float | None = None
    threshold_source: str = ""


CAFFE = PinnedFile(
    name="sphereface_model.caffemodel",
    url="https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2021.4/Sphereface/"
    "sphereface_model.caffemodel",
    sha256="092d8fb00291d80ed7e43f7c9323693581cd75e734be3c52764525043288a20d",
    max_bytes=90_688_218,
    license="MIT; trained on CASIA-WebFace, for research and education only",
)
"""Source: Open Model Zoo, models/public/Sphereface; wy1iu/sphereface."""

_UNIFACE_URL = "https://github.com/yakhyo/uniface/releases/download/weights/"
_UNIFACE_LICENSE = "MIT; trained on MS1MV2, whose photographs may be used for research only"
UNIFACE_20 = PinnedFile(
    name="sphere20.onnx",
    url=f"{_UNIFACE_URL}sphere20.onnx",
    sha256="c02878cf658eb1861f580b7e7144b0d27cc29c440bcaa6a99d466d2854f14c9d",
    max_bytes=128 << 20,
    license=_UNIFACE_LICENSE,
)
UNIFACE_36 = PinnedFile(
    name="sphere36.onnx",
    url=f"{_UNIFACE_URL}sphere36.onnx",
    sha256="13b3890cd5d7dec2b63f7c36fd7ce07403e5a0bbb701d9647c0289e6cbe7bb20",
    max_bytes=192 << 20,
    license=_UNIFACE_LICENSE,
)
"""Source of both: yakhyo/uniface, uniface/constants.py; accuracy: yakhyo/face-recognition, README.md."""

_KNOWN = (
    KnownCheckpoint(
        title="the official checkpoint of MindSpore Hub",
        sha256=official.OFFICIAL.sha256,
        preset="mindspore",
        license=official.OFFICIAL.license,
        lfw_accuracy=official.LFW_ACCURACY,
        accuracy_source="stated by its publisher",
        threshold=official.LFW_THRESHOLD,
        threshold_source=official.THRESHOLD_SOURCE_OFFICIAL,
    ),
    KnownCheckpoint(
        title=PRESETS["caffe"].title,
        sha256=CAFFE.sha256,
        preset="caffe",
        license=CAFFE.license,
        lfw_accuracy=0.9930,
        accuracy_source="stated by its authors, with the mirrored crop's embedding appended and the mean subtracted; "
        "98.83 % by Open Model Zoo",
    ),
    KnownCheckpoint(
        title="Sphere20 of uniface",
        sha256=UNIFACE_20.sha256,
        preset="uniface",
        license=UNIFACE_20.license,
        lfw_accuracy=0.9967,
        accuracy_source="stated by its publisher, with the mirrored crop's embedding appended",
    ),
    KnownCheckpoint(
        title="Sphere36 of uniface",
        sha256=UNIFACE_36.sha256,
        preset="uniface",
        license=UNIFACE_36.license,
        lfw_accuracy=0.9972,
        accuracy_source="stated by its publisher, with the mirrored crop's embedding appended",
    ),
    KnownCheckpoint(
        title="the pretrained network of this project, of quarter width",
        sha256=PRETRAINED_SHA256,
        preset="mindspore",
        license="research and education only",
        lfw_accuracy=PRETRAINED_LFW_ACCURACY,
        accuracy_source="measured by this project",
        threshold=PRETRAINED_LFW_THRESHOLD,
        threshold_source="measured on LFW's 6,000 pairs",
    ),
)


def known_checkpoint(sha256: str) -> KnownCheckpoint | None:
    """Return the checkpoint with a SHA-256, or None if it is unknown."""
    return next((known for known in _KNOWN if known.sha256 == sha256), None)


def known_checkpoints() -> tuple[KnownCheckpoint, ...]:
    """All checkpoints that the exporter recognizes."""
    return _KNOWN


def published_files() -> dict[str, PinnedFile]:
    """Files that can be downloaded, by their names in options."""
    return {"mindspore": official.OFFICIAL, "caffe": CAFFE, "uniface-20": UNIFACE_20, "uniface-36": UNIFACE_36}


def download_target(file: PinnedFile) -> Path:
    """Path in the cache where a published file is stored, in a folder that exists."""
    return cache_file("checkpoints", file.name)


def weights_file(text: str) -> Path:
    """Path of a file of weights that was named in an option: a path, or a name of ``published_files``.

    The file may not exist.
    """
    path, published = Path(text), published_files().get(text)
    return path if published is None or path.exists() else cached_weights(published)


def cached_weights(file: PinnedFile) -> Path:
    """Path in the cache of a published file, which may not exist."""
    return cache_folder() / "checkpoints" / file.name
