"""With ``--json`` every command of ``edge-sphereface`` prints one JSON object, as its schema says."""

from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.detection import yunet
from edge_sphereface.gallery import open_gallery
from edge_sphereface.storage.download import PinnedFile
from edge_sphereface.storage.files import sha256_of
from edge_sphereface.strangers import Sighting, StrangerStore
from scripts.json_schemas import RECORDS


def commands(parser, words=()):
    """The commands below a parser that take ``--json``, as their words."""
    if parser.commands is not None:
        for name, command in parser.commands.choices.items():
            yield from commands(command, (*words, name))
    elif "--json" in parser.options():
        yield " ".join(words)


@pytest.fixture
def place(tmp_path, monkeypatch, astronaut, photo, small_model):
    """An empty folder, in which a command runs, and what the words of a command stand for."""
    monkeypatch.chdir(tmp_path)
    for name, image in {
        "photos/ann/1.png": astronaut,
        "photos/ann/2.png": astronaut[:-1],
        "photos/bob/1.png": astronaut[:-2],
        "photos/bob/2.png": np.zeros_like(astronaut),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(name, image)
    return {"model": small_model, "photo": photo}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("error", "info --model missing.onnx"),
        ("error", "info"),
        ("info", "info --model {model}"),
        ("detect", "detect {photo} photos/bob/2.png"),
        ("align", "align {photo} -o crops"),
        ("embed", "embed {photo} --model {model}"),
        ("embed", "embed {photo} --model {model} -o faces.npz"),
        ("verify", "verify {photo} {photo} --model {model}"),
        ("enroll", "enroll --gallery new.db --model {model} --people photos"),
        ("embed-folder", "embed-folder --model {model} photos faces.parquet"),
        ("verify-model", "verify-model {model}"),
        ("verify-model", "verify-model {model} --photos photos"),
        ("doctor", "doctor --model {model}"),
        ("gallery new-key", "gallery new-key people.key"),
        ("completion", "completion bash"),
        ("service", "service unit"),
    ],
)
def test_command(printed, place, name, words):
    printed(build_parser, name, *(word.format(**place) for word in words.split()))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("enroll", "enroll --gallery {gallery} --model {model} Eileen {photo} --meta role=staff"),
        ("identify", "identify --gallery {gallery} --model {model} {photo} photos/bob/2.png"),
        ("ignore", "ignore --gallery {gallery} Eileen"),
        ("gallery list", "gallery list --gallery {gallery}"),
        ("gallery export", "gallery export --gallery {gallery} -o people.jsonl"),
        ("gallery check", "gallery check --gallery {gallery}"),
        ("gallery report", "gallery report --gallery {gallery} --html people.html"),
        ("gallery remove", "gallery remove --gallery {gallery} Eileen"),
    ],
)
def test_command_of_a_gallery(printed, place, people, name, words):
    printed(build_parser, name, *(word.format(**place, gallery=people) for word in words.split()))


