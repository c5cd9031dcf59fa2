"""Checks embeddings on entry, and computes the template of an identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.compare import normalize
from edge_sphereface.errors import EmbeddingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from edge_sphereface.types import Float32Array

LENGTH_TOLERANCE = 1e-3
"""Embeddings whose length differs from 1 by at most this are stored bit for bit; others are normalized."""
ROUNDING = 1e-6
"""Largest rounding error of a template's components, which are computed in float64 and stored in float32."""


def check_embeddings(embeddings: ArrayLike, size: int) -> Float32Array:
    """Validate one embedding (size,) or several (N, size); returns unit rows (N, size) float32.

    Raises:
        EmbeddingError: an embedding holds NaN, is zero, or has another size.
    """
    rows = np.array(embeddings, dtype=np.float32, ndmin=2)  # a copy: normalized in place
    if rows.ndim != 2 or rows.shape[1] != size:
        raise EmbeddingError(
            f"Expected embeddings of {size} numbers, got an array of shape {rows.shape}.",
            hint="embeddings of different models cannot be compared",
        )
    if not np.isfinite(rows).all():
        raise EmbeddingError(
            "Expected finite embeddings, got NaN or infinity.", hint="check the vectors that were given"
        )
    if (np.abs(np.linalg.norm(rows, axis=1) - 1) > LENGTH_TOLERANCE).any():
        normalize(rows, given=True)
    return rows


def template_of(embeddings: Float32Array) -> Float32Array:
    """Compute a template: the (D,) float32 unit mean of unit embeddings (N, D), N at least 1.

    Raises:
        EmbeddingError: the embeddings cancel each other.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < LENGTH_TOLERANCE:
        raise EmbeddingError("The embeddings of this identity cancel one another.", hint="they cannot show one person")
    template: Float32Array = (mean / length).astype(np.float32)
    return template
