"""Groups are those of the plain algorithm, whatever the order of the embeddings."""

import numpy as np
import pytest

from edge_sphereface.strangers import group_faces
from edge_sphereface.strangers.numbering import carry_over


def faces(people, views, *, spread=0.9, size=64, seed=0):
    """(people x views, size) unit rows."""
    chance = np.random.default_rng(seed)
    rows = np.repeat(chance.standard_normal((people, size)), views, axis=0)
    rows = (rows + spread * chance.standard_normal(rows.shape)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def partition(labels):
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def plain_groups(rows, threshold):
    """Merge the two groups with the largest average similarity, as long as it reaches the threshold."""
    similar = rows.astype(np.float64) @ rows.T.astype(np.float64)
    groups = [[index] for index in range(len(rows))]
    while len(groups) > 1:
        best, one, other = max(
            (similar[np.ix_(first, second)].mean(), i, j)
            for i, first in enumerate(groups)
            for j, second in enumerate(groups[:i])
        )
        if best < threshold:
            break
        groups[other] += groups.pop(one)
    return {frozenset(group) for group in groups}


@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.5, 0.65])
def test_the_groups_are_those_of_the_plain_algorithm(threshold):
    rows = faces(6, 5)
    assert partition(group_faces(rows, threshold)) == plain_groups(rows, threshold)


def test_the_order_of_the_embeddings_does_not_matter():
    """Neither does that of copies, which are all equally similar."""
    rows = faces(8, 5)
    rows = np.concatenate([rows, rows[:7], rows[:3]])
    expected = partition(group_faces(rows, 0.45))
    assert 1 < len(expected) < len(rows)
    for seed in range(10):
        order = np.random.default_rng(seed).permutation(len(rows))
        labels = np.empty(len(rows), dtype=np.int64)
        labels[order] = group_faces(rows[order], 0.45)
        assert partition(labels) == expected


def test_groups_are_numbered_in_the_order_of_their_first_embeddings():
    rows = faces(3, 2, spread=0.1)
    assert group_faces(rows[[4, 0, 5, 2, 1, 3]], 0.5).tolist() == [0, 1, 0, 2, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_embeddings(count):
    assert group_faces(faces(2, 1)[:count], 0.9).tolist() == list(range(count))


def test_equal_embeddings_are_one_group():
    rows = np.repeat(faces(1, 1), 40, axis=0)
    assert set(group_faces(rows, 0.99).tolist()) == {0}


def test_a_number_stays_with_most_of_its_members():
    assert carry_over([[7, 7, None]]) == ([7], {}), "it grows"
    assert carry_over([[7], [8], [None]]) == ([7, 8, None], {}), "a new one comes"
    assert carry_over([[7, 8, 8], [None]]) == ([8, None], {7: 8}), "two are one"
    assert carry_over([[7, 8], [9]]) == ([7, 9], {8: 7}), "of equal ones, the smallest"
    assert carry_over([[7], [7, 7]]) == ([None, 7], {}), "one is two"
    assert carry_over([[7, 7, 8], [7, 8, 8, 8]]) == ([7, 8], {}), "both change at once"
