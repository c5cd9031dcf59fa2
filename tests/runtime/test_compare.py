"""Comparison: cosine in [-1, 1], and nothing that has no direction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_sphereface.compare import cosine_similarity, normalize, verify
from edge_sphereface.errors import EmbeddingError

vectors = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.just(8)), elements=st.floats(-100, 100, width=32)
).filter(lambda rows: bool((np.linalg.norm(rows, axis=1) > 1e-3).all()))


@pytest.mark.slow
@given(vectors, vectors)
def test_equals_the_definition(probes, gallery):
    got = cosine_similarity(probes, gallery)
    lengths = np.linalg.norm(probes, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    assert got.shape == (len(probes), len(gallery))
    assert np.abs(got).max() <= 1
    np.testing.assert_allclose(got, probes.astype(np.float64) @ gallery.T / lengths, atol=1e-5)


@given(vectors)
def test_inputs_are_left_alone(rows):
    before = rows.copy()
    cosine_similarity(rows, rows)
    np.testing.assert_array_equal(rows, before)


def test_empty_sets():
    assert cosine_similarity(np.empty((0, 4)), np.ones((3, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ([1, 2, 3], [1, 2], "one size"),
        ([0, 0, 0], [1, 2, 3], "given embedding has length zero"),
        ([np.nan, 0, 1], [1, 2, 3], "given embedding is not finite: its length is nan.*check the vectors"),
        ([1, 2, 3], [np.inf, 0, 1], "given embedding is not finite: its length is inf.*check the vectors"),
        (np.ones((2, 2, 2)), [1, 2], "shape"),
        ([], [], "shape"),
    ],
)
def test_what_cannot_be_compared(first, second, words):
    with pytest.raises(EmbeddingError, match=words):
        cosine_similarity(first, second)


def test_verify():
    same = verify([1, 0], [1, 0.1], threshold=0.3)
    assert same.same
    assert same.similarity == pytest.approx(1 / np.hypot(1, 0.1), abs=1e-6)
    assert not verify([1, 0], [0, 1], threshold=0.3).same
    assert verify([1, 0], [0, 1], threshold=0).same, "the threshold itself counts as the same person"
    with pytest.raises(ValueError, match="-1 to 1"):
        verify([1], [1], threshold=30)
    with pytest.raises(EmbeddingError, match="one embedding"):
        verify(np.ones((2, 3)), np.ones((1, 3)), threshold=0.3)


def test_normalize_works_in_place():
    rows = np.array([[3, 4]], np.float32)
    assert normalize(rows) is rows
    np.testing.assert_allclose(rows, [[0.6, 0.8]], rtol=1e-6)
