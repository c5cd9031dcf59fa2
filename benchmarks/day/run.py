"""Plays a day in a house, and judges it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.day import liveness_model, score
from benchmarks.day.cast import choose
from benchmarks.day.house import HOUR_S, KEEP_STRANGERS_S, House
from benchmarks.day.scenes import TAIL_S, empty, held_print
from benchmarks.day.schedule import plan
from benchmarks.gallery.identification import FALSE_ALARMS, make_protocol, threshold_at
from benchmarks.stream.face_renderer import Pose, draw, texture_of
from benchmarks.stream.strangers import FRAMES_PER_S, HEIGHT, SECONDS, TURN_DEG, WIDTH, sway, wall
from edge_sphereface.evaluation.pairs import read_landmarks
from edge_sphereface.gallery import Threshold, open_gallery
from edge_sphereface.image import load_image
from edge_sphereface.liveness import LivenessChecker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.day.cast import Cast, Numbers
    from benchmarks.day.schedule import Visit
    from benchmarks.gallery.identification import Protocol
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

_EACH = 3
"""Frames of each person of the training and of the test of the liveness model, as a face and as a print."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is rendered.

    Attributes:
        frames: number of frames of a visit.
        trained: number of people that the liveness model is trained on.
        tested: number of people that it is tested on.
    """

    frames: int = round(FRAMES_PER_S * SECONDS)
    trained: int = 40
    tested: int = 20


class Renderer:
    """Renders visits from photographs of LFW.

    Args:
        lfw: folder with images/ and lfw_landmark.txt.
        seed: of noise and motion.
        frames: number of frames of a visit.
    """

    def __init__(self, lfw: Path, *, seed: int, frames: int) -> None:
        self.images = lfw / "images"
        self._landmarks: Mapping[str, Float64Array] = read_landmarks(lfw / "lfw_landmark.txt")
        self._seed, self._frames = seed, frames

    def turned(self, photograph: str) -> Iterator[UInt8Array]:
        """The head from the front and turned to either side, where it may show a bystander's face, too."""
        for yaw in (0.0, -TURN_DEG, TURN_DEG):
            picture = wall(np.random.default_rng(self._seed))
            draw(picture, [self._texture(photograph)], Pose(x=WIDTH / 2, y=HEIGHT / 2, yaw=yaw))
            yield picture

    def face(self, photographs: Sequence[str], number: int, frames: int | None = None) -> Iterator[UInt8Array]:
        """A head that moves."""
        looks = [self._texture(path) for path in photographs]
        return sway(looks, np.random.default_rng([self._seed, number]), frames=frames or self._frames)

    def print(self, photograph: str, number: int, frames: int | None = None) -> Iterator[UInt8Array]:
        """A printed photograph that is held into the camera."""
        random = np.random.default_rng([self._seed, number])
        return held_print(load_image(self.images / photograph), random, frames=frames or self._frames)

    def visit(self, visit: Visit, number: int) -> Iterator[UInt8Array]:
        """A visit, and the empty scene after it."""
        if visit.role == "print":
            yield from self.print(visit.photographs[0], number)
        else:
            yield from self.face(visit.photographs, number)
        yield from empty(np.random.default_rng([self._seed, number, 1]))

    def _texture(self, photograph: str) -> UInt8Array:
        return texture_of(load_image(self.images / photograph), self._landmarks[photograph])


