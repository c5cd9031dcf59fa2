"""Images: every wrong kind is refused with the way to convert it; files are read whatever their depth."""

import io
import os
import struct
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edge_sphereface.errors import ImageError, OutputError
from edge_sphereface.image import MAX_PIXELS, check_image, find_images, load_image, save_image, search_images
from edge_sphereface.image_header import read_header

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
    with pytest.raises(ImageError, match="There is no photograph"):
        load_image(tmp_path / "no.jpg")
    with pytest.raises(ImageError, match="is a folder"):
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


FILES = {
    "baseline": ("JPEG", {}),
    "progressive": ("JPEG", {"progressive": True, "exif": b"Exif\0\0" + b"\xff\xc0" * 9}),
    "png": ("PNG", {}),
    "bmp": ("BMP", {}),
    "gif": ("GIF", {}),
    "lossy": ("WebP", {"quality": 50}),
    "lossless": ("WebP", {"lossless": True}),
    "extended": ("WebP", {"exif": b"Exif\0\0x"}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-big": ("TIFF", {"big_tiff": True}),
    "pnm": ("PPM", {}),
}


def encoded(name, width, height):
    kind, options = FILES[name]
    output = io.BytesIO()
    Image.fromarray(np.resize(GOOD, (height, width, 3))).save(output, kind, **options)
    return output.getvalue()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (301, 17)])
def test_headers_of_another_library_s_files(tmp_path, name, width, height):
    content = encoded(name, width, height)
    header = read_header(content)
    assert header.kind == {"PPM": "PNM"}.get(FILES[name][0], FILES[name][0])
    assert header.pixels == width * height
    assert (header.scans > 1) == (name == "progressive")
    (tmp_path / "x").write_bytes(content)
    assert load_image(tmp_path / "x").shape == (height, width, 3)
    for end in range(min(len(content), 40)):
        read_header(content[:end])


_BIG = 16_000
_SIZES = {
    "png": (16, _BIG.to_bytes(4, "big") * 2),
    "bmp": (18, _BIG.to_bytes(4, "little") + (-_BIG).to_bytes(4, "little", signed=True)),
    "gif": (6, _BIG.to_bytes(2, "little") * 2),
    "lossy": (26, _BIG.to_bytes(2, "little") * 2),
    "lossless": (21, ((_BIG - 1) | (_BIG - 1) << 14).to_bytes(4, "little")),
    "extended": (24, (_BIG - 1).to_bytes(3, "little") * 2),
}


def resized(content, name):
    """The same file, whose header announces 16,000 x 16,000 pixels."""
    data = bytearray(content)
    if name in _SIZES:
        at, size = _SIZES[name]
        data[at : at + len(size)] = size
    elif name == "pnm":
        return content.replace(b"301 17", b"16000 16000", 1)
    elif name in ("baseline", "progressive"):
        at = data.rindex(b"\xff\xc0" if name == "baseline" else b"\xff\xc2") + 5
        data[at : at + 4] = _BIG.to_bytes(2, "big") * 2
    else:
        number, head, kind = (8, 8, b"\x10\0") if name == "tiff-big" else (4, 2, b"\x04\0")
        first = int.from_bytes(data[number : 2 * number], "little") + head
        for entry in (first, first + 4 + 2 * number):  # width and height come first
            data[entry + 2 : entry + 4] = kind
            data[entry + 4 + number : entry + 4 + 2 * number] = _BIG.to_bytes(number, "little")
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_too_many_pixels_are_refused_from_the_header(tmp_path, name):
    """No decoder takes 2.3 GB for a file of a few bytes, whoever calls: the limit is the library's."""
    (tmp_path / "x").write_bytes(resized(encoded(name, 301, 17), name))
    limit = MAX_PIXELS // 2 if name == "progressive" else MAX_PIXELS
    with pytest.raises(ImageError, match=f"announces 256000000 pixels, expected at most {limit} .*scale it down"):
        load_image(tmp_path / "x")


