"""The published networks, and the crops that they were trained on.

Source: minivision-ai/Silent-Face-Anti-Spoofing, resources/anti_spoof_models; the names of the files give the scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edge_sphereface.storage.download import PinnedFile

LIVE_CLASS: Final = 1
"""Index of the class of live faces in the published networks."""
_URL = (
    "https://github.com/minivision-ai/Silent-Face-Anti-Spoofing/raw/b6d5f04ad78778917853b25c778acef6d5626d15/"
    "resources/anti_spoof_models/"
)
_LICENSE = "Apache-2.0 (minivision-ai/Silent-Face-Anti-Spoofing); its training data are not published"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """A published file of weights.

    Attributes:
        file: the file.
        crop_scale: size of its crops as a multiple of the face's box.
    """

    file: PinnedFile
    crop_scale: float


PUBLISHED: Final = {
    "minifasnet-v2": PublishedNetwork(
        file=PinnedFile(
            name="2.7_80x80_MiniFASNetV2.pth",
            url=f"{_URL}2.7_80x80_MiniFASNetV2.pth",
            sha256="a5eb02e1843f19b5386b953cc4c9f011c3f985d0ee2bb9819eea9a142099bec0",
            max_bytes=1_849_453,
            license=_LICENSE,
        ),
        crop_scale=2.7,
    ),
    "minifasnet-v1se": PublishedNetwork(
        file=PinnedFile(
            name="4_0_0_80x80_MiniFASNetV1SE.pth",
            url=f"{_URL}4_0_0_80x80_MiniFASNetV1SE.pth",
            sha256="84ee1d37d96894d5e82de5a57df044ef80a58be2b218b5ed7cdfd875ec2f5990",
            max_bytes=1_856_130,
            license=_LICENSE,
        ),
        crop_scale=4.0,
    ),
}
"""By their names in options."""


def published_network(sha256: str) -> PublishedNetwork | None:
    """The published network of a file with this SHA-256; None if it is unknown."""
    return next((network for network in PUBLISHED.values() if network.file.sha256 == sha256), None)
