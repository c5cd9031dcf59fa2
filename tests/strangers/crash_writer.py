"""Adds and forgets sightings without end, and says so on stdout: `add NUMBER` before one is added.

run(STORE, FINGERPRINT_JSON, SEED)
"""

import os
import random

from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.strangers import StrangerStore
from tests.strangers.conftest import sighting


def run(path, fingerprint, seed):
    chance = random.Random(int(seed))
    with StrangerStore(path, fingerprint=Fingerprint.from_json(fingerprint), create=True) as store:
        for step in range(10_000):
            number = int(seed) * 10_000 + step
            os.write(1, f"add {number}\n".encode())
            store.add([sighting(1000 + number)])
            known = store.group(0.5).strangers
            if chance.random() < 0.3:
                store.forget(known[-1].id)
