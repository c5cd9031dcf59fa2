"""Latency of models on this machine, one against the other: what decides whether a derived model is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.timing import measure_interleaved, summarize
from export.faces import face_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.embed import Embedder
    from edge_sphereface.timing import LatencySummary

ROUNDS = 100


def measure_latency(embedders: Mapping[str, Embedder], *, rounds: int = ROUNDS) -> dict[str, LatencySummary]:
    """One crop at a time, the models in turn.

    Args:
        embedders: loaded models by name.
        rounds: samples of each.
    """

    def case(embedder: Embedder) -> Callable[[], object]:
        crop = face_crops(embedder.spec, 1)
        return lambda: embedder.forward(crop)

    samples = measure_interleaved({name: case(embedder) for name, embedder in embedders.items()}, rounds=rounds)
    return {name: summarize(row) for name, row in samples.items()}
