"""Photographs of known people and of strangers, with faces, crops and raw embeddings."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.accuracy.embeddings import EmbeddingStore
from edge_sphereface.alignment import align_for
from edge_sphereface.cli.runner import Progress
from edge_sphereface.errors import PairsError
from edge_sphereface.image import load_image
from edge_sphereface.pipeline import select_face
from edge_sphereface.storage.files import sha256_of
from export.orl.faces import read_orl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Int64Array, UInt8Array

KNOWN_FROM = 4
"""Least number of photographs of a known person."""
_BATCH = 16


class Labeled(NamedTuple):
    """A photograph: its image, and the number of the person."""

    load: Callable[[], UInt8Array]
    person: int


class Faces(NamedTuple):
    """Faces of photographs.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR.
        landmarks: (N, 5, 2) float32, in pixels of the photographs.
        person: (N,) number of the person.
        number: (N,) number of the photograph in the list that was asked for.
    """

    crops: UInt8Array
    landmarks: Float32Array
    person: Int64Array
    number: Int64Array


def lfw_photographs(folder: Path) -> tuple[list[Labeled], list[Labeled]]:
    """All photographs of known people, and one of each other person, from FOLDER/images/NAME/photo.jpg.

    Raises:
        PairsError: there are too few people.
    """
    images = folder / "images"
    people = sorted(path for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    known: list[Labeled] = []
    others: list[Labeled] = []
    for person, path in enumerate(people):
        photographs = sorted(path.iterdir())
        kept = photographs if len(photographs) >= KNOWN_FROM else photographs[:1]
        (known if kept is photographs else others).extend(_labeled(photograph, person) for photograph in kept)
    if len({each.person for each in known}) < 2 or len(others) < 2:
        raise PairsError(
            f"Expected people with {KNOWN_FROM} photographs and others below {images}.", hint="give LFW's folder"
        )
    return known, others


def orl_photographs() -> list[Labeled]:
    """The photographs of the ORL faces.

    Raises:
        ExtraError: the package that contains them is not installed.
    """
    return [_kept(image, person) for person, _, image in read_orl()]


class FaceFinder:
    """Finds the faces of photographs once for all models that take the same crops.

    Args:
        detector: finds the faces.
    """

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._found: dict[tuple[object, ...], Faces] = {}

    def find(self, name: str, photographs: Sequence[Labeled], spec: ModelSpec) -> Faces:
        """Detect and align the face nearest the center of each photograph; photographs without one are left out.

        Args:
            name: what the photographs are.
            photographs: the photographs; always the same for a name.
            spec: specification of the model.
        """
        key = (name, spec.landmark_template, spec.alignment_fit, spec.crop_shape)
        if key not in self._found:
            self._found[key] = _find_faces(photographs, spec, self._detector, progress=Progress(f"{name}: faces"))
        return self._found[key]


def _find_faces(
    photographs: Sequence[Labeled],
    spec: ModelSpec,
    detector: Detector,
    *,
    progress: Callable[[int, int], None],
) -> Faces:
    crops, landmarks, person, number = [], [], [], []
    for done, photograph in enumerate(photographs):
        image = photograph.load()
        found = detector.detect(image)
        if found:
            face = select_face(found, image, "center")
            crops.append(align_for(spec, image, face.landmarks[None])[0])
            landmarks.append(face.landmarks)
            person.append(photograph.person)
            number.append(done)
        progress(done + 1, len(photographs))
    return Faces(np.stack(crops), np.stack(landmarks), np.array(person), np.array(number))


class RawEmbeddings:
    """Embeddings before normalization, cached by crop, so that an interrupted run can continue.

    Args:
        embedder: the model.
        keep: store the embeddings on disk.
    """

    def __init__(self, embedder: Embedder, *, keep: bool = True) -> None:
        self._embedder = embedder
        key = f"{sha256_of(embedder.path)[:24]}-raw-of-crops"
        self._store = EmbeddingStore(key, embedder.spec.embedding_size, keep=keep)

    def of(self, crops: UInt8Array, *, progress: Callable[[int, int], None]) -> Float32Array:
        """Raw embeddings (N, D) float32 of crops (N, H, W, 3) uint8 BGR."""
        digests = [hashlib.sha256(crop.tobytes()).hexdigest() for crop in crops]
        missing = [number for number, digest in enumerate(digests) if digest not in self._store]
        for done, batch in _batches(missing):
            for number, row in zip(batch, self._embedder.forward(crops[batch]), strict=True):
                self._store.add(digests[number], row)
            progress(done, len(missing))
        self._store.save()
        return np.stack([self._store[digest] for digest in digests])


def _batches(numbers: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    for start in range(0, len(numbers), _BATCH):
        yield min(start + _BATCH, len(numbers)), list(numbers[start : start + _BATCH])


def _labeled(path: Path, person: int) -> Labeled:
    return Labeled(lambda: load_image(path), person)


def _kept(image: UInt8Array, person: int) -> Labeled:
    return Labeled(lambda: image, person)
