"""Galleries of every kind, and embeddings to put into them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.alignment import LANDMARK_TEMPLATE, align
from edge_sphereface.gallery import Portrait, Threshold, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.types import Face

SIZE = 32


@pytest.fixture(scope="session")
def fingerprint(spec):
    return replace(Fingerprint.of(spec), embedding_size=SIZE)


@pytest.fixture
def faces():
    """Unit embeddings (40, 32) that resemble one another little."""
    rows = np.random.default_rng(1).standard_normal((40, SIZE), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def key():
    return bytes(range(32))


@pytest.fixture
def make(tmp_path, fingerprint):
    """A function that opens `people.db`, made if need be, with a threshold of 0.6."""
    opened = []

    def make(place=None, *, threshold=0.6, **options):
        gallery = open_gallery(place or tmp_path / "people.db", fingerprint, create=True, **options)
        opened.append(gallery)
        if threshold is not None:
            digest = fingerprint.digest
            gallery.set_threshold(Threshold(value=threshold, precision="float32", fingerprint=digest, source="test"))
        return gallery

    yield make
    for gallery in opened:
        gallery.close()


@pytest.fixture
def path(tmp_path):
    """Where `make` puts a gallery."""
    return tmp_path / "people.db"


@pytest.fixture
def enrolled(make):
    """A function that makes a gallery file with p0, p1, … of one embedding each."""

    def enrolled(faces, count=4, **options):
        gallery = make(**options)
        gallery.add(
            [
                Portrait(name=f"p{number}", metadata=None, embeddings=faces[number][None], crops=(None,))
                for number in range(count)
            ]
        )
        return gallery

    return enrolled


@pytest.fixture
def make_earlier():
    """A function that turns the tables of a gallery file into those of an earlier version, to the letter."""

    def make_earlier(path, version):
        with closing(sqlite3.connect(path)) as raw:
            raw.execute("DROP INDEX ignored_identities")
            raw.execute("ALTER TABLE identities DROP COLUMN ignored")
            raw.execute(f"PRAGMA user_version = {version}")
            raw.commit()

    return make_earlier


@pytest.fixture(params=["file", "encrypted", "milvus"])
def gallery(request, make, tmp_path, key):
    """One of each kind that there is without a server; a cluster speaks the protocol of Milvus Lite."""
    if request.param == "milvus":
        return make(f"milvus:{tmp_path / 'people.db'}", keep_crops=True)
    return make(key=key if request.param == "encrypted" else None, keep_crops=True)


class Marked:
    """A face of five colored discs whose landmarks resemble the template little; also the detector that finds them."""

    name = "marks"
    colors = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
    _moves = ((6, 2), (-5, 0), (9, -3), (4, -2), (-3, 3))

    def cut(self, fit, turn, moves=_moves):
        """The face, turned by radians in its photograph and twice as large as in a crop, aligned by a fit."""
        import cv2

        c, s = 2 * np.cos(turn), 2 * np.sin(turn)
        points = (np.array(LANDMARK_TEMPLATE) + moves) @ np.array([[c, s], [-s, c]]) + [150, 100]
        photograph = np.full((500, 500, 3), 90, np.uint8)
        for (x, y), color in zip(points, self.colors, strict=True):
            cv2.circle(photograph, (round(16 * x), round(16 * y)), 16 * 8, color, -1, cv2.LINE_AA, 4)
        return align(photograph, points, fit=fit)[0]

    def marks(self, image):
        """(5, 2) centers of the discs in a picture; NaN where there is none."""
        centers = np.full((5, 2), np.nan)
        for number, color in enumerate(self.colors):
            y, x = np.nonzero((np.abs(image.astype(int) - color) < 60).all(axis=2))
            if len(x) > 20:
                centers[number] = x.mean(), y.mean()
        return centers

    def detect(self, image):
        """The face if every disc is to be seen."""
        points = self.marks(image).astype(np.float32)
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
        return [Face(box=box, landmarks=points, score=1.0)] if np.isfinite(points).all() else []


@pytest.fixture
def marked():
    return Marked()
