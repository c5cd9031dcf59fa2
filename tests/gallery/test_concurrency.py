"""Two processes read while one writes: every answer is one that the gallery had a right to give.

pytest tests/gallery/test_concurrency.py
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.gallery import Portrait, open_gallery

pytestmark = pytest.mark.integration
ROOT = Path(__file__).resolve().parents[2]
FIXED, CHANGING, ROUNDS = 300, 40, 60
READER = """
import sys
import numpy as np
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.gallery import open_gallery

path, fingerprint, fixed = sys.argv[1:]
fixed = np.load(fixed)
searches = wrong = 0
with open_gallery(path, Fingerprint.from_json(fingerprint)) as gallery:
    print("ready", flush=True)
    while "last" not in {identity.name for identity in gallery.identities()}:
        for number in np.random.default_rng(searches).integers(0, len(fixed), 20):
            best, second = gallery.search(fixed[number], top=2)[0]
            wrong += best.name != f"fixed{number}" or best.similarity < 0.9999 or second.similarity > 0.9
            searches += 1
print(searches, wrong, flush=True)
"""


def unit(count, seed):
    rows = np.random.default_rng(seed).standard_normal((count, 32), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_two_readers_and_a_writer(make, fingerprint, tmp_path):
    """Enrolled, changed and removed meanwhile: nobody who was there all along is missed or taken for another."""
    gallery = make()
    fixed = unit(FIXED, 1)
    names = [f"fixed{number}" for number in range(FIXED)]
    gallery.add(
        [Portrait(name=name, metadata=None, embeddings=row[None], crops=(None,)) for name, row in zip(names, fixed)]  # noqa: B905
    )
    np.save(tmp_path / "fixed.npy", fixed)
    words = [sys.executable, "-c", READER, tmp_path / "people.db", fingerprint.to_json(), tmp_path / "fixed.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    readers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "ready\n"
        for number in range(ROUNDS):
            others = unit(CHANGING, 100 + number)
            gallery.enroll(f"other{number}", others[0])
            gallery.enroll(f"other{number}", others[1])
            if number % 3 == 2:
                gallery.remove([f"other{number - 1}", f"other{number - 2}"])
        gallery.enroll("last", unit(1, 99)[0])
        outcomes = [list(map(int, reader.communicate(timeout=60)[0].split())) for reader in readers]
    finally:
        for reader in readers:
            reader.kill()
            reader.stdout.close()
            reader.wait()
    for searches, wrong in outcomes:
        assert searches >= 20
        assert wrong == 0
    assert gallery.check() == []


def test_writers_take_turns(make, fingerprint, tmp_path):
    """Two writers lose nothing: each waits for the other."""
    make().close()
    code = """
import sys
import numpy as np
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.gallery import open_gallery

path, fingerprint, who = sys.argv[1:]
rows = np.random.default_rng(int(who)).standard_normal((60, 32), dtype=np.float32)
with open_gallery(path, Fingerprint.from_json(fingerprint), create=True, timeout_s=30) as gallery:
    for number, row in enumerate(rows):
        gallery.enroll(f"w{who}-{number}", row)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    words = [sys.executable, "-c", code, tmp_path / "people.db", fingerprint.to_json()]
    writers = [subprocess.Popen([*words, str(who)], env=environment) for who in range(2)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    with open_gallery(tmp_path / "people.db", fingerprint) as gallery:
        assert len(gallery) == 120
        assert gallery.check() == []
        for who in range(2):
            rows = np.random.default_rng(who).standard_normal((60, 32), dtype=np.float32)
            assert [gallery.search(row)[0][0].name for row in rows] == [f"w{who}-{number}" for number in range(60)]


def test_two_processes_may_make_the_same_gallery_at_once(fingerprint, tmp_path):
    code = """
import sys
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.gallery import open_gallery

open_gallery(sys.argv[1], Fingerprint.from_json(sys.argv[2]), create=True, timeout_s=30).close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", code, tmp_path / "people.db", fingerprint.to_json()]
    makers = [subprocess.Popen(words, env=environment) for _ in range(6)]
    assert [maker.wait(timeout=60) for maker in makers] == [0] * 6
