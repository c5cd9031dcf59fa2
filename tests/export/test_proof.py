"""The proof of a quantization: intervals that hold, pairs that are left out, and what too few of them are worth."""

import numpy as np
import pytest

from edge_sphereface import metrics
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import PairsError
from edge_sphereface.evaluation.latency import Ratio
from edge_sphereface.evaluation.machine_load import MachineLoad
from edge_sphereface.evaluation.pairs import LabeledPairs, Pair
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from export.quantization.paired import accuracy_loss, people_of, tar_loss
from export.quantization.paired_embeddings import Embedded, embed_pairs
from export.quantization.policy import Policy
from export.quantization.proof import Latency, judge, least_quantile
from export.quantization.report import proof_text
from export.speed import Race
from export.threshold import MeasuredThreshold

# --- intervals ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("count", "share"), [(299, 0.01), (2000, 0.01), (1000, 0.05)])
def test_the_quantile_is_above_its_lower_bound_as_often_as_is_said(count, share):
    random = np.random.default_rng(count)
    bounds = np.array([least_quantile(random.random(count), share) for _ in range(400)])
    assert 0.92 <= (bounds <= share).mean() <= 0.99
    assert bounds.mean() > share / 10  # and is no trivial bound


def test_too_few_crops_bound_no_quantile():
    """The least of 298 is below the first percentile with less than 95 %: 1 - 0.99 ** 298 = 0.9499."""
    assert least_quantile(np.arange(298.0), 0.01) is None
    assert least_quantile(np.arange(299.0), 0.01) == 0


def test_the_quantile_does_not_depend_on_how_many_photographs_there_are():
    """As the minimum does, which refused a harmless network."""
    random = np.random.default_rng(0)
    few, many = (1 - random.exponential(0.001, count) for count in (2000, 50_000))
    assert few.min() - many.min() > 0.002
    assert least_quantile(few, 0.01) == pytest.approx(least_quantile(many, 0.01), abs=0.001)


def pairs_that_share_people(random, people, count, flips, moodiness):
    """Labels and people of pairs, and which are decided worse and which better.

    With some people one of both is more likely, so that pairs with a common person go together.
    """
    first = random.integers(0, people, count)
    same = random.random(count) < 0.5
    second = np.where(same, first, (first + 1 + random.integers(0, people - 1, count)) % people)
    mood = random.normal(0, moodiness, people)
    lean = mood[first] + mood[second]
    worse, better = (random.random(count) < np.clip(flips * np.exp(side), 0, 0.4) for side in (lean, -lean))
    return same, (first, second), worse & ~better, better & ~worse


@pytest.mark.parametrize("moodiness", [0.0, 1.0])
def test_the_loss_is_below_its_upper_bound_as_often_as_is_said(moodiness):
    """Neither model is better: their difference has mean zero by symmetry, whatever pairs have in common."""
    covered = independent = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        _, people, worse, better = pairs_that_share_people(random, 150, 2000, 0.01, moodiness)
        before, after = ~better, ~worse
        covered += accuracy_loss(before, after, people).most >= 0
        alone = np.arange(len(before)), np.arange(len(before))
        independent += accuracy_loss(before, after, alone).most >= 0
    assert covered >= 0.92 * 300
    if moodiness:
        assert independent < covered, "people in common make pairs less than independent"


def test_no_differing_pair_is_no_certainty():
    """The rule of three says 0.15 points for 2,000 pairs; some doubt must be left here too."""
    right, people = np.ones(2000, bool), (np.arange(2000), np.arange(2000))
    loss = accuracy_loss(right, right, people)
    assert loss.points == 0
    assert 0.08 < loss.most < 0.2
    assert accuracy_loss(right[:10], right[:10], (people[0][:10], people[1][:10])).most > 10


@pytest.mark.slow
def test_the_loss_of_the_true_accept_rate_has_the_spread_of_resampled_pairs():
    random = np.random.default_rng(3)
    same = np.arange(6000) % 2 == 0
    scores = np.where(same, 0.5, 0.0)[:, None] + random.normal(0, 0.15, (6000, 1)) + random.normal(0, 0.01, (6000, 2))
    loss = tar_loss(scores, same, 0.01, (np.arange(6000), np.arange(6000)))

    def lost(chosen):
        return metrics.tar_at_far(scores[chosen, 0], same[chosen], 0.01) - metrics.tar_at_far(
            scores[chosen, 1], same[chosen], 0.01
        )

    spread = np.std([lost(random.integers(0, 6000, 6000)) for _ in range(200)])
    assert loss.points == pytest.approx(100 * lost(np.arange(6000)), abs=1e-9)
    assert (loss.most - loss.points) / 164.5 == pytest.approx(spread, rel=0.35)


