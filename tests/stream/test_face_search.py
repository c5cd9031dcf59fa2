"""Where a frame is searched for faces: at times everywhere, else where faces are expected or something changed."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_sphereface.detection.yunet import YuNet
from edge_sphereface.inference.session import CPU, CUDA, ProviderReport
from edge_sphereface.stream.events import EventMaker
from edge_sphereface.stream.recognition.face_search import FaceSearch
from edge_sphereface.stream.recognition.frame_processor import FrameProcessor
from edge_sphereface.stream.settings import StreamSettings, TrackingSettings
from edge_sphereface.stream.tracking.tiles import TileGrid
from edge_sphereface.types import Face

GREEN = (0, 255, 0)
SIDE = 640


class GreenDetector:
    """Takes each green rectangle for a face, and records the pixels of each detection."""

    name = "green"

    def __init__(self):
        self.pixels = []

    def detect(self, image):
        self.pixels.append(image.shape[0] * image.shape[1])
        _, _, statistics, _ = cv2.connectedComponentsWithStats(cv2.inRange(image, (0, 195, 0), (60, 255, 60)))
        corners = np.float32([[x, y, x + w, y + h] for x, y, w, h, _ in statistics[1:]])
        return [Face(box=box, landmarks=np.linspace(box[:2], box[2:], 5), score=0.9) for box in corners]


@pytest.fixture(scope="module")
def wall():
    """A still scene (480, 640, 3)."""
    coarse = np.random.default_rng(1).integers(60, 120, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def search(stage):
    """Searches images in turn, eight a second; gives the faces and the pixels of each search."""

    class Searcher:
        def __init__(self):
            self.detector, self.number = GreenDetector(), 0
            self.search = FaceSearch(self.detector, whole_frame_s=1.0)

        def __call__(self, image, expected=(), *, side=SIDE, fps=8.0):
            before = len(self.detector.pixels)
            faces = self.search.find(stage.frame_of(self.number, image, fps), expected, side)
            self.number += 1
            return faces, sum(self.detector.pixels[before:])

    return Searcher()


def with_face(image, left, top, width=30, height=40, color=GREEN):
    painted = image.copy()
    painted[top : top + height, left : left + width] = color
    return painted


def boxes(faces):
    return [face.box.tolist() for face in faces]


def test_a_still_scene_is_searched_once_a_second(search, wall):
    pixels = [search(wall)[1] for _ in range(17)]
    assert [number for number, count in enumerate(pixels) if count] == [0, 8, 16]
    assert set(pixels) == {0, wall.shape[0] * wall.shape[1]}


def test_a_newcomer_is_found_at_once_in_a_small_part(search, wall):
    search(wall)
    faces, pixels = search(with_face(wall, 300, 200))
    assert boxes(faces) == [[300, 200, 330, 240]]
    assert 0 < pixels < 0.1 * wall.shape[0] * wall.shape[1]


def test_an_expected_face_is_found_where_it_is_though_nothing_changed(search, wall):
    image = with_face(wall, 300, 200)
    faces, _ = search(image)
    again, pixels = search(image, faces)
    assert boxes(again) == boxes(faces)
    assert 0 < pixels < 0.1 * image.shape[0] * image.shape[1]


def test_each_face_is_found_once(search, wall):
    """Two side by side share a region, one far away has its own, one at the border of the frame is whole."""
    image = wall
    for left, top in ((300, 200), (340, 210), (20, 400), (610, 0)):
        image = with_face(image, left, top)
    faces, _ = search(image)
    assert len(faces) == 4
    again, pixels = search(image, faces)
    assert sorted(boxes(again)) == sorted(boxes(faces))
    assert pixels < 0.3 * image.shape[0] * image.shape[1]


def test_in_a_downscaled_frame_boxes_are_those_of_the_frame(search, wall):
    large = cv2.resize(with_face(wall, 300, 200), (1280, 960), interpolation=cv2.INTER_NEAREST)
    faces, whole = search(large)
    again, pixels = search(large, faces)
    assert boxes(again) == boxes(faces) == [[600, 400, 660, 480]]
    assert pixels < 0.1 * whole
    assert whole == 640 * 480


def test_another_scene_is_searched_whole(search, wall):
    search(wall)
    faces, pixels = search(with_face(np.ascontiguousarray(wall[::-1, ::-1]), 300, 200))
    assert len(faces) == 1
    assert pixels == wall.shape[0] * wall.shape[1]


def test_noise_and_the_light_of_the_whole_scene_are_no_change(search, wall):
    random = np.random.default_rng(2)
    for number in range(8):
        noisy = wall + random.normal(2.0 * number, 4.0, wall.shape)
        faces, _ = search(np.clip(noisy, 0, 255).astype(np.uint8))
        assert faces is None or number == 0


def test_a_face_that_comes_slowly_is_found_before_the_next_search_of_the_whole_frame(search, wall):
    """Each frame alone differs too little from the one before."""
    search.search = FaceSearch(search.detector, whole_frame_s=1000.0)
    face = with_face(wall, 300, 200)
    faces = []
    for share in np.linspace(0, 1, 101):
        found, pixels = search(cv2.addWeighted(face, share, wall, 1 - share, 0))
        faces += found or ()
        assert pixels < 0.1 * wall.shape[0] * wall.shape[1] or share == 0
    assert len(faces) > 0


def test_a_face_that_reaches_out_of_its_region_is_searched_in_the_whole_frame(search, wall):
    image = with_face(wall, 200, 100, 200, 260)
    search(image)
    (small,) = search.detector.detect(with_face(wall, 280, 200, 30, 40))
    faces, _ = search(image, [small])
    assert boxes(faces) == [[200, 100, 400, 360]]


@pytest.mark.parametrize("reason", ["restart", "time", "size", "zero"])
def test_the_whole_frame_is_searched_when_nothing_is_known_of_it(search, wall, reason):
    search(wall)
    image = wall
    if reason == "restart":
        search.search.restart()
    elif reason == "time":
        search.number = -5
    elif reason == "size":
        image = wall[:, :600]
    else:
        search.search = FaceSearch(search.detector, whole_frame_s=0.0)
        search(wall)
    faces, pixels = search(image)
    assert faces == []
    assert pixels == image.shape[0] * image.shape[1]


def test_a_stream_notices_people_as_soon_as_in_whole_frames_for_a_quarter_of_the_pixels(wall, stage):
    """One walks through, another comes beside the first and leaves; nobody is there at the beginning and the end."""

    def image(index):
        scene = with_face(wall, 40 + 6 * (index - 20), 100, 40, 50) if 20 <= index < 110 else wall
        return with_face(scene, 250, 300) if 60 <= index < 90 else scene

    def watch(**settings):
        detector = GreenDetector()
        processor = FrameProcessor(
            detector=detector,
            embedder=None,
            gallery=None,
            settings=StreamSettings(tracking=TrackingSettings(**settings)),
            events=EventMaker("test"),
        )
        results = [processor.step(stage.frame_of(index, image(index))) for index in range(150)]
        told = [(result.frame.number, event.kind, event.track) for result in results for event in result.events]
        return told, sum(detector.pixels), [result.detected for result in results]

    told, pixels, detected = watch()
    told_of_whole, all_pixels, detected_whole = watch(whole_frame_s=0.0)
    assert told == told_of_whole
    assert [kind for _, kind, _ in told] == ["appeared", "appeared", "lost", "lost"]
    assert pixels < 0.25 * all_pixels
    assert sum(detected[:20]) == 1
    assert sum(detected_whole[:20]) == 7


@pytest.mark.parametrize("width", [640, 1280])
def test_yunet_finds_the_same_face_in_its_surroundings_as_in_the_whole_frame(shared, astronaut, stage, width):
    """In a frame as large as the detector's image, whose parts are views, and in a larger one."""
    frame = np.full((width * 3 // 4, width, 3), 90, np.uint8)
    photograph = cv2.resize(astronaut, (width // 4, width // 4), interpolation=cv2.INTER_AREA)
    top, left = width // 5, width // 3
    frame[top : top + width // 4, left : left + width // 4] = photograph
    detector = YuNet(shared("models/face_detection_yunet_2023mar.onnx"))
    search = FaceSearch(detector, whole_frame_s=1.0)
    (whole,) = search.find(stage.frame_of(0, frame), [], SIDE)
    (part,) = search.find(stage.frame_of(1, frame), [whole], SIDE)
    near = 0.06 * (whole.box[2] - whole.box[0])
    assert np.abs(part.box - whole.box).max() < near
    assert np.abs(part.landmarks - whole.landmarks).max() < near
    assert abs(part.score - whole.score) < 0.02


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 1600, 3), (1600, 1, 3)])
def test_frames_of_any_shape_are_searched(search, shape):
    for _ in range(3):
        search(np.zeros(shape, np.uint8))
    assert len(search.detector.pixels) == 1


@given(tiles=arrays(bool, (6, 11)))
def test_regions_show_each_tile_and_overlap_nowhere(tiles):
    grid = TileGrid(180, 340, 640)
    regions = grid.regions(tiles)
    seen = np.zeros((180, 340), dtype=int)
    for left, top, right, bottom in regions:
        assert left % 32 == top % 32 == 0
        seen[top:bottom, left:right] += 1
    assert seen.max(initial=0) <= 1
    assert sum((right - left) * (bottom - top) for left, top, right, bottom in regions) == seen.sum()
    wanted = np.kron(tiles, np.ones((32, 32), dtype=bool))[:180, :340]
    assert seen[wanted].all()


@given(edges=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_a_box_anywhere_has_tiles_of_the_grid(edges):
    left, right = sorted(edges[:2])
    top, bottom = sorted(edges[2:])
    tiles = TileGrid(180, 340, 640).around([np.float32([left, top, right, bottom])])
    assert tiles.shape == (6, 11)
    inside = left < 340 and top < 180 and right > 0 and bottom > 0
    assert tiles.any() or not inside


def test_only_whole_frames_on_a_provider_that_plans_for_sizes(search, wall):
    """On CUDA a part of the frame, whose size is new, takes a hundred times as long as the frame."""
    search.detector.provider = ProviderReport(
        requested="cuda", active=(CUDA, CPU), nodes=None, threads=1, onnxruntime="1.32.0"
    )
    search.search = FaceSearch(search.detector, whole_frame_s=1.0)
    whole = search(wall)[1]
    assert search(wall) == (None, 0), "nothing changed"
    faces, pixels = search(with_face(wall, 100, 100))
    assert (len(faces), pixels) == (1, whole)
