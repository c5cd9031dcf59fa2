"""The strangers of a store as they were grouped last, for lookups that must be quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.strangers.records import Stranger
    from edge_sphereface.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnownStrangers:
    """Strangers with the means of their embeddings. Later sightings do not change it.

    Attributes:
        strangers: the strangers.
        means: (G, D) float32, the mean of the embeddings of each; its product with an embedding is the average
            similarity, as grouping compares it.
        threshold: least average similarity of one stranger.
    """

    strangers: tuple[Stranger, ...]
    means: Float32Array
    threshold: float

    def nearest(self, embedding: Float32Array) -> Stranger | None:
        """The stranger that an embedding (D,) of length one would join; None if it would join none."""
        if not self.strangers:
            return None
        similarities = self.means @ embedding
        best = int(similarities.argmax())
        return self.strangers[best] if similarities[best] >= self.threshold else None
