"""Resident memory by cause: files of libraries, and what each step allocated."""

import pytest

from benchmarks.memory.measure import by_step
from benchmarks.memory.worker import ALLOCATED, STEPS, snapshot

SMAPS = """\
1000-3000 r-xp 00000000 08:01 1 /venv/opencv-test/site-packages/onnxruntime/capi/state.so
Rss:                2048 kB
Pss:                1024 kB
3000-4000 rw-p 00000000 08:01 1 /venv/opencv-test/site-packages/cv2/cv2.abi3.so
Rss:                1024 kB
Pss:                1024 kB
4000-5000 r-xp 00000000 08:01 1 /usr/lib/libc.so.6
Rss:                 512 kB
Pss:                 256 kB
5000-6000 rw-p 00000000 00:00 0 [heap]
Rss:                3072 kB
Pss:                3072 kB
6000-7000 rw-p 00000000 00:00 0
Rss:                1024 kB
Pss:                1024 kB
"""


def test_memory_is_divided_by_library(tmp_path):
    path = tmp_path / "smaps"
    path.write_text(SMAPS)
    assert snapshot(path) == {
        "onnxruntime": (2.0, 1.0),
        "OpenCV": (1.0, 1.0),
        "other files": (0.5, 0.25),
        ALLOCATED: (4.0, 4.0),
    }


def test_allocated_memory_is_divided_by_step():
    sizes = (3.0, 7.0, 9.0, 30.0, 28.0)
    steps = [{ALLOCATED: (size, size), "numpy": (number, number)} for number, size in enumerate(sizes)]
    causes = by_step(steps)
    assert [causes[f"{ALLOCATED}: {name}"][0] for name in STEPS] == [3, 4, 2, 21, -2]
    assert sum(resident for resident, _ in causes.values()) == pytest.approx(28 + 4)
