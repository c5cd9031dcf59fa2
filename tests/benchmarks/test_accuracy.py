"""Figures against scikit-learn and against the original's own way of counting."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.__main__ import build_parser
from benchmarks.accuracy import evaluate
from benchmarks.accuracy.embeddings import EmbeddingStore
from edge_sphereface import metrics
from edge_sphereface.cli.runner import run
from edge_sphereface.errors import EmbeddingError
from edge_sphereface.inference.session import ProviderReport


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
