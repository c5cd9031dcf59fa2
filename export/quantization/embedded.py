"""Two models over the same photographs: the embeddings that a proof compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.compare import normalize
from edge_sphereface.errors import ImageError, LandmarksError
from edge_sphereface.files import sha256_of
from edge_sphereface.image import load_image
from edge_sphereface.pairs import detected_landmarks, given_landmarks, images_of
from export.faces import face_crops
from export.quantization.crops import crop_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from edge_sphereface.detect import Detector
    from edge_sphereface.embed import Embedder
    from edge_sphereface.pairs import LabelledPairs
    from edge_sphereface.types import BoolArray, Float32Array, Float64Array, UInt8Array

    Photograph = tuple[str, UInt8Array | str, bool]

BUILT_IN_CROPS = 16
"""Of the photograph in the public domain: every proof sees at least one face that no folder can spoil."""
_BATCH = 16


class Embedded(NamedTuple):
    """Photographs that both models embedded, and ``BUILT_IN_CROPS`` crops of the built-in one after them.

    Attributes:
        source: what they are, in words.
        names: of the photographs.
        expected: (N, D) by the float model, unit rows.
        got: (N, D) by the other, unit rows.
        unseen: (N,) False for a photograph that the quantization was calibrated with.
        skipped: photographs without a usable face, with the reason.
    """

    source: str
    names: list[str]
    expected: Float32Array
    got: Float32Array
    unseen: BoolArray
    skipped: list[tuple[str, str]]

    @property
    def cosines(self) -> Float64Array:
        """Between the two embeddings of each unseen crop."""
        products = self.expected.astype(np.float64) * self.got
        return np.asarray(products.sum(axis=1)[self.unseen], dtype=np.float64)


def embed_pairs(
    original: Embedder,
    reduced: Embedder,
    labelled: LabelledPairs,
    detector: Detector,
    *,
    calibrated_on: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed every photograph of labelled pairs with both models.

    Args:
        original: the float model.
        reduced: the other.
        labelled: pairs.
        detector: finds the faces, where the pairs come without landmarks.
        calibrated_on: SHA-256 of photographs that the choices of the quantization rest on.
        progress: called with photographs done and their total.
    """
    locate = detected_landmarks(detector) if labelled.landmarks is None else given_landmarks(labelled.landmarks)
    spec = original.spec
    names = images_of(labelled.pairs)

    def photographs() -> Iterator[Photograph]:
        for name in names:
            path = labelled.folder / name
            try:
                crop = load_image(path)
                if crop.shape != spec.crop_shape:  # else it is a crop already
                    landmarks = locate(name, crop)
                    if landmarks is None:
                        yield name, "no face was found", True
                        continue
                    crop = align_for(spec, crop, landmarks)[0]
            except (ImageError, LandmarksError) as error:
                yield name, error.message, True
            else:
                yield name, crop, not calibrated_on or sha256_of(path) not in calibrated_on

    source = f"photographs of {len(labelled.pairs)} labelled pairs"
    return _embed((original, reduced), photographs(), source, len(names), progress)


def embed_photographs(
    original: Embedder,
    reduced: Embedder,
    paths: Sequence[Path],
    detector: Detector,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Embed the largest face of photographs, or crops, with both models."""

    def photographs() -> Iterator[Photograph]:
        for path in paths:
            try:
                yield str(path), crop_of(path, original.spec, detector), True
            except (ImageError, LandmarksError) as error:
                yield str(path), error.message, True

    return _embed((original, reduced), photographs(), "photographs without labels", len(paths), progress)


def _embed(
    models: tuple[Embedder, Embedder],
    photographs: Iterable[Photograph],
    source: str,
    total: int,
    progress: Callable[[int, int], None] | None,
) -> Embedded:
    """A batch at a time: only embeddings are kept."""
    names: list[str] = []
    unseen: list[bool] = []
    skipped: list[tuple[str, str]] = []
    rows: list[tuple[Float32Array, ...]] = []
    waiting: list[UInt8Array] = []

    def flush() -> None:
        if waiting:
            batch = np.stack(waiting)
            rows.append(tuple(normalize(model.forward(batch)) for model in models))
            waiting.clear()

    for done, (name, crop, is_unseen) in enumerate(photographs, start=1):
        if isinstance(crop, str):
            skipped.append((name, crop))
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