def test_too_many_scans_are_refused(tmp_path):
    content = encoded("progressive", 301, 17)
    last = content.rindex(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(content[:-2] + content[last:-2] * 200 + content[-2:])
    with pytest.raises(ImageError, match="announces 2.. scans"):
        load_image(tmp_path / "x.jpg")


def test_what_follows_a_photograph_holds_no_scans(tmp_path):
    """Motion photographs carry a film behind the picture, which holds the bytes of a marker by chance."""
    content = encoded("baseline", 301, 17)
    assert b"\xff\0" in content[content.index(b"\xff\xda") :]
    (tmp_path / "x.jpg").write_bytes(content + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * 300)
    assert load_image(tmp_path / "x.jpg").shape == (17, 301, 3)
    restarts = cv2.imencode(".jpg", GOOD, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1].tobytes()
    assert read_header(restarts) == ("JPEG", 40 * 30, 1, 30, 40)
    assert read_header(content[:-2] + b"\xff\0" * (8 << 20) + b"\xff\xd9") == ("JPEG", 301 * 17, 1, 301, 17)


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (b"P1 2 1\n", b"1 0\n"),
        (b"P2\n# of\r\n2 # wide\n1\n255\n", b"5 7\n"),
        (b"P4\t2 1 ", b"\0"),
        (b"P5 2 1 65535\n", bytes(4)),
        (b"P7\nHEIGHT 1\nWIDTH 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n", bytes(6)),
    ],
)
def test_portable_maps(tmp_path, header, values):
    (tmp_path / "x").write_bytes(header + values)
    assert read_header(header + values).pixels == 2
    assert load_image(tmp_path / "x").shape == (1, 2, 3)
    vast = header.replace(b"2 # wide", b"20000").replace(b"2 1", b"20000 1").replace(b"WIDTH 2", b"WIDTH 20000")
    vast = (
        vast.replace(b"0000\n1\n", b"0000 1\n").replace(b"0000 1", b"0000 20000").replace(b"HEIGHT 1", b"HEIGHT 20000")
    )
    (tmp_path / "x").write_bytes(vast + values)
    with pytest.raises(ImageError, match="announces 400000000 pixels"):
        load_image(tmp_path / "x")


@pytest.mark.parametrize(
    ("kind", "words"), [("JPEG2000", "JPEG 2000 files are not"), ("AVIF", "AVIF files are not"), ("SGI", "no image of")]
)
def test_formats_that_are_not_accepted_are_named(tmp_path, kind, words):
    path = tmp_path / "x"
    Image.fromarray(GOOD).save(path, kind)
    with pytest.raises(ImageError, match=f"{words} .*accepted.*JPEG, PNG, .*PAM"):
        load_image(path)


def test_tiles_and_samples_count(tmp_path):
    fields = {256: 64, 257: 64, 322: 1 << 15, 323: 1 << 15}  # width, height, those of a tile
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in fields.items())
    assert read_header(b"MM\0*" + struct.pack(">IH", 8, len(fields)) + entries).pixels == 1 << 30
    output = io.BytesIO()
    Image.new("I;16", (64, 64)).save(output, "TIFF")
    assert read_header(output.getvalue()).pixels == 2 * 64 * 64


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_a_pipe_is_no_photograph(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="is a pipe"):
        load_image(tmp_path / "x.jpg")


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_linked_folders_are_searched_once(tmp_path):
    """A folder of links to people is a usual layout; a link upwards must not lead round in circles."""
    (tmp_path / "album/ann").mkdir(parents=True)
    (tmp_path / "album/ann/1.jpg").touch()
    (tmp_path / "elsewhere/bob").mkdir(parents=True)
    (tmp_path / "elsewhere/bob/2.jpg").touch()
    (tmp_path / "album/Bob").symlink_to("../elsewhere/bob")
    (tmp_path / "album/Bobby").symlink_to("../elsewhere/bob")
    (tmp_path / "album/a-link").symlink_to("ann")
    (tmp_path / "album/ann/up").symlink_to("..")
    (tmp_path / "album/broken").symlink_to("nowhere")
    with pytest.warns(UserWarning, match="lead nowhere are skipped: .*broken"):
        images, unknown = search_images(tmp_path / "album")
    assert unknown == [tmp_path / "album/broken"]
    found = [path.relative_to(tmp_path / "album").as_posix() for path in images]
    assert found == ["Bob/2.jpg", "ann/1.jpg"]


def test_a_folder_that_cannot_be_read_is_named(as_nobody):
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to everybody else
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret").mkdir(mode=0)
        (folder / "1.jpg").touch()
        with as_nobody(), pytest.warns(UserWarning, match="secret is skipped: Permission denied"):
            images, unknown = search_images(folder)
        assert ([path.name for path in images], unknown) == (["1.jpg"], [folder / "secret"])
