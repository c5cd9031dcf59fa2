"""The benchmark of several cameras, for a moment."""

import cv2
import numpy as np
import pytest

from benchmarks.cameras import measure
from benchmarks.cameras.made_video import pack
from benchmarks.cameras.worker import Job
from edge_sphereface import Embedder, open_gallery


@pytest.mark.integration
def test_two_cameras_are_measured_in_one_process(tmp_path, small_model, astronaut):
    pictures = [astronaut[:360], np.zeros((360, 512, 3), np.uint8)]
    pack([cv2.imencode(".jpg", picture)[1] for picture in pictures], tmp_path / "video.npz")
    open_gallery(tmp_path / "people.db", Embedder(small_model), create=True).close()
    job = Job(
        video=str(tmp_path / "video.npz"), model=str(small_model), gallery=str(tmp_path / "people.db"),
        cameras=2, first=0, fps=5.0, seconds=1.5, begin_at=0.0,
    )  # fmt: skip
    (work,) = measure.run([job], start_s=3.0)
    row = measure.row_of(2, "one process", [work], job.seconds, [])
    assert 0 < row.frames <= 24
    assert 0 < row.frames_per_s <= 8
    assert row.age_ms_p50 <= row.latency_ms_p50 <= row.latency_ms_p95
    assert row.rss_mib > 10
    assert row.further_camera_mib is None
    assert measure.text([row]).splitlines()[2].split()[0] == "2"