def play(  # noqa: PLR0913 -- the parts of a day, by name
    lfw: Path,
    numbers: Numbers,
    *,
    seed: int,
    extent: Extent,
    embedder: Embedder,
    detector: Detector,
    embed: Callable[[Protocol, Cast], Mapping[str, Float32Array]],
    report: Callable[[int, int], None],
) -> score.DayFigures:
    """Play a day, and the next one, on which everything expires.

    Args:
        lfw: folder with images/ and lfw_landmark.txt.
        numbers: how many people come.
        seed: of the choice, the moments and the motion.
        extent: how much is rendered.
        embedder: the model.
        detector: finds faces.
        embed: gives the embeddings of the enrolled people and of the protocol's strangers, by photograph.
        report: progress function.
    """
    protocol = make_protocol(lfw / "images")
    renderer = Renderer(lfw, seed=seed, frames=extent.frames)

    def is_alone(photograph: str) -> bool:
        return all(len(detector.detect(picture)) == 1 for picture in renderer.turned(photograph))

    cast = choose(lfw / "images", protocol, numbers, seed, is_alone=is_alone)
    visits = plan(cast.people, seed)
    photographs = embed(protocol, cast)
    with TemporaryDirectory() as folder:
        home, outputs = Path(folder), Path(folder) / "outputs"
        outputs.mkdir(mode=0o700)
        checker, made = _made_checker(home / "made.onnx", cast, renderer, detector, extent)
        with open_gallery(home / "people.db", embedder, create=True) as gallery:
            threshold = _enroll(gallery, cast, protocol, photographs)
            with House(outputs, detector=detector, embedder=embedder, gallery=gallery, liveness=checker) as house:
                seen = []
                frames = 0
                for number, visit in enumerate(visits):
                    house.wait_until(visit.at_s)
                    shown = list(renderer.visit(visit, number))
                    frames += len(shown)
                    seen.append((visit, *house.show(visit.camera, visit.at_s, shown)))
                    report(number + 1, len(visits))
                kept = house.kept_strangers()
                house.wait_until(house.clock.now_s + KEEP_STRANGERS_S + 2 * HOUR_S)
            without = _named_without_check(home, visits, renderer, embedder, detector, gallery)
    judged = [
        score.Seen(visit, events, [one for one in kept if _is_of(one.camera, one.at_s, visit)], snapshots)
        for visit, events, snapshots in seen
    ]
    held = next(one for one in judged if one.visit.role == "print")
    return score.DayFigures(
        visits=len(visits),
        frames=frames,
        events=sum(len(events) for _, events, _ in seen),
        threshold=threshold,
        names=score.names(judged),
        ignored=score.ignored(judged),
        strangers=score.strangers(judged),
        print=score.PrintFigures(
            named_without_check=without, named=bool(held.names), states=held.states, sightings=len(held.sightings)
        ),
        liveness=made,
        traces=house.traces.figures(),
    )


def _is_of(camera: str, at_s: float, visit: Visit) -> bool:
    return camera == visit.camera and 0 <= at_s - visit.at_s < SECONDS + TAIL_S


def _enroll(gallery: Gallery, cast: Cast, protocol: Protocol, photographs: Mapping[str, Float32Array]) -> float:
    """Enroll the people of the house, and set the threshold that one photograph of a stranger in a hundred reaches."""
    silent = {person.name for person in cast.people if person.role == "ignored"}
    for name, paths in cast.gallery.items():
        rows = [photographs[path] for path in paths if np.isfinite(photographs[path]).all()]
        gallery.enroll(name, np.stack(rows), ignored=name in silent)
    found = [photographs[path] for path in protocol.strangers if path in photographs]
    strangers = np.stack([row for row in found if np.isfinite(row).all()])
    best = np.array([candidates[0].similarity for candidates in gallery.search(strangers, top=1)])
    threshold = threshold_at(best, FALSE_ALARMS)
    kind = gallery.fingerprint
    gallery.set_threshold(
        Threshold(value=threshold, precision=kind.precision, fingerprint=kind.digest, source="benchmarks.day")
    )
    return threshold


def _made_checker(
    path: Path, cast: Cast, renderer: Renderer, detector: Detector, extent: Extent
) -> tuple[LivenessChecker, score.MadeLiveness]:
    """Train the liveness model on people who do not come, and count its errors on others of them."""
    chosen, count = cast.others[: extent.trained + extent.tested], extent.trained
    faces = [
        liveness_model.crops_of(renderer.face([photograph], 1000 + number, _EACH), detector)
        for number, photograph in enumerate(chosen)
    ]
    prints = [
        liveness_model.crops_of(renderer.print(photograph, 2000 + number, _EACH), detector)
        for number, photograph in enumerate(chosen)
    ]
    live, spoofs = ([crop for crops in kind[:count] for crop in crops] for kind in (faces, prints))
    liveness_model.train(live, spoofs, path)
    checker = LivenessChecker([path], threads=1)
    tested = [(crop, kind is faces) for kind in (faces, prints) for crops in kind[count:] for crop in crops]
    return checker, score.MadeLiveness(
        architecture=liveness_model.ARCHITECTURE,
        faces=len(live),
        prints=len(spoofs),
        tested=len(tested),
        wrong=liveness_model.count_errors(path, tested),
    )


def _named_without_check(
    home: Path,
    visits: Sequence[Visit],
    renderer: Renderer,
    embedder: Embedder,
    detector: Detector,
    gallery: Gallery,
) -> bool:
    """Whether the print would have been named without a liveness model."""
    number, visit = next((number, visit) for number, visit in enumerate(visits) if visit.role == "print")
    folder = home / "without"
    folder.mkdir(mode=0o700)
    with House(folder, detector=detector, embedder=embedder, gallery=gallery, liveness=None) as house:
        events, _ = house.show(visit.camera, visit.at_s, renderer.visit(visit, number))
    return bool(score.Seen(visit, events, [], 0).names)
