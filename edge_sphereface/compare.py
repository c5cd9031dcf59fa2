"""Comparing embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EmbeddingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Outcome of a 1:1 comparison.

    Attributes:
        same: whether the similarity reaches the threshold.
        similarity: cosine, -1 to 1.
        threshold: what it was held against.
    """

    same: bool
    similarity: float
    threshold: float


def normalize(embeddings: Float32Array, *, given: bool = False) -> Float32Array:
    """Scale rows to length one, in place.

    Args:
        embeddings: (N, D) float32.
        given: whether the caller of the package gave them; otherwise the model computed them. For error messages.

    Raises:
        EmbeddingError: a row holds NaN or infinity, or has no length.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings))
    subject = "A given embedding" if given else "An embedding that the model computed"
    if not np.isfinite(lengths).all():
        raise EmbeddingError(
            f"{subject} is not finite: its length is {lengths[~np.isfinite(lengths)][0]}.",
            hint="check the vectors that were given"
            if given
            else "the provider or its precision may be at fault; check the model against its certificate",
            remedy=None if given else "verify-model",
        )
    if (lengths == 0).any():
        raise EmbeddingError(
            f"{subject} has length zero, so it has no direction.",
            hint="check the vectors that were given" if given else "check the model's weights",
        )
    embeddings /= lengths[:, None]
    return embeddings


def cosine_similarity(probes: ArrayLike, gallery: ArrayLike) -> Float32Array:
    """Cosine of the angle between each probe and each gallery embedding.

    Args:
        probes: (P, D) or (D,), of any length but zero.
        gallery: (G, D) or (D,).

    Returns:
        (P, G) float32 in [-1, 1].

    Raises:
        EmbeddingError: the sizes differ, or a row is zero or not finite.
    """
    left, right = _rows(probes), _rows(gallery)
    if left.shape[1] != right.shape[1]:
        raise EmbeddingError(
            f"Expected embeddings of one size, got {left.shape[1]} and {right.shape[1]}.",
            hint="embeddings of different models cannot be compared",
        )
    similarity: Float32Array = np.clip(normalize(left, given=True) @ normalize(right, given=True).T, -1.0, 1.0)
    return similarity


def verify(first: ArrayLike, second: ArrayLike, *, threshold: float) -> Verification:
    """Decide whether two embeddings show the same person.

    Args:
        first: (D,) embedding.
        second: (D,) embedding.
        threshold: cosine similarity from which they do; ``Embedder.spec.threshold`` is the model's own.

    Raises:
        EmbeddingError: not two single embeddings of one size.
        ValueError: the threshold is no cosine.
    """
    if not -1.0 <= threshold <= 1.0:
        raise ValueError(f"Expected a threshold from -1 to 1, got {threshold}.")
    similarity = cosine_similarity(first, second)
    if similarity.shape != (1, 1):
        raise EmbeddingError(
            f"Expected one embedding on each side, got {similarity.shape[0]} and {similarity.shape[1]}."
        )
    value = float(similarity[0, 0])
    return Verification(same=value >= threshold, similarity=value, threshold=threshold)


def _rows(embeddings: ArrayLike) -> Float32Array:
    rows = np.array(embeddings, dtype=np.float32, ndmin=2)  # a copy: it is normalized in place
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise EmbeddingError(f"Expected embeddings of shape (N, D) or (D,), got {rows.shape}.")
    return rows
