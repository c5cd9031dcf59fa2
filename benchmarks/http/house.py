"""Made cameras that a server watches while it answers requests, and what their statistics say."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.types import UInt8Array

STATISTICS_S = 5.0
"""Interval at which the cameras report their statistics."""
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CamerasUnderLoad:
    """The cameras in one period of the measurement.

    Attributes:
        during: what the server answered: ``nothing``, ``one after the other``, or the load in shares of the capacity.
        intervals: number of reports of all cameras, of 5 s each.
        frames_per_s: mean rate of a camera.
        dropped: number of frames that a newer one replaced before they were processed.
        age_ms_p50: median over the reports of the median age of a frame when its processing began, in milliseconds.
        age_ms_p99: median over the reports of its 99th percentile.
        latency_ms_p50: median over the reports of the median time from reading a frame to the end of its processing,
            in milliseconds.
        latency_ms_p99: median over the reports of its 99th percentile.
        latency_ratio: ``latency_ms_p50`` in multiples of that without requests; None for that row.
    """

    during: str
    intervals: int
    frames_per_s: float = field(metadata=rounded(2))
    dropped: int
    age_ms_p50: float = field(metadata=rounded(2))
    age_ms_p99: float = field(metadata=rounded(2))
    latency_ms_p50: float = field(metadata=rounded(2))
    latency_ms_p99: float = field(metadata=rounded(2))
    latency_ratio: float | None = field(metadata=rounded(3))


class Reports:
    """The statistics of cameras, as lines of JSON bring them.

    Args:
        clock: gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._came: list[tuple[float, dict[str, Any]]] = []

    def take(self, line: str) -> None:
        """Keep a line if it is a report of a running camera."""
        event = json.loads(line)
        if event.get("event") == "statistics" and not event["final"] and event["latency_ms"]["p50"] is not None:
            self._came.append((self._clock(), event))

    def row(self, during: str, began: float, before: CamerasUnderLoad | None) -> CamerasUnderLoad:
        """The row of the period that ends now.

        Args:
            during: what the server answered.
            began: begin of the period, on the clock.
            before: the row without requests; None for that row itself.

        Raises:
            EdgeSphereFaceError: no camera reported anything in the whole period.
        """
        found = [event for came, event in self._came if came >= began + STATISTICS_S]
        if not found:
            raise EdgeSphereFaceError("No camera reported anything.", hint="measure for at least 15 s")
        drops: dict[str, list[int]] = {}
        for event in found:
            drops.setdefault(event["stream"], []).append(event["dropped"])
        latency = median(event["latency_ms"]["p50"] for event in found)
        return CamerasUnderLoad(
            during=during,
            intervals=len(found),
            frames_per_s=mean(event["fps"] for event in found),
            dropped=sum(counts[-1] - counts[0] for counts in drops.values()),
            age_ms_p50=median(event["age_ms"]["p50"] for event in found),
            age_ms_p99=median(event["age_ms"]["p99"] for event in found),
            latency_ms_p50=latency,
            latency_ms_p99=median(event["latency_ms"]["p99"] for event in found),
            latency_ratio=None if before is None else latency / before.latency_ms_p50,
        )


def write_house(
    folder: Path, model: Path, files: Sequence[UInt8Array], *, cameras: int, fps: float, seconds: float
) -> Path:
    """Write a gallery, the frames of the cameras and their settings.

    A camera is a folder of pictures, which is played at its rate. Each file is stored once, under as many names as the
    duration needs.

    Args:
        folder: where to write.
        model: ONNX file.
        files: JPEG files of frames.
        cameras: number of cameras.
        fps: frames per second of each.
        seconds: duration for which the frames must be enough.

    Returns:
        Path of the settings.
    """
    from edge_sphereface.gallery import open_gallery
    from edge_sphereface.gallery.records import Threshold
    from edge_sphereface.inference.embedder import Embedder

    embedder = Embedder(model)
    with open_gallery(folder / "people.db", embedder, create=True) as gallery:
        known = embedder.fingerprint
        gallery.set_threshold(
            Threshold(value=_THRESHOLD, precision=known.precision, fingerprint=known.digest, source="benchmark")
        )
    stored = folder / "stored"
    stored.mkdir()
    for number, file in enumerate(files):
        (stored / f"{number}.jpg").write_bytes(file.tobytes())
    settings = [
        f'model = "{model.resolve()}"',
        f'gallery = "{folder}/people.db"',
        f"statistics-s = {STATISTICS_S}",
        f"folder-fps = {fps}",
    ]
    for camera in range(cameras):
        place = folder / f"camera {camera}"
        place.mkdir()
        for number in range(int(seconds * fps) + 1):
            os.link(stored / f"{(number + camera * 61) % len(files)}.jpg", place / f"{number:06}.jpg")
        settings += ["", "[[camera]]", f'name = "camera {camera}"', f'source = "{place}"']
    config = folder / "house.toml"
    config.write_text("\n".join([*settings, ""]), encoding="utf-8")
    return config
