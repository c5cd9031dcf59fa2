"""Changes a gallery and says so on stdout: `begin WHAT` before a change, `done WHAT` once it is confirmed.

run(GALLERY, FINGERPRINT_JSON, SEED)           many small changes, without end
run(GALLERY, FINGERPRINT_JSON, SEED, STEPS)    as many changes, most of dozens of people at once
run(GALLERY, FINGERPRINT_JSON, "list")         `found COUNT NAME` for each identity
"""

from __future__ import annotations

import os
import random
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint

SIZE = 32
GROUP = 60


@cache
def embedding(name, number):
    """Unit vector (32,) that anyone can make anew."""
    row = np.random.default_rng(zlib.crc32(f"{name}/{number}".encode())).standard_normal(SIZE).astype(np.float32)
    return row / np.linalg.norm(row)


def group(prefix):
    """Names of people that come together, spread over the whole index of names."""
    return [f"{zlib.crc32(f'{prefix}{number}'.encode()):08x}-{prefix}-{number}" for number in range(GROUP)]


def portraits(names):
    """One embedding each."""
    return [Portrait(name=name, metadata=None, embeddings=embedding(name, 0)[None], crops=(None,)) for name in names]


def say(line):
    """In one write, which a kill does not cut."""
    os.write(1, f"{line}\n".encode())


def change(gallery, known, what):
    """Announce a change, make it, confirm it."""
    say(f"begin {what}")
    kind, name, number = what.split()
    if kind == "add":
        gallery.add(portraits(group(name)))
        known.update(dict.fromkeys(group(name), 1))
    elif kind == "enroll":
        gallery.enroll(name, embedding(name, int(number)))
        known[name] = known.get(name, 0) + 1
    elif name in known:
        gallery.remove([name])
        del known[name]
    say(f"done {what}")


def plan(chance, known, seed, step, *, groups):
    """The next change."""
    kind = chance.random()
    if kind > 0.9:
        return f"remove {chance.choice(sorted(known)) if known else 'x'} 0"
    if groups and kind < 0.8:
        return f"add s{seed}-{step} 0"
    name = f"s{seed}-{step}" if kind < 0.6 or not known else chance.choice(sorted(known))
    return f"enroll {name} {known.get(name, 0)}"


def work(path, fingerprint, what, steps):
    kind = Fingerprint.from_json(fingerprint)
    if what == "list":
        with open_gallery(Path(path), kind) as gallery:
            for identity in gallery.identities():
                say(f"found {identity.embeddings} {identity.name}")
        return
    chance = random.Random(int(what))
    with open_gallery(Path(path), kind, create=True) as gallery:
        known = {identity.name: identity.embeddings for identity in gallery.identities()}
        for step in range(int(steps)):
            change(gallery, known, plan(chance, known, what, step, groups=steps != 1_000_000))


def run(path, fingerprint, what, steps=1_000_000):
    try:
        work(path, fingerprint, what, steps)
    except EdgeSphereFaceError as error:
        say(f"failed {error}")
