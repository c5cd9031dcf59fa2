"""Groups embeddings by person. The result depends on the embeddings alone, not on their order.

References:
    F. Murtagh: A survey of recent advances in hierarchical clustering algorithms, The Computer Journal 26 (4), 1983
    (the nearest-neighbor chain); G. Lance and W. Williams: A general theory of classificatory sorting strategies,
    The Computer Journal 9 (4), 1967 (the similarity of a group that was merged).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, Int64Array

_NEVER = np.float32(-np.inf)


class Linkage(Protocol):
    """Gives the similarity of a merged group to every other one."""

    def __call__(self, one: Float32Array, other: Float32Array, sizes: tuple[int, int]) -> Float32Array:
        """Similarities (N,) of the merged group.

        Args:
            one: (N,) similarities of one group to every other one.
            other: (N,) those of the group that it is merged with.
            sizes: numbers of embeddings of both.
        """
        ...


def average(one: Float32Array, other: Float32Array, sizes: tuple[int, int]) -> Float32Array:
    """Average linkage: two groups are as similar as their embeddings are on average."""
    first, second = np.float32(sizes[0] / sum(sizes)), np.float32(sizes[1] / sum(sizes))
    return one * first + other * second


def group_faces(embeddings: Float32Array, threshold: float, *, linkage: Linkage = average) -> Int64Array:
    """Group embeddings by agglomeration: the two most similar groups are merged until none reach the threshold.

    The result is exact and does not depend on the order of the embeddings: they are sorted by their content first, and
    of equal similarities the first counts. Time and memory grow with the square of their number.

    Args:
        embeddings: (N, D) float32 unit rows.
        threshold: least similarity of two groups that are merged.
        linkage: similarity of groups. It must never make a merged group more similar to a third one than its parts
            were, as average, single and complete linkage do not.

    Returns:
        (N,) the number of the group of each embedding. Groups are numbered from 0 in the order of their first
        embeddings.
    """
    count = len(embeddings)
    order = np.array(sorted(range(count), key=lambda row: embeddings[row].tobytes()), dtype=np.int64)
    owner = np.arange(count)  # of each sorted embedding: the first one of its group
    ordered = embeddings[order]
    similar = ordered @ ordered.T
    np.maximum(similar, similar.T, out=similar)  # products may differ in their last bits
    np.fill_diagonal(similar, _NEVER)
    near = np.flatnonzero(similar.max(axis=1, initial=_NEVER) >= threshold)
    for kept, merged in _merges(similar[np.ix_(near, near)], threshold, linkage):
        owner[owner == near[merged]] = near[kept]
    groups = np.empty(count, dtype=np.int64)
    groups[order] = owner
    _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers.reshape(-1)]


def _merges(similar: Float32Array, threshold: float, linkage: Linkage) -> list[tuple[int, int]]:
    """Merge groups by the nearest-neighbor chain; ``similar`` (N, N) is overwritten.

    Returns:
        Pairs of the group that is kept and the one that is merged into it.
    """
    count = len(similar)
    sizes = [1] * count
    done = np.zeros(count, dtype=bool)
    merges: list[tuple[int, int]] = []
    chain: list[int] = []
    start = 0
    while True:
        if not chain:
            while start < count and done[start]:
                start += 1
            if start == count:
                return merges
            chain.append(start)
        last = chain[-1]
        nearest = int(similar[last].argmax())
        if similar[last, nearest] < threshold:  # nor will it be nearer to a group that others are merged into
            _leave(similar, last)
            done[chain.pop()] = True
            continue
        if len(chain) > 1 and similar[last, chain[-2]] >= similar[last, nearest]:
            kept, merged = sorted((last, chain[-2]))
            row = linkage(similar[kept], similar[merged], (sizes[kept], sizes[merged]))
            row[[kept, merged]] = _NEVER
            similar[kept], similar[:, kept] = row, row
            _leave(similar, merged)
            done[merged] = True
            sizes[kept] += sizes[merged]
            merges.append((kept, merged))
            del chain[-2:]
        else:
            chain.append(nearest)


def _leave(similar: Float32Array, group: int) -> None:
    """Take a group out of every comparison."""
    similar[group] = similar[:, group] = _NEVER
