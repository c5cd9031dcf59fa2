"""From image to embeddings, in one call."""

from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.alignment import align, alignable
from edge_sphereface.compare import cosine_similarity, verify
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import CropError, ImageError, ModelFormatError, NoFaceError
from edge_sphereface.gallery import open_gallery
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.pipeline import FacePipeline, load_pipeline, select_face
from edge_sphereface.types import LANDMARK_NAMES, Face


@pytest.fixture(scope="module")
def pipeline(small_model):
    return FacePipeline(Embedder(small_model), open_detector("mtcnn"))


def test_one_face(pipeline, astronaut):
    (item,) = pipeline.process(astronaut)
    spec = pipeline.embedder.spec
    np.testing.assert_array_equal(item.crop, align(astronaut, item.face.landmarks, template=spec.landmark_template)[0])
    np.testing.assert_array_equal(item.embedding, pipeline.embedder.embed(item.crop[None])[0])


def test_several_faces_are_embedded_together(pipeline, astronaut):
    tile = astronaut[20:220, 120:320]
    items = pipeline.process(np.tile(tile, (2, 3, 1)))
    assert len(items) == 6
    similarities = [float(items[0].embedding @ item.embedding) for item in items]
    assert min(similarities) > 0.9, "it is six times the same face"


def test_no_face(pipeline):
    empty = np.zeros((200, 300, 3), np.uint8)
    assert pipeline.process(empty) == []
    with pytest.raises(NoFaceError, match="300 x 200 pixels by mtcnn"):
        pipeline.process_one(empty)


def test_process_one_takes_the_largest_or_the_middle(pipeline, astronaut):
    import cv2

    large, small = astronaut[20:220, 120:320], cv2.resize(astronaut[20:220, 120:320], (120, 120))
    image = np.zeros((200, 600, 3), np.uint8)
    image[:, :200] = large
    image[40:160, 240:360] = small
    assert pipeline.process_one(image).face.landmarks.mean(axis=0)[0] < 200
    assert 240 < pipeline.process_one(image, select="center").face.landmarks.mean(axis=0)[0] < 360


def test_a_bad_image_is_refused(pipeline):
    with pytest.raises(ImageError):
        pipeline.process(np.zeros((10, 10, 4), np.uint8))


def test_a_crop_is_not_aligned_again(pipeline, astronaut):
    """A detector that finds the face in a crop gives landmarks on the template: so double alignment begins."""

    class Finds:
        name = "fake"

        def detect(self, image):
            points = np.array(pipeline.embedder.spec.landmark_template, np.float32)
            return [Face(box=np.float32([0, 0, 96, 112]), landmarks=points + 1, score=1.0)]

    crop = pipeline.process_one(astronaut).crop
    with pytest.raises(CropError, match="aligned already"):
        FacePipeline(pipeline.embedder, Finds()).process(crop)


def test_face_records():
    face = Face(box=np.float32([1, 2, 11, 22]), landmarks=np.arange(10, dtype=np.float32).reshape(5, 2), score=0.5)
    assert face.area == 200
    assert list(face.as_json()["landmarks"]) == list(LANDMARK_NAMES)
    assert Face(box=np.float32([5, 5, 1, 1]), landmarks=face.landmarks, score=0.5).area == 0
    assert select_face([face], np.zeros((30, 30, 3), np.uint8), "center") is face


def test_one_detection_that_is_no_face_costs_no_other(pipeline, astronaut):
    """A detector may give landmarks that no face has, such as exchanged eyes on a strong profile."""
    (real,) = pipeline.detector.detect(astronaut)
    exchanged = replace(real, landmarks=real.landmarks[[1, 0, 2, 4, 3]])
    point = replace(real, landmarks=np.full((5, 2), 80, np.float32))

    class Finds:
        name = "fake"

        def __init__(self, *faces):
            self.faces = faces

        def detect(self, _):
            return list(self.faces)

    assert alignable(np.stack([face.landmarks for face in (exchanged, real, point)])).tolist() == [False, True, False]
    (item,) = FacePipeline(pipeline.embedder, Finds(exchanged, real, point)).process(astronaut)
    np.testing.assert_array_equal(item.embedding, pipeline.process_one(astronaut).embedding)
    with pytest.raises(NoFaceError):
        FacePipeline(pipeline.embedder, Finds(exchanged)).process_one(astronaut)


def test_a_batch_of_images_gives_what_each_alone_gives(pipeline, astronaut):
    images = [astronaut, np.zeros((200, 300, 3), np.uint8), np.tile(astronaut[20:220, 120:320], (1, 2, 1))]
    found = pipeline.process_batch(images)
    assert [len(items) for items in found] == [1, 0, 2]
    for image, items in zip(images, found, strict=True):
        for item, alone in zip(items, pipeline.process(image), strict=True):
            np.testing.assert_array_equal(item.crop, alone.crop)
            np.testing.assert_allclose(item.embedding, alone.embedding, atol=1e-5)
    assert pipeline.process_batch([]) == []


def test_an_embedded_face_is_taken_in_place_of_its_embedding(pipeline, astronaut, tmp_path):
    face = pipeline.process_one(astronaut)
    before = face.embedding.copy()
    assert verify(face, face, threshold=0.9).same
    assert cosine_similarity([face, face], face).shape == (2, 1)
    with open_gallery(tmp_path / "people.db", pipeline.embedder, create=True) as gallery:
        assert gallery.enroll("Eileen", face).added == 1
        assert gallery.enroll("Eileen", [face, face]).added == 2
        assert gallery.identify(face, threshold=0.9).name == "Eileen"
        assert [found.name for found in gallery.identify_faces([face], threshold=0.9)] == ["Eileen"]
    np.testing.assert_array_equal(face.embedding, before)
    assert np.asarray(face) is face.embedding


def test_objects_say_what_they_are_and_nothing_private(pipeline, astronaut, tmp_path):
    assert "SphereFace-20, float32, 32 values, CPUExecutionProvider" in repr(pipeline.embedder)
    assert "detector 'mtcnn'" in repr(pipeline)
    face = repr(pipeline.process_one(astronaut))
    assert "landmarks" in face
    assert "embedding" not in face
    assert "crop" not in face
    with open_gallery(tmp_path / "people.db", pipeline.embedder, create=True) as gallery:
        assert f"{tmp_path / 'people.db'}: 32 values, float32" in repr(gallery)


def test_a_pipeline_is_opened_in_one_call(small_model, astronaut):
    pipeline = load_pipeline(small_model, detector="mtcnn", provider="cpu", threads=1)
    assert pipeline.embedder.config.threads == 1
    assert len(pipeline.process(astronaut)) == 1
    with pytest.raises(ValueError, match="Expected a detector"):
        load_pipeline(small_model, detector="none")


def test_a_checkpoint_is_no_model(small_checkpoint):
    with pytest.raises(ModelFormatError, match=r"got a checkpoint") as caught:
        Embedder(small_checkpoint)
    assert "convert it to ONNX" in caught.value.hint
    assert (caught.value.remedy, caught.value.file) == ("convert-model", str(small_checkpoint))
