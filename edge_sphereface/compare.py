"""Compares embeddings by cosine similarity."""

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
    """Result of a 1:1 comparison.

    Attributes:
        same: whether the similarity reaches the threshold.
        similarity: cosine similarity, -1 to 1.
        threshold: cosine similarity that the pair had to reach.
    """

    same: bool
    similarity: float
    threshold: float


def normalize(embeddings: Float32Array, *, given: bool = False) -> Float32Array:
    """Scale rows to unit length, in place.

    Args:
        embeddings: (N, D) float32.
        given: whether the caller passed the embeddings in, for error messages; otherwise the model computed them.

    Raises:
        EmbeddingError: a row holds NaN or infinity, or has length zero.
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
    """Cosine similarity of each probe to each gallery embedding.

    Args:
        probes: (P, D) or (D,), of any length except zero.
        gallery: (G, D) or (D,), likewise.

    Returns:
        (P, G) float32 in [-1, 1].

    Raises:
        EmbeddingError: the embedding sizes differ, or a row is zero or not finite.
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
        threshold: cosine similarity that counts as the same person; the model's own is ``Embedder.spec.threshold``.

    Raises:
        EmbeddingError: the arguments are not two single embeddings of the same size.
        ValueError: the threshold is outside -1 to 1.
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