def test_people_are_folders_or_what_pairs_of_the_same_person_link():
    lfw = [Pair("Ann/1", "Ann/2", same=True), Pair("Ann/3", "Bob/1", same=False), Pair("Bob/2", "Ann/1", same=False)]
    first, second = people_of(lfw)
    assert first[0] == second[0] == first[1] == second[2] != second[1] == first[2]
    flat = [Pair("1", "2", same=True), Pair("2", "3", same=True), Pair("4", "3", same=False)]
    first, second = people_of(flat)
    assert first[0] == second[0] == first[1] == second[1] == second[2] != first[2]


# --- what is judged ----------------------------------------------------------------------------------------------


def embedded_pairs(count, spread, *, size=64, harm=0.0, unseen=None, seed=0):
    """Photographs of ``count`` pairs as a float model and another embed them.

    Args:
        count: pairs, every other one of the same person.
        spread: between two photographs of a person.
        size: of embeddings.
        harm: how far the other model errs.
        unseen: of each photograph; None for all.
        seed: of the randomness.
    """
    random = np.random.default_rng(seed)

    def unit(rows):
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    who = unit(random.normal(size=(2 * count, size)))
    who[1::4] = who[::4][: len(who[1::4])]
    expected = unit(who + spread * random.normal(size=who.shape) / np.sqrt(size))
    expected = np.concatenate([expected, np.repeat(expected[:1], 16, axis=0)])
    got = unit(expected + harm * random.normal(size=expected.shape) / np.sqrt(size))
    names = [f"{number}.jpg" for number in range(2 * count)]
    seen = np.ones(len(expected), bool) if unseen is None else np.r_[unseen, np.ones(16, bool)]
    pairs = [Pair(names[2 * n], names[2 * n + 1], same=n % 2 == 0) for n in range(count)]
    return Embedded("made", names, expected, got, seen, []), LabeledPairs(pairs, None, None)


UNTIMED = Policy(latency=None)
NO_LATENCY = Latency(None, "not here")


def verdicts(spec, made, *, policy=UNTIMED, latency=NO_LATENCY, **options):
    return judge(spec, *made, latency, policy, **options)


def test_ten_pairs_are_not_judged(spec):
    """A model that is off by much passes nothing on ten pairs that happen to come out alike: nothing is claimed."""
    proof = verdicts(spec, embedded_pairs(10, 0.5), policy=Policy(accuracy=-100, tar=-100))
    said = [judgment for judgment in proof.judgments if "accuracy" in judgment.what or "TAR" in judgment.what]
    assert len(said) == 2
    for judgment in said:
        assert judgment.holds
        assert "not judged, 10 pairs are too few: 2000 are needed" in str(judgment)
    assert any("accuracy" in sentence for sentence in proof.not_judged)
    assert "not judged, 10 pairs" in proof_text(proof)


@pytest.mark.slow
@pytest.mark.parametrize(("harm", "passes"), [(0.02, True), (0.6, False)])
def test_enough_pairs_are_judged_by_the_upper_end_of_the_loss(spec, harm, passes):
    bounds = Policy(mean=None, p1=None, known=None, min=None, latency=None)
    proof = verdicts(spec, embedded_pairs(4000, 0.9, harm=harm), policy=bounds)
    accuracy = next(judgment for judgment in proof.judgments if "accuracy" in judgment.what)
    assert accuracy.worst > accuracy.measured
    assert proof.passed is passes
    lax = Policy(mean=None, p1=None, known=None, min=None, tar=None, latency=None, accuracy=accuracy.measured)
    assert not verdicts(spec, embedded_pairs(4000, 0.9, harm=harm), policy=lax).passed, "the point alone would pass"


def test_pairs_of_the_calibration_are_left_out_and_counted(spec):
    unseen = np.ones(4200, bool)
    unseen[[0, 1, 7]] = False  # both photographs of one pair, and one of another
    proof = verdicts(spec, embedded_pairs(2100, 0.5, unseen=unseen))
    assert (proof.pairs.count, proof.pairs.left_out) == (2098, 2)
    assert proof.report().pairs.left_out == 2
    assert "2098 labeled pairs (2 others excluded" in proof_text(proof)
    with pytest.raises(PairsError, match="were not used by the calibration, got 0 of 20"):
        verdicts(spec, embedded_pairs(20, 0.5, unseen=np.zeros(40, bool)))


