"""Share of strangers that `watch` ever names at a nominal rate, with a threshold for photographs or for tracks.

Each stranger is tracked for a few seconds in a separate rendered video. Half of the strangers calibrate the threshold,
the others are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.gallery.identification import FALSE_ALARMS, fill, make_protocol, threshold_at
from benchmarks.stream.face_renderer import Pose, draw, texture_of
from edge_sphereface.evaluation.pairs import read_landmarks
from edge_sphereface.evaluation.threshold import calibrate_tracks
from edge_sphereface.gallery import open_gallery
from edge_sphereface.image import load_image
from edge_sphereface.stream.settings import RecognitionSettings, StreamSettings
from edge_sphereface.stream.stranger_tracks import track_scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.gallery.identification import Protocol
    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array, UInt8Array

_LOOKS = 3
FRAMES_PER_S, SECONDS = 8.0, 4.0
WIDTH, HEIGHT = 640, 360
TURN_DEG = 18.0
"""How far a head turns to either side, in degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ByPhotographs:
    """Strangers named with the threshold for photographs.

    Attributes:
        threshold: the threshold, a cosine similarity.
        named: share of the tracks that are ever named.
    """

    threshold: float
    named: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ByTracks:
    """Strangers named with the thresholds for tracks.

    Attributes:
        thresholds: threshold that each half of the strangers calibrated, a cosine similarity.
        named: share of the tracks that are ever named, each half judged by the threshold of the other.
    """

    thresholds: tuple[float, ...]
    named: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangersFigures:
    """Shares of the strangers that are ever named.

    Attributes:
        strangers: number of strangers.
        tracks: number of their tracks.
        rate: nominal rate of both thresholds.
        by_photographs: with the threshold for photographs.
        by_tracks: with the thresholds for tracks.
    """

    strangers: int
    tracks: int
    rate: float
    by_photographs: ByPhotographs
    by_tracks: ByTracks


def choose(lfw: Path, protocol: Protocol, count: int, seed: int) -> list[list[str]]:
    """Choose photographs of people who are not enrolled and not strangers of the threshold for photographs."""
    asked = {path.split("/")[0] for path in protocol.strangers}
    folders = [
        folder
        for folder in sorted((lfw / "images").iterdir())
        if folder.is_dir() and folder.name not in protocol.enrolled and folder.name not in asked
    ]
    people = [sorted(f"{folder.name}/{image.name}" for image in folder.iterdir())[:_LOOKS] for folder in folders]
    people = [images for images in people if len(images) > 1]
    order = np.random.default_rng(seed).permutation(len(people))[:count]
    return [people[number] for number in order]


def measure(
    lfw: Path,
    *,
    count: int,
    seed: int,
    embedder: Embedder,
    detector: Detector,
    photographs: Mapping[str, Float32Array],
    report: Callable[[int, int], None],
) -> StrangersFigures:
    """Track strangers in rendered videos.

    Args:
        lfw: folder with images/ and lfw_landmark.txt.
        count: largest number of strangers.
        seed: seed of the choice and motion of strangers.
        embedder: embeds the faces.
        detector: finds faces.
        photographs: embeddings of enrolled people, and of strangers for the threshold of photographs.
        report: progress function.
    """
    protocol, landmarks = make_protocol(lfw / "images"), read_landmarks(lfw / "lfw_landmark.txt")
    people = choose(lfw, protocol, count, seed)
    scores: list[list[float]] = []
    with TemporaryDirectory() as folder, open_gallery(Path(folder) / "people.db", embedder, create=True) as gallery:
        fill(gallery, protocol, photographs)
        rows = [photographs[path] for path in protocol.strangers if path in photographs]
        usable = np.stack([row for row in rows if np.isfinite(row).all()])
        alarms = np.array([candidates[0].similarity for candidates in gallery.search(usable, top=1)])
        of_photographs = threshold_at(alarms, FALSE_ALARMS)
        settings = StreamSettings(recognition=RecognitionSettings(threshold=of_photographs))
        for number, images in enumerate(people):
            looks = [texture_of(load_image(lfw / "images" / image), landmarks[image]) for image in images]
            frames = sway(looks, np.random.default_rng([seed, number]), frames=round(FRAMES_PER_S * SECONDS))
            timed = ((index / FRAMES_PER_S, frame) for index, frame in enumerate(frames))
            scores.append(track_scores(timed, detector=detector, embedder=embedder, gallery=gallery, settings=settings))
            report(number + 1, len(people))
    return judge(scores, of_photographs)


def judge(scores: Sequence[Sequence[float]], of_photographs: float) -> StrangersFigures:
    """Return the share of strangers that are ever named, for both thresholds.

    Args:
        scores: scores of the tracks of each stranger.
        of_photographs: threshold of the rate per photograph.
    """
    half = len(scores) // 2
    parts = (scores[:half], scores[half:])
    tracks = [np.array([score for sequence in part for score in sequence]) for part in parts]
    thresholds = [calibrate_tracks(part, FALSE_ALARMS).threshold for part in parts]
    total = sum(map(len, tracks))
    named = sum(int((judged >= threshold).sum()) for judged, threshold in zip(tracks, thresholds[::-1], strict=True))
    before = sum(int((judged >= of_photographs).sum()) for judged in tracks)
    return StrangersFigures(
        strangers=len(scores),
        tracks=total,
        rate=FALSE_ALARMS,
        by_photographs=ByPhotographs(threshold=of_photographs, named=before / total),
        by_tracks=ByTracks(thresholds=tuple(thresholds), named=named / total),
    )


def text(row: StrangersFigures) -> str:
    """Format the result as text."""
    photographs, tracks = row.by_photographs, row.by_tracks
    thresholds = " and ".join(f"{value:.3f}" for value in tracks.thresholds)
    return (
        f"{row.strangers} strangers tracked for {SECONDS:g} s each, {row.tracks} tracks; share ever named:\n"
        f"threshold {photographs.threshold:.3f}, which {100 * row.rate:g} % of photographs of strangers reach: "
        f"{100 * photographs.named:.2f} %\n"
        f"threshold {thresholds}, which {100 * row.rate:g} % of the other half's tracks reach: "
        f"{100 * tracks.named:.2f} %"
    )


def sway(looks: Sequence[UInt8Array], random: np.random.Generator, *, frames: int) -> Iterator[UInt8Array]:
    """Render a head that sways, turns, approaches and recedes, while its photographs blend into one another.

    Args:
        looks: textures of one person.
        random: noise and motion.
        frames: number of frames.
    """
    phase = random.uniform(0, 2 * np.pi, 4)
    for number in range(frames):
        t = number / frames
        picture = wall(random)
        pose = Pose(
            x=WIDTH / 2 + 80 * float(np.sin(4 * t + phase[0])),
            y=HEIGHT / 2 + 10 * float(np.sin(9 * t + phase[1])),
            scale=0.8 + 0.2 * float(np.sin(4 * t + phase[2])),
            yaw=TURN_DEG * float(np.sin(8 * t + phase[3])),
            look=(len(looks) - 1) * t,
        )
        draw(picture, looks, pose)
        yield picture


def wall(random: np.random.Generator) -> UInt8Array:
    """Render what a camera sees before anybody comes: (360, 640, 3) uint8 BGR."""
    return np.clip(random.normal(120, 3, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
