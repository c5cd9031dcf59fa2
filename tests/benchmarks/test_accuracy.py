"""Figures against scikit-learn and against the original's own way of counting."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.__main__ import build_parser
from benchmarks.accuracy import evaluate, protocols, published
from benchmarks.accuracy.embeddings import EmbeddingStore
from edge_sphereface import metrics
from edge_sphereface.cli.runner import run
from edge_sphereface.errors import EmbeddingError
from edge_sphereface.evaluation.pairs import Pair
from edge_sphereface.inference.session import ProviderReport
from edge_sphereface.model.origin import Origin
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.pretrained import PRETRAINED_SHA256
from export.untrained import untrained_parameters


def example(count=600, seed=0, gap=1.5):
    random = np.random.default_rng(seed)
    same = np.arange(count) % 2 == 0
    scores = np.tanh(random.normal(size=count) * 0.3 + same * gap * 0.3)
    return scores, same


def original_ten_fold(scores, same):
    """As eval.py of the original goes about it, pair by pair."""
    count, accuracies, chosen = len(scores), [], []
    for fold in range(10):
        test = list(range(int(fold * count / 10), int((fold + 1) * count / 10)))
        train = [i for i in range(count) if i not in set(test)]
        best_threshold = best = 0
        for threshold in np.arange(-1.0, 1.0, 0.005):
            accuracy = np.mean([(scores[i] > threshold) == same[i] for i in train])
            if accuracy >= best:
                best, best_threshold = accuracy, threshold
        accuracies.append(np.mean([(scores[i] > best_threshold) == same[i] for i in test]))
        chosen.append(best_threshold)
    return np.mean(accuracies), np.std(accuracies), np.mean(chosen)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_ten_fold_is_the_originals(seed):
    scores, same = example(120, seed)
    folds = metrics.ten_fold(scores, same)
    assert (folds.accuracy, folds.std, folds.threshold) == pytest.approx(original_ten_fold(scores, same))
    assert folds.correct.mean() == pytest.approx(folds.accuracy)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-9, 9), st.booleans()), min_size=4, max_size=60))
def test_roc_is_scikit_learns(rows):
    from sklearn.metrics import roc_curve

    scores = np.array([score / 10 for score, _ in rows])
    same = np.array([label for _, label in rows])
    if same.all() or not same.any():
        return
    far, tar = metrics.roc(scores, same)
    expected_far, expected_tar, _ = roc_curve(same, scores, drop_intermediate=False)
    np.testing.assert_allclose(far, expected_far)
    np.testing.assert_allclose(tar, expected_tar)


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.5, 1.5, 3])
def test_error_rates_are_scikit_learns(gap):
    from scipy.interpolate import interp1d
    from scipy.optimize import brentq
    from sklearn.metrics import roc_curve

    scores, same = example(2000, gap=gap)
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    expected = brentq(lambda x: 1 - x - interp1d(far, tar)(x), 0, 1)
    assert metrics.equal_error_rate(scores, same) == pytest.approx(expected, abs=2e-3)
    for wanted in (1e-1, 1e-2):
        assert metrics.tar_at_far(scores, same, wanted) == pytest.approx(tar[far <= wanted].max())


def test_perfect_and_hopeless_scores():
    same = np.array([True] * 50 + [False] * 50)
    perfect = np.where(same, 0.9, -0.5)
    assert metrics.equal_error_rate(perfect, same) == 0
    assert metrics.tar_at_far(perfect, same, 1e-3) == 1
    assert metrics.equal_error_rate(-perfect, same) == 1
    assert metrics.tar_at_far(np.zeros(100), same, 1e-2) == 0


def test_an_interval_covers_the_figure_and_shrinks_with_pairs():
    widths = []
    for count in (200, 5000):
        scores, same = example(count)
        correct = metrics.ten_fold(scores, same).correct
        low, high = metrics.interval(lambda i, c=correct: float(c[i].mean()), count)
        assert low < correct.mean() < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_mcnemar():
    a = np.array([True] * 90 + [False] * 10)
    assert evaluate.mcnemar_p(a, a) == 1
    b = a.copy()
    b[:2] = False
    assert evaluate.mcnemar_p(a, b) == pytest.approx(0.5)
    b[:12] = False
    assert evaluate.mcnemar_p(a, b) == pytest.approx(2 * 0.5**12)


def test_each_fold_may_have_its_own_scores():
    scores, same = example(200)
    by_fold = np.stack([scores if fold % 2 else -scores for fold in range(10)])
    found, ours, negated = (metrics.ten_fold(values, same) for values in (by_fold, scores, -scores))
    for fold, (low, high) in enumerate(itertools.pairwise(metrics.fold_edges(200))):
        expected = (ours if fold % 2 else negated).correct[low:high]
        np.testing.assert_array_equal(found.correct[low:high], expected)


def evaluation_m(left, right, same, *, subtract):
    """As the authors' evaluation.m goes about it, with the thresholds of the original's eval.py."""
    fold, accuracies = np.arange(len(same)) * 10 // len(same), []
    for number in range(10):
        others = fold != number
        mean = np.concatenate([left[others], right[others]]).mean(axis=0) if subtract else 0
        a, b = left - mean, right - mean
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
        scores = (a * b).sum(axis=1)
        rates = [((scores[others] > t) == same[others]).mean() for t in metrics.THRESHOLDS]
        threshold = metrics.THRESHOLDS[np.flatnonzero(rates == np.max(rates))[-1]]
        accuracies.append(((scores[~others] > threshold) == same[~others]).mean())
    return np.mean(accuracies), np.std(accuracies)


def people_with_a_common_part(count=200, size=6):
    """Features (2 D,) by photograph and pairs of them. All features share a large part, which the mean takes away."""
    random, both, pairs = np.random.default_rng(3), {}, []
    common = random.normal(0, 3, 2 * size)
    for number in range(count):
        same, person = number % 2 == 0, random.normal(size=2 * size)
        other = person if same else random.normal(size=2 * size)
        for name, center in (("a", person), ("b", other)):
            both[f"{number}{name}"] = (common + center + random.normal(0, 0.9, 2 * size)).astype(np.float32)
        pairs.append(Pair(f"{number}a", f"{number}b", same=same))
    return pairs, both


def test_protocols_are_those_of_their_sources():
    pairs, both = people_with_a_common_part()
    same = np.array([pair.same for pair in pairs])
    left, right = (
        np.array([both[name] for name in names], np.float64)
        for names in zip(*[pair[:2] for pair in pairs], strict=True)
    )
    features = {
        "none": (left[:, :6], right[:, :6]),
        "sum": (left[:, :6] + left[:, 6:], right[:, :6] + right[:, 6:]),
        "concatenation": (left, right),
    }
    rows = protocols.by_protocol(pairs, both)
    found = [(row.mirror, row.mean_subtracted) for row in rows]
    assert found == [(mirror, subtracted) for subtracted in (False, True) for mirror in features]
    for row in rows:
        expected = evaluation_m(*features[row.mirror], same, subtract=row.mean_subtracted)
        assert (row.accuracy, row.accuracy_std) == pytest.approx(expected)
    assert len({row.accuracy for row in rows}) > 3, "the protocols must differ"
    assert rows[3].accuracy > rows[0].accuracy


def test_a_photograph_without_a_face_counts_as_a_different_person_by_every_protocol():
    pairs, both = people_with_a_common_part(40)
    complete = protocols.by_protocol(pairs, both)
    for number in range(0, 40, 2):
        both[f"{number}a"] = np.full(12, np.nan, np.float32)
    for row, before in zip(protocols.by_protocol(pairs, both), complete, strict=True):
        assert row.accuracy == pytest.approx(0.5, abs=0.2)
        assert row.accuracy < before.accuracy


def test_the_table_names_every_protocol():
    lines = protocols.text(protocols.by_protocol(*people_with_a_common_part(20)))
    assert lines[0].split("  ")[1] == "one crop"
    assert len(lines) == len(set(lines)) == 6
    assert sum("mean subtracted" in line for line in lines) == 3
    assert sum("sum" in line for line in lines) == 2
    assert sum("concatenated" in line for line in lines) == 2


def test_published_networks_are_measured_or_not_at_hand(spec):
    origin = Origin(preset="clcarwin", color_order="BGR", shortcut="after_activation", is_normalized=False)
    measured = {
        "mine": replace(spec, source_sha256=PRETRAINED_SHA256),
        "theirs": replace(spec, origin=origin),
        "other": spec,
    }
    found = {row.title.partition(",")[0]: row for row in published.published_networks(measured)}
    assert found["the pretrained network of this project"].measured_as == ("mine",)
    assert found["clcarwin/sphereface_pytorch"].measured_as == ("theirs",)
    assert found["ydwen/opensphere"].measured_as == ()
    text = published.text(list(found.values()))
    assert "measured above as mine" in text
    assert "ydwen/opensphere, sfnet20: no accuracy (not stated for its files; " in text
    assert text.count("file not at hand") == len(found) - 2
    assert "not measured" not in text, "a row says itself whether it was measured"


def row_of(figures):
    provider = ProviderReport(
        requested="cpu", active=("CPUExecutionProvider",), nodes=None, threads=1, onnxruntime="1.20.0"
    )
    return evaluate.AccuracyRow(
        label="x",
        model="x.onnx",
        precision="float32",
        landmarks="given",
        flip=False,
        provider=provider,
        figures=figures,
    )


@pytest.mark.slow
def test_a_difference_is_told_from_chance():
    scores, same = example(3000)
    worse = scores.copy()
    worse[: len(worse) // 5] *= -1
    embeddings = {"a": np.ones(4, np.float32) / 2}
    alone = evaluate.judge(evaluate.Scores(scores, same, 1, {}), evaluate.Scores(scores, same, 1, {}))
    assert alone.difference.cosine_mean is None
    assert "no more than chance" in evaluate.text([row_of(alone)])
    found = evaluate.judge(evaluate.Scores(worse, same, 3, embeddings), evaluate.Scores(scores, same, 3, embeddings))
    assert found.difference.mcnemar_p < 1e-3
    assert found.difference.interval[1] < 0
    assert found.difference.cosine_min == 1
    assert (found.undetected, found.photographs) == (3, 4)
    text = evaluate.text([row_of(found)])
    assert "more than chance" in text


def write(path, text):
    path.write_text(text)
    return path


@pytest.fixture
def photographs(tmp_path, astronaut):
    """Two people, three photographs, one of which shows no face, as CSV pairs."""
    import cv2

    for name, image in {"a.png": astronaut, "b.png": astronaut[:, ::-1], "c.png": np.zeros_like(astronaut)}.items():
        cv2.imwrite(str(tmp_path / name), image)
    write(tmp_path / "p.csv", "image1_path,image2_path,label\n" + "a.png,b.png,1\na.png,c.png,0\n" * 10)
    return tmp_path


def command(folder, model, *more):
    words = ["accuracy", str(model), "--pairs", str(folder / "p.csv"), "--images", str(folder), "--detector", "mtcnn"]
    return run(build_parser(), [*words, *more])


def test_undetected_faces_are_counted_and_stated(photographs, small_model, capsys):
    assert command(photographs, small_model, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["accuracy"]
    assert (row["undetected"], row["photographs"], row["pairs"]) == (1, 3, 20)
    assert row["landmarks"] == "mtcnn"
    assert [line["mirror"] for line in row["protocols"]] == 2 * ["none", "sum", "concatenation"]
    assert row["protocols"][0]["accuracy"] == row["accuracy"]


def test_a_detector_that_takes_no_model_file_is_a_contradiction(photographs, small_model, capsys):
    assert command(photographs, small_model, "--detector-model", "yunet.onnx") == 2
    assert "--detector-model is YuNet's" in capsys.readouterr().err


def test_networks_of_different_weights_are_compared_by_their_decisions(photographs, small_model, made_model, capsys):
    """Their embeddings have other directions, and may have another size."""
    words = ["--pairs", photographs / "p.csv", "--images", photographs, "--detector", "mtcnn", "--json"]
    assert run(build_parser(), ["accuracy", str(small_model), str(made_model), *map(str, words)]) == 0
    first, second = json.loads(capsys.readouterr().out)["accuracy"]
    assert "difference" not in first
    assert second["difference"]["mcnemar_p"] <= 1
    assert second["difference"]["cosine_mean"] is None


@pytest.fixture
def made_model(tmp_path):
    """A network of other weights, size and crops than the small model."""
    shape = {"depth": 4, "widths": (4, 4, 4, 8), "embedding_size": 16, "input_size": (112, 112)}
    write_ckpt(tmp_path / "x.ckpt", untrained_parameters(**shape))
    return convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="numpy")).model


@pytest.mark.slow
def test_a_run_goes_on_where_it_broke_off(photographs, small_model, capsys):
    """The second run embeds nothing, so it writes nothing; the embeddings lie in the cache for their owner alone."""
    from edge_sphereface.storage.cache import cache_folder

    command(photographs, small_model, "--json")
    first = json.loads(capsys.readouterr().out)["accuracy"][0]
    (kept,) = (cache_folder() / "embeddings").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    written = kept.stat().st_mtime_ns
    command(photographs, small_model, "--json")
    second = json.loads(capsys.readouterr().out)["accuracy"][0]
    assert second["accuracy"] == first["accuracy"]
    assert kept.stat().st_mtime_ns == written


@pytest.mark.slow
def test_other_landmarks_make_other_embeddings(photographs, small_model, capsys):
    """Embeddings in the cache belong to the landmarks that made them."""
    figures = []
    for shift in (0, 60, 0):
        points = " ".join(str(value + shift) for value in (205, 101, 248, 104, 224, 128, 203, 140, 245, 142))
        write(photographs / "l.txt", "\n".join(f"{name}.png {points}" for name in "abc"))
        command(photographs, small_model, "--landmarks", str(photographs / "l.txt"), "--json")
        figures.append(json.loads(capsys.readouterr().out)["accuracy"][0]["roc"])
    assert figures[0] == figures[2]
    from edge_sphereface.storage.cache import cache_folder

    assert len(list((cache_folder() / "embeddings").iterdir())) == 2


def test_no_cache_keeps_nothing(photographs, small_model, capsys):
    from edge_sphereface.storage.cache import cache_folder

    command(photographs, small_model, "--no-cache")
    assert not (cache_folder() / "embeddings").exists()


def test_what_was_embedded_before_an_error_is_kept(photographs, small_model, capsys):
    text = (photographs / "p.csv").read_text()
    write(photographs / "p.csv", text + "a.png,missing.png,0\n")
    assert command(photographs, small_model, "--json") == 1
    assert "missing.png" in json.loads(capsys.readouterr().out)["error"]["message"]
    from edge_sphereface.storage.cache import cache_folder

    assert len(list((cache_folder() / "embeddings").iterdir())) == 1


def test_a_damaged_store_says_so():
    from edge_sphereface.storage.cache import cache_folder

    store = EmbeddingStore("x", 4)
    store.add("digest", np.ones(4, np.float32))
    store.save()
    np.testing.assert_array_equal(EmbeddingStore("x", 4)["digest"], [1, 1, 1, 1])
    assert "digest" not in EmbeddingStore("x", 5), "another size is another model"
    (kept,) = (cache_folder() / "embeddings").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(EmbeddingError, match="delete it"):
        EmbeddingStore("x", 4)


def test_no_pairs_were_named(small_model, capsys):
    assert run(build_parser(), ["accuracy", str(small_model), "--json"]) == 2
    assert "--lfw" in json.loads(capsys.readouterr().out)["error"]["hint"]


@pytest.mark.slow
def test_trained_weights_on_three_folds_of_lfw(shared, trained_model, tmp_path, capsys):
    """The shared checkpoint's own figure for all folds is 96.40 ± 0.88 %; the first 600 pairs must be near it."""
    lines = shared("lfw/pairs.txt").read_text().splitlines()[:601]
    write(tmp_path / "pairs.txt", "\n".join(lines))
    words = ["--pairs", tmp_path / "pairs.txt", "--images", shared("lfw") / "images"]
    words += ["--landmarks", shared("lfw/lfw_landmark.txt"), "--no-cache", "--json"]
    assert run(build_parser(), ["accuracy", str(trained_model), *map(str, words)]) == 0
    (row,) = json.loads(capsys.readouterr().out)["accuracy"]
    assert 0.92 < row["accuracy"] < 0.98
    assert row["undetected"] == 0
