"""Test video of people of LFW with ground truth: names, positions and visibility of the faces in every frame."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from benchmarks.gallery.identification import Protocol, make_protocol
from benchmarks.stream import scenarios
from benchmarks.stream.face_renderer import HIGH, LANDMARKS, WIDE, draw, landmarks_at, texture_of
from edge_sphereface.errors import OutputError
from edge_sphereface.evaluation.pairs import read_landmarks
from edge_sphereface.image import load_image
from edge_sphereface.storage.files import PRIVATE, atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.stream.face_renderer import Pose
    from benchmarks.stream.scenarios import Act, Visit
    from edge_sphereface.types import Float32Array, UInt8Array

_LOOKS = 3
"""Number of photographs of a person in the video; none of them is enrolled."""
_STRANGERS = 3
"""One of this many people is not in the gallery."""
_SEEN_YAW, _SEEN_BLUR, _SEEN_SHARE = 45.0, 2.5, 0.7
"""Limits of a visible face: yaw in degrees, blur in pixels at the scale of the template, uncovered share."""
_NOISE = 3.0
_STRIP = 16
_EYES = float(LANDMARKS[1, 0] - LANDMARKS[0, 0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Ground truth of a person in a frame.

    Attributes:
        visit: number of the visit.
        person: name in LFW.
        known: whether the person is in the gallery.
        landmarks: x and y of five landmarks in pixels.
        eyes: interocular distance of the frontal face in pixels.
        yaw: rotation to the side in degrees.
        blur: standard deviation of the blur in pixels.
        open: share of the face that is uncovered and inside the image.
        visible: whether the face is clear enough to be detected.
    """

    visit: int
    person: str
    known: bool
    landmarks: list[list[float]]
    eyes: float
    yaw: float
    blur: float
    open: float
    visible: bool


class Actor(NamedTuple):
    """A person of the video.

    Attributes:
        name: name in LFW.
        known: whether the person is in the gallery.
        looks: textures of the person's photographs.
    """

    name: str
    known: bool
    looks: Sequence[UInt8Array]


class Video:
    """Frames and their ground truth, rendered on request.

    Args:
        lfw: folder with images/ and lfw_landmark.txt.
        rounds: number of rounds of all scenes; 12 people and 61 seconds each.
        seed: seed of the cast and the noise.

    Raises:
        PairsError: photographs or landmarks are missing.
    """

    def __init__(self, lfw: Path, *, rounds: int = 4, seed: int = 0) -> None:
        self.protocol = make_protocol(lfw / "images")
        self.people = _cast(lfw, self.protocol, scenarios.round_size() * rounds, seed)
        self.acts = scenarios.play(range(len(self.people)))
        self.visits = [visit for act in self.acts for visit in act.visits]
        self._seed = seed
        self._begins = np.cumsum([0.0, *(act.seconds for act in self.acts)])

    def __len__(self) -> int:
        """Number of frames."""
        return int(self._begins[-1] * scenarios.FPS)

    def act_at(self, number: int) -> Act:
        """Return the name of the scene of a frame."""
        return self.acts[int(np.searchsorted(self._begins, number / scenarios.FPS, side="right")) - 1]

    def frames(self) -> Iterator[tuple[UInt8Array, list[Truth]]]:
        """Yield each frame, (720, 1280, 3) uint8 BGR, with the ground truth of its people."""
        random = np.random.default_rng(self._seed)
        background = _background(random)
        noises = [random.normal(0, _NOISE, background.shape).astype(np.int16) for _ in range(8)]
        for number in range(len(self)):
            picture = background.copy()
            truths = self._draw(picture, number)
            yield _lit(picture, noises[number % len(noises)], 1 + 0.04 * np.sin(number / 40)), truths

    def _draw(self, picture: UInt8Array, number: int) -> list[Truth]:
        moment, act = number / scenarios.FPS, self.act_at(number)
        present = [
            (visit, visit.pose((moment - visit.begin) / visit.seconds))
            for visit in sorted(act.visits, key=lambda visit: visit.near)
            if 0 <= moment - visit.begin < visit.seconds
        ]
        owner = np.full(picture.shape[:2], -1, dtype=np.int16)
        for visit, pose in present:
            index = self.visits.index(visit)
            draw(picture, self.people[visit.person].looks, pose)
            cv2.ellipse(owner, *_outline(pose), color=index, thickness=-1)
        if act.pillar:
            picture[:, slice(*scenarios.PILLAR)] = (70, 80, 90)
            owner[:, slice(*scenarios.PILLAR)] = -1
        return [self._truth(visit, pose, owner) for visit, pose in present]

    def _truth(self, visit: Visit, pose: Pose, owner: Any) -> Truth:
        index, actor = self.visits.index(visit), self.people[visit.person]
        own = float(np.count_nonzero(owner == index)) / (np.pi * WIDE * HIGH * pose.scale**2)
        seen = abs((pose.yaw + 180) % 360 - 180) < _SEEN_YAW and pose.blur < _SEEN_BLUR * pose.scale
        return Truth(
            visit=index,
            person=actor.name,
            known=actor.known,
            landmarks=np.round(landmarks_at(pose), 1).tolist(),
            eyes=round(_EYES * pose.scale, 1),
            yaw=round(pose.yaw, 1),
            blur=round(pose.blur, 2),
            open=round(min(own, 1.0), 3),
            visible=bool(seen and own > _SEEN_SHARE),
        )


