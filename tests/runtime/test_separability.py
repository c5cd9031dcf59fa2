"""Wrong feeding cannot be seen in an array; it is shown in numbers."""

from functools import cache
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from edge_sphereface.detection import open_detector
from edge_sphereface.errors import ImageError
from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
from edge_sphereface.evaluation.separability import FEEDINGS, check_separation
from edge_sphereface.inference.embedder import Embedder


@pytest.fixture(scope="module")
def link_people(tmp_path_factory):
    """A function that links a part of LFW, once."""
    folder = tmp_path_factory.mktemp("lfw")

    @cache
    def link(lfw):
        people = [person for person in sorted((lfw / "images").iterdir()) if len(list(person.iterdir())) >= 20][:12]
        for person in people:
            (folder / person.name).mkdir()
            for path in sorted(person.iterdir())[:4]:
                (folder / person.name / path.name).symlink_to(path)
        return folder

    return link


@pytest.fixture
def lfw_folder(shared, link_people):
    """Twelve people with four photographs each, linked as FOLDER/PERSON/photo.jpg."""
    return link_people(shared("lfw"))


@pytest.fixture(scope="module")
def detector():
    """MTCNN, which searches each photograph once for all of these tests."""
    mtcnn, faces = open_detector("mtcnn"), {}

    def detect(image):
        key = image.tobytes()
        if key not in faces:
            faces[key] = mtcnn.detect(image)
        return faces[key]

    return SimpleNamespace(name=mtcnn.name, detect=detect)


@pytest.mark.slow
def test_the_traps_show(half_width_model, detector, lfw_folder):
    seen = []
    check = check_separation(
        Embedder(half_width_model),
        detector,
        lfw_folder,
        progress=lambda done, total: seen.append((done, total)),
    )
    intended = check.rows[0]
    wrong = {row.feeding: row for row in check.rows[1:]}
    assert check.passed
    assert intended.auc > 0.97
    assert intended.genuine_mean > intended.impostor_mean + 0.3
    assert (intended.feeding, *wrong) == FEEDINGS
    for row in wrong.values():
        assert row.auc < intended.auc - 0.02
        assert row.genuine_mean - row.impostor_mean < 0.7 * (intended.genuine_mean - intended.impostor_mean)
    assert (check.people, check.photographs, check.genuine_pairs) == (12, 48, 72)
    assert seen[-1] == (48, 48)


@pytest.mark.slow
def test_a_model_that_was_fed_rgb_all_along_fails(half_width_model, detector, lfw_folder):
    """The model runs, the shapes are right, only the colors are swapped: the check says so."""

    class Swapped(Embedder):
        def embed(self, crops):
            return super().embed(np.ascontiguousarray(crops[..., ::-1]))

    check = check_separation(Swapped(half_width_model), detector, lfw_folder)
    assert not check.passed


@pytest.mark.slow
def test_an_untrained_model_fails(small_model, detector, lfw_folder):
    assert not check_separation(Embedder(small_model), detector, lfw_folder).passed


@pytest.fixture
def photographs(tmp_path, astronaut):
    """The same face under two names, flat, with one file that shows none and one that is broken."""
    for name, image in {
        "Ann1.png": astronaut,
        "Ann_02.png": astronaut[:, ::-1],
        "Bob-1.png": cv2.convertScaleAbs(astronaut, alpha=0.7),
        "empty1.png": np.zeros((99, 99, 3), np.uint8),
    }.items():
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    return tmp_path


def test_names_give_people_and_bad_files_are_listed(small_model, photographs):
    check = check_separation(Embedder(small_model), open_detector("mtcnn"), photographs)
    assert (check.people, check.photographs, check.genuine_pairs, check.impostor_pairs) == (2, 3, 1, 2)
    broken, empty = check.skipped
    assert broken.path.name == "broken.jpg"
    assert "Cannot decode" in broken.reason
    assert empty == SkippedPhoto(path=photographs / "empty1.png", reason="no face was found")


def test_one_person_alone_proves_nothing(small_model, photographs):
    (photographs / "Bob-1.png").unlink()
    with pytest.raises(ImageError, match="at least two people"):
        check_separation(Embedder(small_model), open_detector("mtcnn"), photographs)


def test_a_folder_is_needed(small_model, tmp_path):
    with pytest.raises(ImageError, match="folder"):
        check_separation(Embedder(small_model), open_detector("mtcnn"), tmp_path / "no")
