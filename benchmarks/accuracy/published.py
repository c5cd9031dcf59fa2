"""Published networks with the accuracy that their publishers claim, and whether it was measured here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.known_checkpoints import known_checkpoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedNetwork:
    """A published network.

    Attributes:
        title: description in words.
        lfw_accuracy: 10-fold accuracy on LFW as a share, by its source.
        accuracy_source: origin of that accuracy and its protocol, in words.
        measured_as: labels of the rows that measure it here; empty if its file is not at hand.
    """

    title: str
    lfw_accuracy: float
    accuracy_source: str
    measured_as: tuple[str, ...]


def published_networks(labels: Mapping[str, str]) -> tuple[PublishedNetwork, ...]:
    """Return one record for each published network.

    Args:
        labels: SHA-256 of the source of the weights by label of a measured model.
    """
    return tuple(
        PublishedNetwork(
            title=known.title,
            lfw_accuracy=known.lfw_accuracy,
            accuracy_source=known.accuracy_source,
            measured_as=tuple(label for label, source in labels.items() if source == known.sha256),
        )
        for known in known_checkpoints()
    )


def text(rows: Sequence[PublishedNetwork]) -> str:
    """Format the networks as lines."""
    lines = ["Published networks, accuracy on LFW:"]
    for row in rows:
        measured = f"measured above as {', '.join(row.measured_as)}" if row.measured_as else "file not at hand"
        lines.append(f"  {row.title}: {row.lfw_accuracy:.2%} ({row.accuracy_source}); {measured}")
    return "\n".join(lines)
