"""Crops for calibration: from photographs by the runtime's own detector and alignment, or crops as they are."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.compare import normalize
from edge_sphereface.errors import ImageError, LandmarksError
from edge_sphereface.evaluation.labeled_photos import reason
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
"""Fewer crops than this do not show what the network will meet."""
PROOF_SHARE = 4
"""One of 4 photographs is left for a proof without labelled pairs."""
JUDGING_SHARE, JUDGING_MOST = 4, 128
"""One of 4 crops, at most 128, judges choices instead of giving ranges."""
_ORDER_SEED = 4
_VIVID = 1.5
_SAME_PERSON_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationCrops:
    """Crops of one folder.

    Attributes:
        crops: (N, H, W, 3) uint8 BGR, in random order.
        digests: SHA-256 of the files that they came from, and of the pixels in those.
        skipped: path and reason of photographs that gave none.
        unused: further photographs in the folder, for a proof.
    """

    crops: UInt8Array
    digests: frozenset[str]
    skipped: tuple[tuple[str, str], ...]
    unused: tuple[Path, ...]

    @property
    def judging_count(self) -> int:
        """How many of the crops, at the end, judge choices."""
        return min(JUDGING_MOST, len(self.crops) // JUDGING_SHARE)

    @property
    def for_ranges(self) -> UInt8Array:
        """The crops that ranges come from."""
        return self.crops[: len(self.crops) - self.judging_count]

    @property
    def for_judging(self) -> UInt8Array:
        """Other crops, and every fourth of them once more with garish colors: the faces that clip first.

        Of fewer than four crops all serve both ends.
        """
        chosen = self.crops[len(self.crops) - self.judging_count :] if self.judging_count else self.crops
        return np.concatenate([chosen, vivid(chosen[::4])])


def calibration_crops(
    folder: Path,
    spec: ModelSpec,
    detector: Detector,
    *,
    count: int,
    progress: Callable[[int, int], None] | None = None,
) -> CalibrationCrops:
    """One crop of each of up to ``count`` photographs, at most three of four in the folder.

    Args:
        folder: photographs, or crops of the model's size, which are taken as they are; sub-folders are searched.
        spec: size and template of the crops.
        detector: finds the face in a photograph, the largest if there are several.
        count: how many at most; they are drawn at random, the same ones every time.
        progress: called with crops made and how many are wanted.

    Raises:
        CalibrationError: no photograph showed a usable face.
    """
    paths = _in_random_order(folder)
    wanted = min(count, len(paths) - len(paths) // PROOF_SHARE)
    crops, digests, skipped, used = _gather(paths, spec, detector, wanted, progress)
    if not crops:
        reasons = "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
        raise CalibrationError(
            f"Expected photographs with faces in {folder} for the calibration; none of {len(paths)} showed a usable "
            f"one ({reasons}).",
            hint="calibrate with photographs as your cameras take them, faces of 40 pixels or more",
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
    """Crops of the same folder that a calibration takes last: of a large folder, none that it took.

    Returns:
        (N, H, W, 3) uint8 BGR, N at most ``count``.

    Raises:
        CalibrationError: no photograph showed a usable face.
    """
    crops, _, _, _ = _gather(_in_random_order(folder)[::-1], spec, detector, count, progress)
    if not crops:
        raise CalibrationError(f"No photograph in {folder} shows a usable face.", hint="give other photographs")
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
) -> tuple[list[UInt8Array], set[str], list[tuple[str, str]], int]:
    """Crops until there are enough, the digests of their files, what was skipped, and how many files that took."""
    crops: list[UInt8Array] = []
    digests, skipped = set[str](), []
    used = 0
    for path in paths:
        if len(crops) == wanted:
            break
        used += 1
        try:
            image = load_image(path)
            crops.append(crop_of(image, spec, detector))
        except (ImageError, LandmarksError) as error:
            skipped.append((str(path), reason(error, path)))
        else:
            digests |= digests_of(path, image)
        if progress is not None:
            progress(len(crops), wanted)
    return crops, digests, skipped, used


def digests_of(path: Path, image: UInt8Array) -> set[str]:
    """What a photograph is recognized by, whatever its name: SHA-256 of the file, and of its size and pixels."""
    return {sha256_of(path), hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()}


def folder_digests(folder: Path) -> frozenset[str]:
    """The digests of all photographs in a folder that can be read."""
    digests = set[str]()
    for path in find_images(folder):
        with suppress(ImageError):
            digests |= digests_of(path, load_image(path))
    return frozenset(digests)


def crop_of(image: UInt8Array, spec: ModelSpec, detector: Detector) -> UInt8Array:
    """The crop of a photograph's largest face, (H, W, 3) uint8 BGR; an image of a crop's size is one already.

    Raises:
        ImageError: the photograph shows no face.
        LandmarksError: the face's landmarks cannot be aligned.
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
    """The same crops with half as much again of color and contrast, as some cameras and lamps give them."""
    values = crops.astype(np.float32)
    gray = values.mean(axis=-1, keepdims=True)
    values = gray + (values - gray) * _VIVID
    middle = values.mean(axis=(1, 2), keepdims=True)
    vivid_values: UInt8Array = np.clip(np.rint((values - middle) * _VIVID + middle), 0, 255).astype(np.uint8)
    return vivid_values


def doubts(found: CalibrationCrops, embedder: Embedder) -> list[str]:
    """What makes a calibration less than it should be, in sentences."""
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


def skipped_text(skipped: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each photograph that was skipped."""
    return [f"skipped {path}: {reason}" for path, reason in skipped]
