"""Changes a gallery without end and says so on stdout: `begin WHAT` before a change, `done WHAT` once it is confirmed.

python crash_writer.py GALLERY FINGERPRINT_JSON SEED
"""

from __future__ import annotations

import os
import random
import sys
import zlib
from pathlib import Path

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.fingerprint import Fingerprint
from edge_sphereface.gallery import open_gallery

SIZE = 32


def embedding(name, number):
    """Unit vector (32,) that anyone can make anew."""
    row = np.random.default_rng(zlib.crc32(f"{name}/{number}".encode())).standard_normal(SIZE).astype(np.float32)
    return row / np.linalg.norm(row)


def say(line):
    """In one write, which a kill does not cut."""
    os.write(1, f"{line}\n".encode())


def main(path, fingerprint, seed):
    chance = random.Random(seed)
    with open_gallery(Path(path), Fingerprint.from_json(fingerprint), create=True) as gallery:
        known = {identity.name: identity.embeddings for identity in gallery.identities()}
        for step in range(1_000_000):
            kind = chance.random()
            name = f"s{seed}-{step}" if kind < 0.6 or not known else chance.choice(sorted(known))
            if kind < 0.9:
                what = f"enroll {name} {known.get(name, 0)}"
                say(f"begin {what}")
                gallery.enroll(name, embedding(name, known.get(name, 0)))
                known[name] = known.get(name, 0) + 1
            else:
                what = f"remove {name} 0"
                say(f"begin {what}")
                if name in known:
                    gallery.remove([name])
                    del known[name]
            say(f"done {what}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3], int(sys.argv[3]))
    except EdgeSphereFaceError as error:
        say(f"failed {error}")
