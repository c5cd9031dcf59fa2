"""Checkpoints that the exporter recognizes by their SHA-256, with their properties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.official import LFW_ACCURACY, LFW_THRESHOLD, OFFICIAL, THRESHOLD_SOURCE_OFFICIAL
from export.pretrained import PRETRAINED_LFW_ACCURACY, PRETRAINED_LFW_THRESHOLD, PRETRAINED_SHA256

if TYPE_CHECKING:
    from edge_sphereface.storage.download import PinnedFile
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
        download: where the file is published; None if it cannot be downloaded as it is.
    """

    title: str
    sha256: str
    preset: PresetName
    license: str
    lfw_accuracy: float
    accuracy_source: str
    threshold: float | None = None
    threshold_source: str = ""
    download: PinnedFile | None = None


_KNOWN = (
    KnownCheckpoint(
        title="the official checkpoint of MindSpore Hub",
        sha256=OFFICIAL.sha256,
        preset="mindspore",
        license=OFFICIAL.license,
        lfw_accuracy=LFW_ACCURACY,
        accuracy_source="stated by its publisher, not measured here",
        threshold=LFW_THRESHOLD,
        threshold_source=THRESHOLD_SOURCE_OFFICIAL,
        download=OFFICIAL,
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
