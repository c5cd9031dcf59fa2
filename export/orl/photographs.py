"""Write the ORL faces to disk, divided into enrolled people and strangers, and make labeled pairs of them."""

from __future__ import annotations

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import NoFaceError
from edge_sphereface.evaluation.pairs import LabeledPairs, Pair
from edge_sphereface.image import save_image
from edge_sphereface.pipeline import select_face
from edge_sphereface.storage.files import ensure_folder
from export.orl.faces import PEOPLE, PHOTOGRAPHS_EACH, read_orl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Face, Float64Array, UInt8Array

ENROLLED_PEOPLE, ENROLLED_EACH = 30, 3
"""People 1 to 30 are enrolled from their photographs 1 to 3; people 31 to 40 are strangers."""
STRANGERS = PEOPLE - ENROLLED_PEOPLE
_PAIRS_SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OrlPhotographs:
    """The ORL faces on disk, with crops and landmarks.

    Attributes:
        enrolled: folder of the enrolled photographs, ``Person 01/01.png``; they also calibrate a quantization.
        others: folder of the other photographs.
        crops: (40, 10, H, W, 3) uint8 BGR, aligned, by person and number.
        landmarks: landmarks (5, 2) in pixels of each photograph, by its path in either folder.
        detector: detector that found the faces, and remembers them.
    """

    enrolled: Path
    others: Path
    crops: UInt8Array
    landmarks: dict[str, Float64Array]
    detector: Detector

    def labeled_pairs(self) -> LabeledPairs:
        """Return all genuine pairs of the photographs that are not enrolled, and as many random impostor pairs."""
        return LabeledPairs(balanced_pairs([file_of(*each) for each in ASKED]), self.others, self.landmarks)


ASKED = tuple(
    (person, number)
    for person in range(1, PEOPLE + 1)
    for number in range(1, PHOTOGRAPHS_EACH + 1)
    if person > ENROLLED_PEOPLE or number > ENROLLED_EACH
)
"""Person and number of the photographs that are not enrolled."""


def balanced_pairs(photographs: Sequence[str]) -> list[Pair]:
    """Return all genuine pairs of photographs, and as many random impostor pairs, mixed.

    Args:
        photographs: paths ``PERSON/photo.jpg``.
    """
    every = [
        Pair(one, other, same=one.partition("/")[0] == other.partition("/")[0])
        for one, other in itertools.combinations(photographs, 2)
    ]
    genuine, impostor = [pair for pair in every if pair.same], [pair for pair in every if not pair.same]
    random = np.random.RandomState(_PAIRS_SEED)  # the same stream in every numpy
    chosen = random.choice(len(impostor), min(len(genuine), len(impostor)), replace=False)
    pairs = [*genuine, *(impostor[index] for index in chosen)]
    return [pairs[index] for index in random.permutation(len(pairs))]  # each fold has pairs of both kinds


def name_of(person: int) -> str:
    """Name under which a person is enrolled."""
    return f"Person {person:02d}"


def file_of(person: int, number: int) -> str:
    """Path of a photograph in its folder."""
    return f"{name_of(person)}/{number:02d}.png"


class OrlSearch:
    """The search for the faces of the ORL photographs, by threads that leave the caller to other work.

    Raises:
        ExtraError: the package that contains the photographs is not installed.
    """

    def __init__(self) -> None:
        self._photographs = read_orl()
        # The photographs are so small that a thread for each is faster than several for one
        self._detector = _Remembering(open_detector(threads=1))
        self._workers = ThreadPoolExecutor(usable_cpus())
        self._found = self._workers.map(self._detector.detect, [each.image for each in self._photographs])

    def close(self) -> None:
        """End the threads."""
        self._workers.shutdown(cancel_futures=True)

    def write(self, folder: Path, spec: ModelSpec, *, progress: Callable[[int, int], None]) -> OrlPhotographs:
        """Wait for the faces, and write the photographs to a folder, where commands can read them.

        Args:
            folder: folder of the photographs; created if missing.
            spec: specification of the model; gives the size and the template of the crops.
            progress: called with the number of photographs done and their total.

        Raises:
            NoFaceError: the detector found no face in a photograph.
        """
        enrolled, others = folder / "enrolled", folder / "others"
        crops = np.empty((PEOPLE, PHOTOGRAPHS_EACH, *spec.crop_shape), np.uint8)
        landmarks, written = {}, []
        for done, (photograph, faces) in enumerate(zip(self._photographs, self._found, strict=True), start=1):
            person, number, image = photograph
            name = file_of(person, number)
            path = (others if (person, number) in ASKED else enrolled) / name
            ensure_folder(path.parent)
            written.append(self._workers.submit(save_image, path, image))
            if not faces:
                raise NoFaceError(f"No face was found in {path} by {self._detector.name}.", hint="try another detector")
            face = select_face(faces, image, "largest")
            crops[person - 1, number - 1] = align_for(spec, image, face.landmarks)[0]
            landmarks[name] = face.landmarks.astype(np.float64)
            progress(done, len(self._photographs))
        for one in written:
            one.result()
        return OrlPhotographs(
            enrolled=enrolled, others=others, crops=crops, landmarks=landmarks, detector=self._detector
        )


class _Remembering:
    """A detector that searches no image twice, such as a photograph that was written and is read again."""

    def __init__(self, detector: Detector) -> None:
        self.name = detector.name
        self._detector = detector
        self._faces: dict[bytes, list[Face]] = {}

    def detect(self, image: UInt8Array) -> list[Face]:
        key = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if key not in self._faces:
            self._faces[key] = self._detector.detect(image)
        return self._faces[key]