def test_retention_and_audit(printed, place, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("faces").mkdir()
    printed(build_parser, "expire", "expire", "faces", "--keep-unknown", "8h", "--audit", "audit.jsonl")
    printed(build_parser, "remove", "remove", "Ann", "--everywhere", "--in", "faces", "--audit", "audit.jsonl")
    printed(build_parser, "audit check", "audit", "check", "audit.jsonl")
    printed(build_parser, "audit show", "audit", "show", "audit.jsonl", "--subject", "Ann")


def test_strangers(printed, place, people, astronaut):
    seen = datetime.fromtimestamp(1.7e9, timezone.utc)
    with open_gallery(people) as gallery:
        kind = gallery.fingerprint
    row = np.eye(kind.embedding_size, dtype=np.float32)
    with StrangerStore("strangers.db", fingerprint=kind, create=True) as store:
        faces = [
            Sighting(camera="door", start=seen, end=seen, quality=0.5, embedding=row[number], crop=astronaut[:112, :96])
            for number in (0, 0, 0, 1, 1, 2)
        ]
        store.add(faces)
        often, again, once = (stranger.id for stranger in store.group(0.5).strangers)
    words = ("--strangers", "strangers.db")
    assert len(printed(build_parser, "strangers list", "strangers", "list", *words)["strangers"]) == 3
    shown = printed(build_parser, "strangers show", "strangers", "show", often, *words, "--crop", "crop.png")
    assert shown["stranger"]["sightings"] == len(shown["sightings"]) == 3
    assert cv2.imread("crop.png").shape == (112, 96, 3)
    name = ("strangers", "name", often, "Ann Lee", "--gallery", people, "--audit", "audit.jsonl")
    assert printed(build_parser, "strangers name", *name, *words)["enrolled"]["added"] == 3
    ignore = ("strangers", "ignore", again, "postman", "--gallery", people, "--audit", "audit.jsonl")
    assert printed(build_parser, "strangers ignore", *ignore, *words)["ignored"] is True
    forget = ("strangers", "forget", once, "--audit", "audit.jsonl")
    assert printed(build_parser, "strangers forget", *forget, *words)["sightings"] == 1
    with open_gallery(people, kind) as gallery:
        assert gallery.identify(row[0]).name == "Ann Lee"
        assert gallery.get("postman").ignored
    gone = printed(build_parser, "error", *name, *words)["error"]
    assert gone["code"] == "stranger-not-found"
    assert gone["hint"].endswith(": edge-sphereface strangers list --strangers strangers.db")
    assert printed(build_parser, "error", "strangers", "forget", *words)["error"]["code"] == "usage"


def test_import(printed, place, people, cli):
    cli("gallery", "export", "--gallery", people, "-o", "people.jsonl")
    printed(build_parser, "gallery import", "gallery", "import", "--gallery", "copy.db", "people.jsonl")


def test_rebuild(printed, place, cli):
    model = ("--model", place["model"])
    cli("enroll", "--gallery", "people.db", *model, "Eileen", place["photo"], "--keep-crops")
    printed(build_parser, "gallery rebuild", "gallery", "rebuild", "--gallery", "people.db", *model, "--flip")


@pytest.mark.slow
def test_calibrate_threshold(printed, place, people, astronaut, tmp_path):
    """Four strangers of four photographs each support a rate of one half."""
    for number in range(16):
        target = tmp_path / "strangers" / f"p{number // 4}" / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), cv2.convertScaleAbs(astronaut, alpha=0.6 + 0.04 * number, beta=number))
    found = printed(
        build_parser, "calibrate-threshold", "calibrate-threshold", "--gallery", people,
        "--model", place["model"], "strangers", "--far", "0.5",
    )  # fmt: skip
    assert found["strangers"]["people"] == 4


@pytest.mark.slow
def test_calibrate_threshold_on_tracks(printed, place, people, photo, tmp_path):
    for number in range(4):
        for frame in range(6):
            target = tmp_path / "sequences" / str(number) / f"{frame}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(photo.read_bytes())
    printed(
        build_parser, "calibrate-threshold", "calibrate-threshold", "--gallery", people, "--model", place["model"],
        "--tracks", "sequences", "--far", "0.9",
    )  # fmt: skip


def test_fetch_detector(printed, place, monkeypatch):
    pinned = PinnedFile(
        name="x.onnx", url="https://example.org/x", sha256=sha256_of(place["photo"]), max_bytes=1 << 20, license="none"
    )
    monkeypatch.setattr(yunet, "YUNET", pinned)
    printed(build_parser, "fetch-detector", "fetch-detector", "--from", place["photo"])


@pytest.mark.slow
def test_tune(printed, place, small_models):
    printed(
        build_parser, "tune", "tune", small_models["image"], small_models["nchw"],
        "--threads", "1", "--rounds", "5", "-o", "best.onnx",
    )  # fmt: skip


def test_every_command_has_a_schema():
    """``help`` has no ``--json``."""
    names = {name for name, _ in RECORDS}
    assert set(commands(build_parser())) <= names
