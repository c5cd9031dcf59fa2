"""Benchmarks of galleries: the arithmetic of open-set identification, the answers of a search, the rate of a folder."""

import numpy as np
import pytest

from benchmarks import plots
from benchmarks.gallery import identification, scale, search
from benchmarks.gallery.identification import Answers, IdentificationRow, judge, make_protocol, text
from edge_sphereface.batch import OperatorConfig
from edge_sphereface.errors import PairsError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import ProviderReport


def silent(_name):
    return lambda done, total: None


@pytest.fixture
def answers():
    """200 probes of 20 people, 9 of 10 right; 100 strangers from 0.00 to 0.99."""
    random = np.random.default_rng(0)
    return Answers(
        similarity=random.uniform(0.4, 1.0, 200),
        right=np.arange(200) % 10 != 0,
        person=np.arange(200) // 10,
        strangers=np.arange(100) / 100,
        pair_threshold=0.8,
        enrolled=20,
    )


def row_of(figures):
    provider = ProviderReport(
        requested="cpu", active=("CPUExecutionProvider",), nodes=None, threads=1, onnxruntime="1.20.0"
    )
    return IdentificationRow(
        label="x", model="x.onnx", precision="float32", landmarks="given", provider=provider, figures=figures
    )


@pytest.mark.slow
def test_rank_1_and_dir_by_hand(answers):
    row = judge(answers)
    assert row.rank_1 == pytest.approx(0.9)
    # one of a hundred strangers may be taken for somebody: the threshold lies just above the second
    assert 0.98 < row.threshold < 0.98001
    assert row.dir == pytest.approx((answers.right & (answers.similarity > 0.98)).mean())
    assert row.false_alarm_rate_at_pair_threshold == pytest.approx(0.2), "0.80 to 0.99"
    assert row.rank_1_interval[0] <= 0.9 <= row.rank_1_interval[1]
    assert row.curve.dir == tuple(sorted(row.curve.dir))
    assert row.curve.dir[-1] == pytest.approx(row.rank_1), "all alarms allowed: only the rank counts"
    assert "20 people enrolled" in text([row_of(row)])
    assert plots.identification([row_of(row)]).startswith(b"\x89PNG")


def test_a_gallery_that_cannot_tell_identifies_nobody(answers):
    """A test that can fail: probes whose similarities are those of strangers."""
    blind = answers._replace(similarity=np.full(200, 0.2))
    assert judge(blind).dir == 0


@pytest.mark.slow
def test_the_protocol_of_lfw(shared):
    protocol = make_protocol(shared("lfw") / "images")
    assert len(protocol.enrolled) == 62
    assert {len(images) for images in protocol.enrolled.values()} == {5}
    assert len(protocol.strangers) == len({path.split("/")[0] for path in protocol.strangers}) == 500
    enrolled = {path for images in protocol.enrolled.values() for path in images}
    assert not enrolled & {path for path, _ in protocol.probes}
    assert not set(protocol.enrolled) & {path.split("/")[0] for path in protocol.strangers}
    assert protocol == make_protocol(shared("lfw") / "images")


def test_too_few_photographs(tmp_path):
    (tmp_path / "ann").mkdir()
    with pytest.raises(PairsError, match="got 0 and 0"):
        make_protocol(tmp_path)


def test_identification_goes_through_a_gallery(small_model):
    """Embeddings that are given; a photograph without a face is left out."""
    embedder = Embedder(small_model)
    rows = np.random.default_rng(0).standard_normal((6, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    protocol = identification.Protocol(
        enrolled={"ann": ["a1"], "bob": ["b1"]},
        probes=[("a2", "ann"), ("b2", "bob"), ("a3", "ann")],
        strangers=["c", "d"],
    )
    found = {
        "a1": rows[0],
        "a2": rows[0],
        "b1": rows[1],
        "b2": rows[0],
        "a3": rows[0] * np.nan,
        "c": rows[2],
        "d": rows[3],
    }
    answers = identification.ask(protocol, found, embedder)
    assert answers.right.tolist() == [True, False]
    np.testing.assert_allclose(answers.similarity, 1, atol=1e-6)
    assert answers.strangers.max() < 0.9
    # of one pair none may be accepted: the threshold lies just above it
    assert answers.pair_threshold == pytest.approx(rows[2] @ rows[3], abs=1e-6)


@pytest.mark.slow
def test_search_measures_what_it_says():
    rows = search.measure(300, probes=40, rounds=3, milvus=True, reporter=silent)
    assert [row.gallery for row in rows] == ["file", "Milvus Lite, exact", "Milvus Lite, HNSW"]
    for row in rows:
        assert row.recall.recall_at_1 == 1.0
        assert len(row.samples_ms) == 3
        assert min(row.median_ms, row.fill_s) > 0
        assert min(row.changes.enroll_ms, row.changes.remove_s, row.changes.first_search_ms) > 0
    assert "file" in search.text(rows)


def test_recall_is_measured_against_the_product():
    """A gallery that answers wrongly is seen."""
    templates = search.unit_rows(50, 1)
    probes = search.make_probes(templates, 20, 2)
    right = np.argmax(probes @ templates.T, axis=1)

    class Wrong:
        def search(self, probes, top):
            candidate = type("Candidate", (), {"name": "p0000000"})
            return [[candidate] for _ in probes]

    assert search._answers(Wrong(), probes, right).recall_at_1 == pytest.approx(np.mean(right == 0))
    known = (probes @ templates.T).max(axis=1)[:10]
    assert known == pytest.approx(search._GENUINE, abs=0.15)


@pytest.mark.slow
def test_a_folder_is_timed(tmp_path, photo, small_model):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(photo.read_bytes())
    config = OperatorConfig(folder=tmp_path, model=small_model, detector="mtcnn")
    (row,) = scale.measure(config, photographs=3, workers=[], rounds=2, reporter=silent)
    assert (row.engine, row.faces, len(row.runs)) == ("local", 3, 2)
    assert row.per_second > 0
    assert "local" in scale.text([row])