def test_a_photograph_of_the_calibration_is_known_by_its_content(shallow_models, faces, tmp_path):
    """Whatever it is called, and if it was only packed anew."""
    import cv2

    from export.quantization.crops import digests_of

    embedder = Embedder(shallow_models["image"])
    for number, crop in enumerate(faces[:4]):
        save_image(tmp_path / f"{number}.png", crop)
    (tmp_path / "renamed.png").write_bytes((tmp_path / "0.png").read_bytes())
    cv2.imwrite(str(tmp_path / "packed.png"), faces[1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    assert (tmp_path / "packed.png").read_bytes() != (tmp_path / "1.png").read_bytes()
    taken = digests_of(tmp_path / "0.png", faces[0]) | digests_of(tmp_path / "1.png", faces[1])
    pairs = [Pair("renamed.png", "packed.png", same=True), Pair("2.png", "3.png", same=False)]
    labeled = LabeledPairs(pairs, tmp_path, None)
    embedded = embed_pairs(embedder, embedder, labeled, open_detector(), calibrated_on=taken)
    unseen = dict(zip(embedded.names, embedded.unseen, strict=False))
    assert unseen == {"renamed.png": False, "packed.png": False, "2.png": True, "3.png": True}


@pytest.mark.slow
def test_one_odd_crop_of_thousands_is_harmless_and_a_broken_one_is_not(spec):
    """The floor is for what is broken; the rest is judged by figures that do not fall with the number of crops."""
    made, labeled = embedded_pairs(2000, 0.5, harm=0.01)
    for cosine, passes in ((0.95, True), (0.5, False)):
        got = made.got.copy()
        other = got[9] - (got[9] @ made.expected[5]) * made.expected[5]
        got[5] = cosine * made.expected[5] + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)
        proof = verdicts(spec, (made._replace(got=got), labeled))
        assert proof.passed is passes, proof.missed


def test_a_folder_that_is_spoiled_as_a_whole_hides_nothing(spec):
    """Thousands of crops on which both agree, and the built-in photograph on which they do not."""
    made, labeled = embedded_pairs(2000, 0.5)
    got = made.got.copy()
    got[-16:] = made.expected[-16:] + 0.25 * made.expected[:16]
    got[-16:] /= np.linalg.norm(got[-16:], axis=1, keepdims=True)
    proof = verdicts(spec, (made._replace(got=got), labeled))
    assert [sentence.split(":")[0] for sentence in proof.missed] == ["minimum over the built-in photograph"]


def test_a_few_crops_are_said_to_tell_no_percentile(spec):
    proof = verdicts(spec, embedded_pairs(20, 0.5))
    assert any("56 crops are too few to tell it" in sentence for sentence in proof.not_judged)


@pytest.mark.parametrize(("high", "passes"), [(0.99, True), (1.01, False)])
def test_latency_is_judged_by_the_upper_end_of_the_ratio(spec, high, passes):
    ratios = {"tuned.onnx": Ratio(ratio=0.95, low=0.9, high=high, rounds=20)}
    load = MachineLoad(other_processors=0.0, average=None, processors=2)
    latency = Latency(Race(latency={}, ratios=ratios, load=load))
    proof = verdicts(spec, embedded_pairs(2000, 0.5), policy=Policy(), latency=latency)
    assert proof.passed is passes
    assert passes or "latency over tuned.onnx: 0.95, with 95 % confidence at most 1.01 > 1" in proof.missed[0]
    assert proof.misses_latency_only is not passes
    assert not verdicts(spec, embedded_pairs(2000, 0.5), policy=Policy(mean=2), latency=latency).misses_latency_only


# --- thresholds --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_threshold_says_where_it_comes_from(spec):
    made = embedded_pairs(2000, 1.0)
    carried = verdicts(spec, made)
    assert carried.threshold == pytest.approx(spec.threshold, abs=0.01)
    assert carried.threshold_source.startswith(f"the float model's {spec.threshold:g} (test), carried over")
    text = proof_text(carried)
    assert f"threshold of this model: {carried.threshold:g} (the float model's" in text
    assert f"the threshold on these pairs is {carried.pairs.reduced.threshold:.3f}" in text
    own = verdicts(spec, made, from_pairs=True)
    assert own.threshold == pytest.approx(carried.pairs.reduced.threshold, abs=1e-4)
    assert own.threshold_source == "mean of ten out-of-fold thresholds on 2000 labeled pairs"
    assert "threshold on these pairs" not in proof_text(own)
    with pytest.raises(PairsError, match="at least 300 usable pairs"):
        verdicts(spec, embedded_pairs(200, 1.0), from_pairs=True)
    kept = verdicts(spec, made, own=MeasuredThreshold(0.123, "of its own"))
    assert (kept.threshold, kept.threshold_source) == (0.123, "of its own")
