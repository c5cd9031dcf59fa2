"""Published networks with the accuracy that their publishers claim, and whether it was measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.known_checkpoints import known_checkpoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_sphereface.model.spec import ModelSpec
    from export.presets import PresetName


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """A published network.

    Attributes:
        title: description in words.
        lfw_accuracy: 10-fold accuracy on LFW as a share, by its source; None if it is not stated.
        accuracy_source: origin of that accuracy and its protocol, in words.
        measured_as: labels of the rows that measure it here; empty if its file is not at hand.
    """

    title: str
    lfw_accuracy: float | None
    accuracy_source: str
    measured_as: tuple[str, ...]


_BY_NAMES = "the SHA-256 of its file is not known here: weights with its names are taken for it"
_UNPINNED: tuple[tuple[str, float | None, str, tuple[PresetName, ...]], ...] = (
    (
        "clcarwin/sphereface_pytorch, sphere20a",
        0.9922,
        f"stated by its publisher; {_BY_NAMES}",
        ("clcarwin",),
    ),
    (
        "ydwen/opensphere, sfnet20",
        None,
        f"not stated for its files; {_BY_NAMES}",
        ("opensphere", "opensphere-deprecated"),
    ),
)
"""Title, accuracy, its source and presets of the networks that only their names tell. Source: their README files."""


def published_networks(specs: Mapping[str, ModelSpec]) -> tuple[PublishedNetwork, ...]:
    """Return one record for each published network.

    Args:
        specs: specification of each measured model by its label.
    """
    known = tuple(
        PublishedNetwork(
            title=known.title,
            lfw_accuracy=known.lfw_accuracy,
            accuracy_source=known.accuracy_source,
            measured_as=tuple(label for label, spec in specs.items() if spec.source_sha256 == known.sha256),
        )
        for known in known_checkpoints()
    )
    unpinned = tuple(
        PublishedNetwork(
            title=title,
            lfw_accuracy=accuracy,
            accuracy_source=source,
            measured_as=tuple(
                label for label, spec in specs.items() if spec.origin is not None and spec.origin.preset in presets
            ),
        )
        for title, accuracy, source, presets in _UNPINNED
    )
    return (*known, *unpinned)


def text(rows: Sequence[PublishedNetwork]) -> str:
    """Format the networks as lines."""
    lines = ["Published networks, accuracy on LFW:"]
    for row in rows:
        accuracy = "no accuracy" if row.lfw_accuracy is None else f"{row.lfw_accuracy:.2%}"
        measured = f"measured above as {', '.join(row.measured_as)}" if row.measured_as else "file not at hand"
        lines.append(f"  {row.title}: {accuracy} ({row.accuracy_source}); {measured}")
    return "\n".join(lines)
