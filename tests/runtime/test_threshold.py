"""A threshold holds its false accept rate on people it has not seen, and is refused where the data cannot tell it."""

import numpy as np
import pytest

from edge_sphereface.errors import ThresholdError
from edge_sphereface.evaluation.threshold import calibrate, calibrate_tracks


def crowd(people, each, seed, *, spread=0.8):
    """Unit embeddings (N, 64) of synthetic people, and their names."""
    random = np.random.default_rng(seed)
    centers = random.standard_normal((people, 64))
    rows = np.repeat(centers, each, axis=0) + spread * random.standard_normal((people * each, 64))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), [f"p{number // each}" for number in range(people * each)]


def all_pairs(embeddings, people):
    similarity = embeddings @ embeddings.T
    rows, columns = np.triu_indices(len(people), k=1)
    names = np.array(people)
    same = names[rows] == names[columns]
    return similarity[rows, columns][same], similarity[rows, columns][~same]


@pytest.mark.slow
@pytest.mark.parametrize("far", [0.1, 0.01, 0.002])
def test_at_most_the_wanted_share_is_accepted(far):
    """The strictest reading of the rate, of more photographs than are compared at once."""
    embeddings, people = crowd(100, 6, 1)
    genuine, impostor = all_pairs(embeddings, people)
    found = calibrate(embeddings, people, far)
    assert (impostor >= found.threshold).mean() <= far < (impostor >= found.threshold - 0.003).mean()
    assert found.measured_far == pytest.approx((impostor >= found.threshold).mean())
    assert found.tar == pytest.approx((genuine >= found.threshold).mean())
    assert (found.people, found.photographs) == (100, 600)
    assert (found.genuine_pairs, found.impostor_pairs) == (len(genuine), len(impostor))


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Of 60 crowds nearly all intervals hold the threshold that a crowd of thousands has."""
    big, names = crowd(1500, 2, 999)
    truth = np.quantile(all_pairs(big, names)[1], 0.99)
    intervals = [calibrate(*crowd(40, 5, seed), 0.01) for seed in range(60)]
    covered = sum(item.low <= truth <= item.high for item in intervals)
    assert covered >= 50
    assert all(item.low <= item.threshold + 0.01 and item.threshold - 0.01 <= item.high for item in intervals)
    assert np.mean([item.high - item.low for item in intervals]) < 0.2


@pytest.mark.slow
def test_more_people_narrow_the_interval():
    few, many = calibrate(*crowd(30, 5, 3), 0.01), calibrate(*crowd(300, 5, 3), 0.01)
    assert many.high - many.low < 0.5 * (few.high - few.low)


@pytest.mark.parametrize(
    ("people", "each", "far"),
    [(5, 100, 0.01), (24, 50, 0.01), (200, 1, 0.001), (1, 50, 0.5), (0, 0, 0.5), (60, 5, 1e-4)],
)
def test_data_that_cannot_support_the_rate(people, each, far):
    """Many photographs of few people are no many comparisons."""
    with pytest.raises(ThresholdError, match=r"needs at least .* people; got"):
        calibrate(*crowd(people, each, 1), far)


def test_the_refusal_says_what_would_do():
    with pytest.raises(
        ThresholdError, match=r"at least 30000 pairs .* and 78 people; got 1770 pairs of 60 people"
    ) as told:
        calibrate(*crowd(60, 1, 1), 0.001)
    assert "they support a rate of 0.017 or more" in told.value.message
    assert calibrate(*crowd(60, 1, 1), 0.017).tar is None, "nobody has two photographs"


@pytest.mark.parametrize("far", [0, 1, -1, float("nan")])
def test_rates_that_are_none(far):
    with pytest.raises(ValueError, match="false accept rate"):
        calibrate(*crowd(60, 5, 1), far)


def test_equal_scores():
    """Photographs of one face under many names: no threshold up to 1 accepts so few of them."""
    with pytest.raises(ThresholdError, match="No threshold gives so few false accepts"):
        calibrate(np.tile(np.eye(8, dtype=np.float32)[:1], (100, 1)), [str(n) for n in range(100)], 0.05)


def test_a_threshold_for_tracks_is_reached_by_the_share_of_strangers_that_was_asked_for():
    """The rate holds for other strangers of the same kind, and not for these alone."""
    random = np.random.default_rng(2)
    measured = []
    for _ in range(60):
        scores = random.normal(0.3, 0.1, 900)
        found = calibrate_tracks([scores[:2].tolist(), scores[2:600].tolist()], 0.05)
        assert found.measured_far <= 0.05
        assert found.low <= found.threshold <= found.high
        assert (found.tracks, found.sequences) == (600, 2)
        measured.append((scores[600:] >= found.threshold).mean())
    assert np.mean(measured) == pytest.approx(0.05, abs=0.006)


def test_too_few_tracks_are_refused():
    with pytest.raises(ThresholdError, match=r"at least 300 tracks .* got 299 in 1 sequences: .* 0\.01 or more"):
        calibrate_tracks([[0.1] * 299], 0.01)
    with pytest.raises(ThresholdError, match="they support none"):
        calibrate_tracks([], 0.5)
    assert calibrate_tracks([[0.5] * 300], 0.01).measured_far == 0, "equal scores: none may reach it"
