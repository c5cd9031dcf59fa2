"""Photographs in files are decoded no larger than detection and crops need, and lose nothing by it."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_sphereface.alignment import align, stack_landmarks
from edge_sphereface.detection import open_detector
from edge_sphereface.detection.in_file import decode_for, find_in_file
from edge_sphereface.detection.scaled_detector import ScaledDetector
from edge_sphereface.errors import NoFaceError
from edge_sphereface.image import ImageFile, load_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.pipeline import FacePipeline

SIDE = 384


class BoundedMtcnn:
    """MTCNN that shrinks larger images, as YuNet does."""

    name = "bounded"
    max_side = SIDE

    def __init__(self):
        self._detector = ScaledDetector(open_detector("mtcnn", threads=1))

    def detect(self, image):
        return self._detector.find(image, self.max_side)


@pytest.fixture(scope="module")
def detector():
    return BoundedMtcnn()


@pytest.fixture(scope="module")
def pipeline(small_model, detector):
    return FacePipeline(Embedder(small_model, threads=1), detector)


def jpeg(image, path, **options):
    Image.fromarray(image[:, :, ::-1]).save(path, "JPEG", quality=95, **options)
    return path


@pytest.fixture(scope="module")
def files(astronaut, tmp_path_factory):
    """A face that is larger than its crop at half scale, and one that is not; sides are no multiples of 8."""
    folder = tmp_path_factory.mktemp("files")
    large = cv2.resize(astronaut[20:270, 120:320], (1277, 1601), interpolation=cv2.INTER_CUBIC)
    small = np.full((641, 901, 3), 90, np.uint8)
    small[100:612, 300:812] = astronaut
    return {"large": jpeg(large, folder / "large.jpg"), "small": jpeg(small, folder / "small.jpg")}


@pytest.mark.parametrize(("side", "reduction"), [(1000, 1), (801, 1), (800, 2), (401, 2), (400, 4), (200, 8), (20, 8)])
def test_the_longer_side_keeps_the_pixels_asked_for(files, side, reduction):
    file = ImageFile.read(files["large"])
    assert file.reduction(side) == reduction
    image = file.decode(reduction)
    assert image.shape[:2] == (-(-1601 // reduction), -(-1277 // reduction))
    np.testing.assert_allclose(file.steps(image) * image.shape[1::-1], (1277, 1601))


def test_almost_four_times_the_side_is_reduced_to_a_quarter(detector, astronaut, tmp_path):
    """As a photograph of 4,000 pixels for 1,024."""
    for width, reduction in ((4 * SIDE - 60, 4), (4 * SIDE - 90, 2)):
        file = ImageFile.read(jpeg(cv2.resize(astronaut, (width, 400)), tmp_path / "x.jpg"))
        assert decode_for(detector, file).reduction == reduction


def test_only_jpeg_files_are_reduced(astronaut, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), astronaut)
    file = ImageFile.read(tmp_path / "a.png")
    assert file.reduction(8) == 1
    assert file.steps(file.decode()).tolist() == [1, 1]


def shift_px(crop, reference):
    """Horizontal and vertical shift of a crop, in pixels."""
    gray = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32) for image in (crop, reference)]
    window = cv2.createHanningWindow(gray[0].shape[::-1], cv2.CV_32F)
    return cv2.phaseCorrelate(*gray, window)[0]


@pytest.mark.parametrize("name", ["large", "small"])
def test_crops_and_places_are_those_of_the_full_photograph(files, detector, name):
    found = find_in_file(detector, ImageFile.read(files[name]))
    assert found.reduction == (4 if name == "large" else 2)
    sharp = found.sharp()
    assert sharp.reduction == (4 if name == "large" else 1), "a second decoding is for small faces only"
    full = load_image(files[name])
    assert found.size == full.shape[1::-1]
    (expected,) = detector.detect(full)
    (face,) = sharp.in_full()
    assert np.abs(face.landmarks - expected.landmarks).max() < 4
    assert np.abs(face.box - expected.box).max() < 8
    # The same landmarks, so that only the pixels differ
    crop = align(sharp.image, stack_landmarks([face.landmarks for face in sharp.faces]))[0]
    reference = align(full, face.landmarks)[0]
    assert np.abs(crop.astype(int) - reference).mean() < 4
    assert np.abs(shift_px(crop, reference)).max() < 0.15, "the center of a reduced pixel lies between full ones"
    assert np.array_equal(crop, reference) == (name == "small")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_reduced_photographs_are_upright(astronaut, orientation):
    corner = np.zeros((403, 805, 3), np.uint8)
    corner[:100, :200] = 255
    output = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(corner).save(output, "JPEG", exif=exif)
    file = ImageFile(output.getvalue(), "x")
    full, reduced = file.decode(), file.decode(4)
    assert (full.shape[0] > full.shape[1]) == (orientation > 4)
    np.testing.assert_allclose(file.steps(reduced) * reduced.shape[1::-1], full.shape[1::-1])
    small = cv2.resize(full, reduced.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - reduced).mean() < 2


def test_a_file_is_embedded_like_its_image(pipeline, files):
    for name, path in files.items():
        (whole,), (face,) = pipeline.process(load_image(path)), pipeline.process_file(path)
        assert np.abs(face.face.landmarks - whole.face.landmarks).max() < 4, name
        assert pipeline.process_one_file(path).face.landmarks.tolist() == face.face.landmarks.tolist()
    faces, crops = pipeline.crop_file(ImageFile.read(files["small"]))
    assert (len(faces), crops.shape) == (1, (1, 112, 96, 3))


def test_a_large_file_without_a_face(pipeline, tmp_path):
    path = jpeg(np.zeros((1000, 1600, 3), np.uint8), tmp_path / "x.jpg")
    assert pipeline.process_file(path) == []
    with pytest.raises(NoFaceError, match="1600 x 1000 pixels by bounded"):
        pipeline.process_one_file(path)


class TwoSteps(BoundedMtcnn):
    """A detector with a second step, which notes in what it was asked to improve which number of faces."""

    def __init__(self, *, refine):
        super().__init__()
        self.refine = refine
        self.improved = []

    def find(self, image):
        return super().detect(image)

    def improve(self, image, faces):
        self.improved.append((image.shape[:2], len(faces)))
        return [*faces]


@pytest.mark.parametrize("refine", [True, False])
def test_landmarks_are_refined_where_the_face_is_cut_out(small_model, files, astronaut, tmp_path, refine):
    detector = TwoSteps(refine=refine)
    pipeline = FacePipeline(Embedder(small_model, threads=1), detector)
    pipeline.process_one_file(files["small"])
    pipeline.process_file(files["large"])
    twins = jpeg(np.tile(cv2.resize(astronaut[20:220, 120:320], (400, 400)), (1, 2, 1)), tmp_path / "twins.jpg")
    pipeline.process_one_file(twins, select="center")
    reduced = [((641, 901), 1), ((401, 320), 1), ((200, 400), 1)]
    assert detector.improved == (reduced if refine else [])