def _lit(picture: UInt8Array, noise: NDArray[np.int16], light: float) -> UInt8Array:
    """Add noise and multiply by the light, strip by strip: a frame of float64 takes 22 MB and fits into no cache."""
    frame = np.empty_like(picture)
    for top in range(0, len(picture), _STRIP):
        rows = slice(top, top + _STRIP)
        values = np.add(picture[rows], noise[rows], dtype=np.float64) * light
        frame[rows] = np.clip(values, 0, 255, out=values)
    return frame


def write_video(video: Video, path: Path, report: Callable[[int, int], None]) -> None:
    """Write an AVI file of mode 0600 and, beside it, the ground truth: one JSON object per frame.

    Raises:
        OutputError: the file cannot be written.
    """
    lines = []
    temporary = path.with_name(f".{path.name}.part.avi")
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    try:
        temporary.touch(mode=PRIVATE)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.", hint="check the path and the disk") from error
    writer = cv2.VideoWriter(str(temporary), fourcc, scenarios.FPS, (scenarios.WIDTH, scenarios.HEIGHT))
    try:
        if not writer.isOpened():
            raise OutputError(f"Cannot write {path}.", hint="the name must end in .avi, and the folder be writable")
        for number, (picture, truths) in enumerate(video.frames()):
            writer.write(picture)
            people = [asdict(truth) for truth in truths]
            lines.append(json.dumps({"frame": number, "act": video.act_at(number).name, "people": people}))
            report(number + 1, len(video))
        writer.release()
        with atomic_write(path.with_suffix(".jsonl"), mode=PRIVATE) as stream:
            stream.write("\n".join([*lines, ""]).encode())
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)


def middle_of(landmarks: Sequence[Sequence[float]] | Float32Array) -> Float32Array:
    """Return the mean of a face's landmarks, (2,) in pixels."""
    middle: Float32Array = np.mean(np.asarray(landmarks, dtype=np.float32), axis=0, dtype=np.float32)
    return middle


def _cast(lfw: Path, protocol: Protocol, count: int, seed: int) -> list[Actor]:
    """Choose people of the gallery with photographs that are not enrolled, and strangers not used otherwise."""
    random = np.random.default_rng(seed)
    landmarks = read_landmarks(lfw / "lfw_landmark.txt")
    known: dict[str, list[str]] = {}
    for photograph, name in protocol.probes:
        known.setdefault(name, []).append(photograph)
    asked = {path.split("/")[0] for path in protocol.strangers}
    others = {
        folder.name: [f"{folder.name}/{image.name}" for image in sorted(folder.iterdir())]
        for folder in sorted((lfw / "images").iterdir())
        if folder.is_dir() and folder.name not in protocol.enrolled and folder.name not in asked
    }
    others = {name: images for name, images in others.items() if len(images) >= _LOOKS}
    names = list(random.permutation(sorted(known)))
    strangers = list(random.permutation(sorted(others)))
    actors = []
    for number in range(count):
        is_known = number % _STRANGERS != _STRANGERS - 1
        name = str((names if is_known else strangers)[number % len(names if is_known else strangers)])
        images = random.permutation((known if is_known else others)[name])[:_LOOKS]
        looks = [texture_of(load_image(lfw / "images" / str(image)), landmarks[str(image)]) for image in images]
        actors.append(Actor(name, is_known, looks))
    return actors


def _outline(pose: Pose) -> tuple[tuple[int, int], tuple[int, int], float, float, float]:
    axes = (max(round(WIDE * pose.scale), 1), max(round(HIGH * pose.scale), 1))
    return (round(pose.x), round(pose.y)), axes, pose.roll, 0.0, 360.0


def _background(random: np.random.Generator) -> UInt8Array:
    """Render a wall with soft patches."""
    patches = random.integers(90, 170, (9, 16), dtype=np.uint8)
    wall = cv2.resize(
        cv2.cvtColor(patches, cv2.COLOR_GRAY2BGR), (scenarios.WIDTH, scenarios.HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    return np.asarray(cv2.GaussianBlur(wall, (0, 0), 12), dtype=np.uint8)
