"""Embeddings of the same photographs by two models, for the proof."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.compare import normalize
from edge_sphereface.errors import ImageError, LandmarksError
from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
from edge_sphereface.evaluation.pairs import detected_landmarks, given_landmarks, images_of
from edge_sphereface.image import load_image
from export.faces import face_crops
from export.quantization.crops import crop_of, digests_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, UInt8Array

    Photograph = tuple[str, UInt8Array | str, bool]

BUILT_IN_CROPS = 16
"""Number of crops of the built-in photograph, which every proof includes whatever the folder contains."""
_BATCH = 16


class Network(Protocol):
    """What embeds crops."""

    def forward(self, crops: UInt8Array, /) -> Float32Array:
        """Embed (N, H, W, 3) uint8 crops: (N, D) float32, not normalized."""
        ...


class Embedded(NamedTuple):
    """Embeddings of photographs, followed by those of ``BUILT_IN_CROPS`` crops of the built-in photograph.

    Attributes:
        source: description of the photographs.
        names: names of the photographs.
        expected: (N, D) float32 by the float model, unit rows.
        got: (N, D) float32 by the reduced model, unit rows.
        unseen: (N,) bool, False for a photograph that the calibration used.
        skipped: photographs without a usable face, with the reason.
    """

    source: str
    names: list[str]
    expected: Float32Array
    got: Float32Array
    unseen: BoolArray
    skipped: list[SkippedPhoto]

    @property
    def cosines(self) -> Float64Array:
        """Cosine similarity of the two embeddings of each unseen crop, (M,)."""
        products = self.expected.astype(np.float64) * self.got
        return np.asarray(products.sum(axis=1)[self.unseen], dtype=np.float64)


def embed_pairs(
    original: Embedder,
    reduced: Network,
    labeled: LabeledPairs,
    detector: Detector,
    *,
    calibrated_on: AbstractSet[str] = frozenset(),
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed every photograph of labeled pairs with both models.

    Args:
        original: float model.
        reduced: model of reduced precision.
        labeled: labeled pairs.
        detector: finds faces in pairs without landmarks.
        calibrated_on: digests of the photographs that the quantization used.
        progress: called with the number of photographs done and their total.
    """
    names = images_of(labeled.pairs)
    source = f"photographs of {len(labeled.pairs)} labeled pairs"
    photographs = pair_crops(labeled, original.spec, detector, calibrated_on=calibrated_on)
    return _embed((original, reduced), photographs, source, len(names), progress)


def pair_crops(
    labeled: LabeledPairs,
    spec: ModelSpec,
    detector: Detector,
    *,
    calibrated_on: AbstractSet[str] = frozenset(),
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Photograph]:
    """Yield the name, the crop (or the reason why there is none) and "unseen" of every photograph of labeled pairs.

    Args:
        labeled: labeled pairs.
        spec: specification of the model.
        detector: finds faces in pairs without landmarks.
        calibrated_on: digests of the photographs that the calibration used.
        progress: called with the number of photographs done and their total.
    """
    locate = detected_landmarks(detector) if labeled.landmarks is None else given_landmarks(labeled.landmarks)
    names = images_of(labeled.pairs)
    for done, name in enumerate(names, start=1):
        path = labeled.folder / name
        try:
            image = load_image(path)
            crop, landmarks = image, None
            if image.shape != spec.crop_shape:  # else it is a crop already
                landmarks = locate(name, image)
                if landmarks is not None:
                    crop = align_for(spec, image, landmarks)[0]
        except (ImageError, LandmarksError) as error:
            yield name, error.message, True
        else:
            if crop is image and image.shape != spec.crop_shape:
                yield name, "no face was found", True
            else:
                yield name, crop, _is_unseen(path, image, calibrated_on)
        if progress is not None:
            progress(done, len(names))


def _is_unseen(path: Path, image: UInt8Array, calibrated_on: AbstractSet[str]) -> bool:
    """Whether the calibration used neither this file nor a copy of its pixels."""
    return not calibrated_on or calibrated_on.isdisjoint(digests_of(path, image))


def embed_photographs(
    original: Embedder,
    reduced: Network,
    paths: Sequence[Path],
    detector: Detector,
    *,
    calibrated_on: AbstractSet[str] = frozenset(),
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed crops, or the largest face of each photograph, with both models."""

    def photographs() -> Iterator[Photograph]:
        for path in paths:
            try:
                image = load_image(path)
                crop = crop_of(image, original.spec, detector)
            except (ImageError, LandmarksError) as error:
                yield str(path), error.message, True
            else:
                yield str(path), crop, _is_unseen(path, image, calibrated_on)

    return _embed((original, reduced), photographs(), "photographs without labels", len(paths), progress)


def _embed(
    models: tuple[Embedder, Network],
    photographs: Iterable[Photograph],
    source: str,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Embedded:
    """Embed crops in batches; only the embeddings are kept."""
    names: list[str] = []
    unseen: list[bool] = []
    skipped: list[SkippedPhoto] = []
    rows: list[tuple[Float32Array, ...]] = []
    waiting: list[UInt8Array] = []

    def flush() -> None:
        if waiting:
            batch = np.stack(waiting)
            rows.append(tuple(normalize(model.forward(batch)) for model in models))
            waiting.clear()

    for done, (name, crop, is_unseen) in enumerate(photographs, start=1):
        if isinstance(crop, str):
            skipped.append(SkippedPhoto(path=Path(name), reason=crop))
        else:
            names.append(name)
            unseen.append(is_unseen)
            waiting.append(crop)
        if len(waiting) == _BATCH:
            flush()
        if progress is not None:
            progress(done, total)
    flush()
    waiting.extend(face_crops(models[0].spec, BUILT_IN_CROPS))
    flush()
    expected, got = (np.concatenate(side) for side in zip(*rows, strict=True))
    every = f"{source} and {BUILT_IN_CROPS} crops of the built-in photograph"
    return Embedded(every, names, expected, got, np.array([*unseen, *[True] * BUILT_IN_CROPS]), skipped)
