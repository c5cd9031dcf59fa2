"""Checks that a model separates people in photographs, with correct preprocessing and with frequent mistakes.

A wrong color order, a second alignment or a missing one is invisible in a single array, but it lowers the similarity of
the same person. This check embeds labeled photographs with correct and incorrect preprocessing and compares both.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.errors import CropError, ImageError
from edge_sphereface.evaluation.labeled_photos import SkippedPhoto, person_of, reason
from edge_sphereface.image import find_images, load_image
from edge_sphereface.metrics import roc_auc
from edge_sphereface.pipeline import select_face

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array, UInt8Array

MIN_AUC = 0.9
"""Smallest acceptable AUC. Below it, different people are confused too often for any use."""

FEEDINGS = ("as intended", "red and blue swapped", "aligned twice", "not aligned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Separation:
    """Similarities of genuine and impostor pairs for one kind of preprocessing.

    Attributes:
        feeding: kind of preprocessing.
        genuine_mean: mean cosine similarity of pairs of the same person.
        impostor_mean: mean cosine similarity of pairs of different people.
        auc: area under the ROC curve: probability that a genuine pair scores above an impostor pair.
    """

    feeding: str
    genuine_mean: float
    impostor_mean: float
    auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparationCheck:
    """Result of the check on a folder of photographs.

    Attributes:
        people: number of people with at least one usable photograph.
        photographs: number of usable photographs.
        skipped: photographs that could not be used.
        genuine_pairs: number of pairs of the same person.
        impostor_pairs: number of pairs of different people.
        rows: one row per kind of preprocessing, the correct one first.
        passed: whether correct preprocessing separates people, and no mistake does better.
    """

    people: int
    photographs: int
    skipped: tuple[SkippedPhoto, ...]
    genuine_pairs: int
    impostor_pairs: int
    rows: tuple[Separation, ...]
    passed: bool


def check_separation(
    embedder: Embedder, detector: Detector, folder: Path, *, progress: Callable[[int, int], None] | None = None
) -> SeparationCheck:
    """Check that a model separates people in a folder of labeled photographs.

    Args:
        embedder: the embedding model.
        detector: the face detector.
        folder: folder with one subfolder of photographs per person. For photographs in ``folder`` itself, the person is
            the file name without its number (``Ann1.jpg``, ``Ann_02.jpg``).
        progress: called with the number of photographs done and their total.

    Raises:
        ImageError: ``folder`` is not a folder, or has too few usable photographs for a genuine and an impostor pair.
    """
    paths = find_images(folder)
    embedded: list[Float32Array] = []
    people: list[str] = []
    skipped: list[SkippedPhoto] = []
    for number, path in enumerate(paths, start=1):
        try:
            crops = _feedings(load_image(path), embedder, detector)
        except (CropError, ImageError) as error:
            skipped.append(SkippedPhoto(path=path, reason=reason(error, path)))
        else:
            embedded.append(embedder.embed(crops))
            people.append(person_of(path, folder))
        if progress is not None:
            progress(number, len(paths))
    _require_pairs(people, folder, skipped)
    by_feeding = np.stack(embedded, axis=1)
    rows = tuple(_separation(name, rows, people) for name, rows in zip(FEEDINGS, by_feeding, strict=True))
    genuine = sum(1 for a, b in itertools.combinations(people, 2) if a == b)
    return SeparationCheck(
        people=len(set(people)),
        photographs=len(people),
        skipped=tuple(skipped),
        genuine_pairs=genuine,
        impostor_pairs=len(people) * (len(people) - 1) // 2 - genuine,
        rows=rows,
        passed=rows[0].auc >= MIN_AUC and rows[0].auc >= max(row.auc for row in rows[1:]),
    )


def _feedings(image: UInt8Array, embedder: Embedder, detector: Detector) -> UInt8Array:
    """Preprocess one face correctly, and with the frequent mistakes.

    "Aligned twice" happens if photographs on disk are already crops and the landmarks are those of the originals. "Not
    aligned" is the detector's box, resized to the crop's size.

    Returns:
        (4, H, W, 3) uint8, in the order of ``FEEDINGS``.
    """
    import cv2

    spec = embedder.spec
    faces = detector.detect(image)
    if not faces:
        raise ImageError("no face was found")
    face = select_face(faces, image, "largest")
    height, width, _ = spec.crop_shape
    crop = align_for(spec, image, face.landmarks)[0]
    left, top, right, bottom = (max(round(float(value)), 0) for value in face.box)
    box = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    squeezed = cv2.resize(box if box.size else image, (width, height), interpolation=cv2.INTER_AREA)
    twice = align_for(spec, crop, face.landmarks)[0]
    return np.stack([crop, crop[..., ::-1], twice, squeezed.astype(np.uint8)])


def _require_pairs(people: Sequence[str], folder: Path, skipped: Sequence[SkippedPhoto]) -> None:
    counts = Counter(people)
    if len(counts) < 2 or max(counts.values()) < 2:  # one pair of each kind
        raise ImageError(
            f"Expected photographs of at least two people in {folder}, at least two of one of them; got {len(people)} "
            f"usable photographs of {len(counts)} people ({len(skipped)} skipped).",
            hint="lay them out as FOLDER/PERSON/photo.jpg",
        )


def _separation(feeding: str, embeddings: Float32Array, people: Sequence[str]) -> Separation:
    similarity = embeddings @ embeddings.T
    rows, columns = np.triu_indices(len(people), k=1)
    labels = np.array(people)
    same = labels[rows] == labels[columns]
    scores = similarity[rows, columns]
    genuine, impostor = scores[same], scores[~same]
    return Separation(
        feeding=feeding,
        genuine_mean=round(float(genuine.mean()), 4),
        impostor_mean=round(float(impostor.mean()), 4),
        auc=round(roc_auc(genuine, impostor), 4),
    )
