"""Who is recognized: each photograph of a known person by the template of the person's other photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.gallery.identification import threshold_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, Int64Array

FALSE_ALARMS = 0.01
RESAMPLES = 500


class Templates(NamedTuple):
    """Sums of the unit embeddings of known people.

    Attributes:
        sums: (P, D) float64.
        row: (N,) row of each photograph's person.
    """

    sums: Float64Array
    row: Int64Array

    @classmethod
    def of(cls, unit: Float32Array, person: Int64Array) -> Templates:
        """Sum the unit embeddings (N, D) of each person."""
        _, row = np.unique(person, return_inverse=True)
        sums = np.zeros((int(row.max()) + 1, unit.shape[1]))
        np.add.at(sums, row, unit.astype(np.float64))
        return cls(sums, row)

    def unit(self) -> Float64Array:
        """The templates (P, D)."""
        lengths = np.linalg.norm(self.sums, axis=1, keepdims=True)
        return np.asarray(self.sums / lengths, dtype=np.float64)

    def recognized(
        self, probes: Float32Array, instead_of: Float32Array, row: Int64Array, threshold: float
    ) -> BoolArray:
        """Whether probes reach the threshold with their person's other photographs, and nobody else's more.

        Args:
            probes: (M, D) unit embeddings.
            instead_of: (M, D) unit embedding of the photograph of each probe, which leaves the template.
            row: (M,) row of each probe's person.
            threshold: cosine similarity.
        """
        others = self.sums[row] - instead_of
        others /= np.linalg.norm(others, axis=1, keepdims=True)
        own = np.einsum("md,md->m", others, probes.astype(np.float64))
        rivals = probes @ self.unit().T
        rivals[np.arange(len(row)), row] = -2.0
        return np.asarray((own >= threshold) & (own > rivals.max(axis=1)))


def stranger_threshold(templates: Templates, strangers: Float32Array) -> float:
    """The threshold that 1 % of strangers (M, D) reach with somebody."""
    return threshold_at((strangers @ templates.unit().T).max(axis=1), FALSE_ALARMS)


def resampled(row: Int64Array, evaluate: Callable[[Int64Array], float]) -> tuple[float, float]:
    """The 95 % interval of a figure of photographs, by resampling people.

    Args:
        row: (N,) row of each photograph's person.
        evaluate: figure of the photographs with these numbers.
    """
    members = [np.flatnonzero(row == person) for person in range(int(row.max()) + 1)]
    random = np.random.default_rng(0)
    values = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(members), len(members))
        values.append(evaluate(np.concatenate([members[person] for person in drawn])))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
