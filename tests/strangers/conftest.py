"""Sightings of invented people, and stores for them."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from edge_sphereface.gallery import Threshold, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.strangers import Sighting, StrangerStore
from tests.machine import NOON, Machine

SIZE = 64
THRESHOLD = 0.5


def face(person, view=0):
    """(64,) unit embedding; two views of one person have a similarity of about 0.8, two people of about 0."""
    own = np.random.default_rng(person).standard_normal(SIZE)
    noise = np.random.default_rng((person, view)).standard_normal(SIZE)
    row = (own + 0.5 * noise).astype(np.float32)
    return row / np.linalg.norm(row)


def sighting(person, view=0, *, camera="door", day=0, quality=0.5):
    """A track of ten seconds."""
    start = datetime.fromtimestamp(NOON, timezone.utc) + timedelta(days=day, minutes=view)
    coarse = np.random.default_rng((person, view)).integers(0, 256, (14, 12, 3), dtype=np.uint8)
    return Sighting(
        camera=camera,
        start=start,
        end=start + timedelta(seconds=10),
        quality=quality,
        embedding=face(person, view),
        crop=np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8)),
    )


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture(scope="session")
def fingerprint(spec):
    return replace(Fingerprint.of(spec), embedding_size=SIZE)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "strangers.db"


@pytest.fixture
def key():
    return bytes(range(32))


@pytest.fixture
def make(path, fingerprint, machine):
    """A function that opens the store, made if need be."""
    opened = []

    def make(**options):
        store = StrangerStore(path, **{"fingerprint": fingerprint, "create": True, "moment": machine, **options})
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def gallery(tmp_path, fingerprint):
    """An empty one with a threshold of 0.5."""
    with open_gallery(tmp_path / "people.db", fingerprint, create=True, keep_crops=True) as gallery:
        digest = fingerprint.digest
        gallery.set_threshold(Threshold(value=THRESHOLD, precision="float32", fingerprint=digest, source="test"))
        yield gallery
