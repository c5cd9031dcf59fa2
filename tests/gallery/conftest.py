"""Galleries of every kind, and embeddings to put into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_sphereface.fingerprint import Fingerprint
from edge_sphereface.gallery import Portrait, Threshold, open_gallery

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


@pytest.fixture(params=["file", "encrypted", "milvus"])
def gallery(request, make, tmp_path, key):
    """One of each kind that there is without a server; a cluster speaks the protocol of Milvus Lite."""
    if request.param == "milvus":
        return make(f"milvus:{tmp_path / 'people.db'}", keep_crops=True)
    return make(key=key if request.param == "encrypted" else None, keep_crops=True)
