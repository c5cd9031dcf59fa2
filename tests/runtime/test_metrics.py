"""Agreement and separation, against their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sphereface.json_output import json_object
from edge_sphereface.metrics import agreement, roc_auc

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=20)


@given(scores, scores)
def test_auc_counts_pairs(genuine, impostor):
    pairs = [(g > i) + (g == i) / 2 for g in genuine for i in impostor]
    got = roc_auc(np.array(genuine, np.float32), np.array(impostor, np.float32))
    assert got == pytest.approx(sum(pairs) / len(pairs))


def test_auc_needs_both_kinds():
    with pytest.raises(ValueError, match="at least one"):
        roc_auc(np.empty(0, np.float32), np.ones(1, np.float32))


def test_agreement_measures_what_it_says():
    measured = agreement([[3.0, 4.0]], [[3.0, 4.4]])
    assert measured.max_abs_error == pytest.approx(0.1)
    assert measured.min_cosine == pytest.approx((9 + 17.6) / (5 * np.hypot(3, 4.4)))
    assert agreement([[1.0, 2.0]], [[1.0, 2.0]]).max_abs_error == 0


@pytest.mark.parametrize("bad", [[[np.nan, 1.0]], [[np.inf, 1.0]], [[0.0, 0.0]]])
def test_nothing_broken_agrees(bad):
    assert agreement([[1.0, 2.0]], bad).min_cosine == -1
    assert agreement(bad, [[1.0, 2.0]]).max_abs_error == float("inf")


def test_an_error_that_is_not_finite_is_null():
    measured = agreement([[1.0, 2.0]], [[np.nan, 2.0]])
    assert json_object(measured) == {"max_abs_error": None, "min_cosine": -1.0}


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="one shape"):
        agreement([[1.0]], [[1.0, 2.0]])
