"""How well two sets of embeddings agree, and how well scores tell people apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Agreement of raw embeddings with a reference.

    Attributes:
        max_abs_error: largest difference of a component, relative to the reference's largest component.
        min_cosine: smallest cosine between an embedding and its reference.
    """

    max_abs_error: float
    min_cosine: float

    def as_json(self) -> JsonObject:
        """The same as plain JSON values; null for an error that is not finite, which JSON cannot hold."""
        error = self.max_abs_error if math.isfinite(self.max_abs_error) else None
        return {"max_abs_error": error, "min_cosine": self.min_cosine}


def agreement(reference: ArrayLike, candidate: ArrayLike) -> Agreement:
    """Compare two (N, D) arrays row by row, in float64; anything not finite counts as total disagreement."""
    expected, got = np.asarray(reference, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if expected.shape != got.shape or expected.size == 0:
        raise ValueError(f"Expected two arrays of one shape with values, got {expected.shape} and {got.shape}.")
    if not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return Agreement(max_abs_error=float("inf"), min_cosine=-1.0)
    largest = np.abs(expected).max()
    lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(got, axis=1)
    if largest == 0 or (lengths == 0).any():
        return Agreement(max_abs_error=float("inf"), min_cosine=-1.0)
    cosines = np.einsum("nd,nd->n", expected, got) / lengths
    return Agreement(
        max_abs_error=float(np.abs(expected - got).max() / largest), min_cosine=float(np.minimum(cosines, 1.0).min())
    )


def roc_auc(genuine: Float32Array, impostor: Float32Array) -> float:
    """Chance that a genuine pair scores above an impostor pair (ties count half): 1 is perfect, 0.5 is guessing."""
    if not genuine.size or not impostor.size:
        raise ValueError("Expected at least one genuine and one impostor score.")
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left")
    not_above = np.searchsorted(ordered, genuine, side="right")
    return float((below + not_above).mean() / (2 * impostor.size))
