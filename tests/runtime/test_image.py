"""Images: every wrong kind is refused with the way to convert it; files are read whatever their depth."""

import cv2
import numpy as np
import pytest

from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image import check_image, find_images, load_image, save_image

GOOD = np.random.default_rng(1).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (GOOD[:, :, 0], "COLOR_GRAY2BGR"),
        (GOOD[:, :, :1], "COLOR_GRAY2BGR"),
        (np.dstack([GOOD, GOOD[:, :, 0]]), "COLOR_BGRA2BGR"),
        (GOOD.astype(np.uint16) << 8, ">> 8"),
        (GOOD / 255, "uint8"),
        (np.zeros((0, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros((0, 10, 3), np.uint8), "at least one pixel"),
        (GOOD[None], "one image at a time"),
        (None, "imread"),
        (GOOD.tolist(), "numpy"),
    ],
)
def test_wrong_arrays_are_refused_with_a_hint(image, words):
    with pytest.raises(ImageError) as caught:
        check_image(image)
    assert words in str(caught.value)


def test_a_good_array_comes_back_itself():
    assert check_image(GOOD) is GOOD


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_files_come_back_exactly(tmp_path, suffix):
    path = tmp_path / f"übung 目{suffix}"
    path.write_bytes(cv2.imencode(suffix, GOOD)[1].tobytes())
    np.testing.assert_array_equal(load_image(path), GOOD)


@pytest.mark.parametrize(
    "image",
    [GOOD[:, :, 0], np.dstack([GOOD, GOOD[:, :, :1]]), GOOD.astype(np.uint16) * 257],
    ids=["gray", "bgra", "16"],
)
def test_files_of_other_kinds_become_8_bit_bgr(tmp_path, image):
    path = tmp_path / "x.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    loaded = load_image(path)
    assert (loaded.shape, loaded.dtype) == ((40, 30, 3), np.uint8)
    expected = np.dstack([GOOD[:, :, 0]] * 3) if image.ndim == 2 else GOOD
    np.testing.assert_array_equal(loaded, expected)


@pytest.mark.parametrize("content", [b"", b"not an image", cv2.imencode(".png", GOOD)[1].tobytes()[:60]])
def test_unreadable_files_are_refused(tmp_path, content):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="Cannot decode"):
        load_image(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        load_image(tmp_path / "no.jpg")
    with pytest.raises(ImageError, match="Cannot read"):
        load_image(tmp_path)


def test_saved_faces_are_private(tmp_path):
    path = tmp_path / "face.png"
    save_image(path, GOOD)
    assert path.stat().st_mode & 0o777 == 0o600
    np.testing.assert_array_equal(load_image(path), GOOD)


def test_saving_into_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match="create the folder"):
        save_image(tmp_path / "no" / "face.png", GOOD)


def test_find_images(tmp_path):
    for name in ("b/2.JPG", "a/1.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_images(tmp_path)] == ["1.png", "2.JPG"]
    with pytest.raises(ImageError, match="folder"):
        find_images(tmp_path / "a/1.png")
