"""Crops for calibration, aligned by the runtime from photographs, or read as crops."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.compare import normalize
from edge_sphereface.errors import ImageError, LandmarksError
from edge_sphereface.evaluation.labeled_photos import SkippedPhoto, reason
from edge_sphereface.image import find_images, load_image
from edge_sphereface.pipeline import select_face
from edge_sphereface.storage.files import sha256_of
from export.errors import CalibrationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array

FEW = 50
"""Fewer crops than this do not represent the inputs of the network."""
PROOF_SHARE = 4
"""One of 4 photographs is reserved for a proof without labeled pairs."""
JUDGING_SHARE, JUDGING_MOST = 4, 128
"""One of 4 crops, at most 128, is used to judge choices, not to determine ranges."""
_ORDER_SEED = 4
_VIVID = 1.5
_SAME_PERSON_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCrops:
    """Crops of the photographs in one folder.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR, in random order.
        digests: SHA-256 of the source files and of their pixels.
        skipped: photographs without a usable face.
        unused: other photographs in the folder, for a proof.
    """

    crops: UInt8Array
    digests: frozenset[str]
    skipped: tuple[SkippedPhoto, ...]
    unused: tuple[Path, ...]

    @property
    def judging_count(self) -> int:
        """Number of crops, at the end, that are used to judge choices."""
        return min(JUDGING_MOST, len(self.crops) // JUDGING_SHARE)

    @property
    def for_ranges(self) -> UInt8Array:
        """Crops that determine the ranges, (2 M, H, W, 3) uint8 BGR: each one as it is, then all of them mirrored."""
        chosen = self.crops[: len(self.crops) - self.judging_count]
        return np.concatenate([chosen, chosen[:, :, ::-1]])

    @property
    def for_judging(self) -> UInt8Array:
        """Crops that judge choices. Every fourth one occurs again with vivid colors, since such faces clip first.

        If there are fewer than four crops, all of them serve both purposes.
        """
        chosen = self.crops[len(self.crops) - self.judging_count :] if self.judging_count else self.crops
        return np.concatenate([chosen, vivid(chosen[::4])])


def require_photographs(folder: Path) -> None:
    """Refuse a folder that cannot be calibrated with.

    Raises:
        ImageError: it is not a folder.
        CalibrationError: it holds no photograph.
    """
    if not find_images(folder):
        raise CalibrationError(
            f"Expected photographs in {folder} for the calibration, found none.",
            hint="calibrate with photographs from your cameras, with faces of 40 pixels or more",
        )


def calibration_crops(
    folder: Path,
    spec: ModelSpec,
    detector: Detector,
    *,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationCrops:
    """Make one crop of each of up to ``count`` photographs, at most three of four in the folder.

    Args:
        folder: photographs, or crops of the model's input size, which are used without alignment; subfolders are
            searched.
        spec: specification of the model; gives the size and the landmark template.
        detector: finds the faces; the largest face of a photograph is used.
        count: largest number of crops. They are drawn at random, deterministically.
        progress: called with the number of crops made and the number wanted.

    Raises:
        CalibrationError: no photograph shows a usable face.
    """
    paths = _in_random_order(folder)
    wanted = min(count, len(paths) - len(paths) // PROOF_SHARE)
    crops, digests, skipped, used = _gather(paths, spec, detector, wanted, progress)
    if not crops:
        reasons = "; ".join(f"{photo.path}: {photo.reason}" for photo in skipped[:3])
        raise CalibrationError(
            f"Expected photographs with faces in {folder} for the calibration; none of {len(paths)} showed a usable "
            f"one ({reasons}).",
            hint="calibrate with photographs from your cameras, with faces of 40 pixels or more",
        )
    return CalibrationCrops(
        crops=np.stack(crops), digests=frozenset(digests), skipped=tuple(skipped), unused=tuple(paths[used:])
    )


def proof_crops(
    folder: Path,
    spec: ModelSpec,
    detector: Detector,
    *,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> UInt8Array:
    """Make crops from the end of the calibration's order: if the folder is large, the calibration used none of them.

    Returns:
        (N, H, W, 3) uint8 BGR, N at most ``count``.

    Raises:
        CalibrationError: no photograph shows a usable face.
    """
    crops, _, _, _ = _gather(_in_random_order(folder)[::-1], spec, detector, count, progress)
    if not crops:
        raise CalibrationError(f"No photograph in {folder} shows a usable face.", hint="use other photographs")
    return np.stack(crops)


def _in_random_order(folder: Path) -> list[Path]:
    paths = find_images(folder)
    order = np.random.RandomState(_ORDER_SEED).permutation(len(paths))  # the same stream in every numpy
    return [paths[index] for index in order]


def _gather(
    paths: Sequence[Path],
    spec: ModelSpec,
    detector: Detector,
    wanted: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[UInt8Array], set[str], list[SkippedPhoto], int]:
    """Return enough crops, the digests of their files, the skipped files, and the number of files read."""
    crops: list[UInt8Array] = []
    digests, skipped = set[str](), list[SkippedPhoto]()
    used = 0
    for path in paths:
        if len(crops) == wanted:
            break
        used += 1
        try:
            image = load_image(path)
            crops.append(crop_of(image, spec, detector))
        except (ImageError, LandmarksError) as error:
            skipped.append(SkippedPhoto(path=path, reason=reason(error, path)))
        else:
            digests |= digests_of(path, image)
        if progress is not None:
            progress(len(crops), wanted)
    return crops, digests, skipped, used


def digests_of(path: Path, image: UInt8Array) -> set[str]:
    """Digests that identify a photograph whatever its name: SHA-256 of the file, and of its size and pixels."""
    return {sha256_of(path), hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()}


def folder_digests(folder: Path) -> frozenset[str]:
    """Digests of all readable photographs in a folder."""
    digests = set[str]()
    for path in find_images(folder):
        with suppress(ImageError):
            digests |= digests_of(path, load_image(path))
    return frozenset(digests)


def crop_of(image: UInt8Array, spec: ModelSpec, detector: Detector) -> UInt8Array:
    """Align the largest face of a photograph, (H, W, 3) uint8 BGR. An image of a crop's size is returned unchanged.

    Raises:
        ImageError: the photograph shows no face.
        LandmarksError: the landmarks of the face cannot be aligned.
    """
    if image.shape == spec.crop_shape:
        return image
    faces = detector.detect(image)
    if not faces:
        raise ImageError("no face was found")
    landmarks = select_face(faces, image, "largest").landmarks
    crop: UInt8Array = align_for(spec, image, landmarks)[0]
    return crop


def vivid(crops: UInt8Array) -> UInt8Array:
    """Return crops with 50 % more color and contrast, as some cameras and lamps produce them."""
    values = crops.astype(np.float32)
    gray = values.mean(axis=-1, keepdims=True)
    values = gray + (values - gray) * _VIVID
    middle = values.mean(axis=(1, 2), keepdims=True)
    vivid_values: UInt8Array = np.clip(np.rint((values - middle) * _VIVID + middle), 0, 255).astype(np.uint8)
    return vivid_values


def doubts(found: CalibrationCrops, embedder: Embedder) -> list[str]:
    """Warnings about a calibration, in sentences."""
    crops = found.crops
    sentences = []
    if len(crops) < FEW:
        sentences.append(f"Only {len(crops)} crops for the calibration, at least {FEW} are advised.")
    embeddings = normalize(embedder.forward(crops[: 4 * FEW]))
    pairs = np.triu_indices(len(embeddings), k=1)
    scores = (embeddings @ embeddings.T)[pairs]
    if len(crops) == 1 or (scores > embedder.spec.threshold).mean() > _SAME_PERSON_SHARE:
        sentences.append("The calibration seems to show one person only; ranges of others may be cut off.")
    return sentences


def skipped_text(skipped: Sequence[SkippedPhoto]) -> list[str]:
    """Format one line for each skipped photograph."""
    return [f"skipped {photo.path}: {photo.reason}" for photo in skipped]
