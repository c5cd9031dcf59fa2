"""Photographs that strict enrollment refuses, and why.

The bounds are measured by ``python -m benchmarks quality``; ``docs/enrollment.md`` has the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from edge_sphereface.alignment import CROP_HEIGHT, CROP_WIDTH
from edge_sphereface.enrollment.person import to_the_nearest
from edge_sphereface.errors import NoFaceError, PhotographError, SeveralFacesError
from edge_sphereface.quality import direction, sharpness

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import CropEmbedder
    from edge_sphereface.types import EmbeddedFace, Float32Array, UInt8Array

Reason: TypeAlias = Literal["no face", "several faces", "small", "blurred", "turned", "hidden", "not this person"]

MIN_EYES_PX = 12.0
"""Least distance between the eyes, in pixels of the photograph."""
MIN_SHARPNESS = 0.008
"""Least sharpness."""
MAX_TURNED = 0.7
"""Largest shift of the nose from the middle between the eyes, in half eye distances."""
MAX_NODDED = 0.3
"""Largest shift of the nose from the middle between eyes and mouth, as a share of their distance."""
MIN_CONTRIBUTION = 0.12
"""Least change of the embedding, one less the cosine similarity, when a part of the face is blurred away."""
MIN_SYMMETRY = 0.58
"""Least cosine similarity between the embeddings of the crop and of its mirror image."""
PARTS = {
    "eyes": (34, 66, 8, 88),
    "nose and mouth": (68, 110, 12, 84),
    "left half": (16, 112, 4, 48),
    "right half": (16, 112, 48, 92),
}
"""Top, bottom, left and right of parts of the face in a crop of 112 x 96."""
_EDGE_PX, _BLUR_PX = 3.0, 10.0
"""Standard deviations of the blur of the part's edge and of the part, in pixels of a crop of 112 x 96."""
_NAMED = 20
"""Largest number of photographs that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A photograph that is refused.

    Attributes:
        path: path of the photograph.
        reason: name of the reason.
        detail: what was measured, and what is expected.
    """

    path: Path
    reason: Reason
    detail: str


def judge_photograph(path: Path, face: EmbeddedFace, embedder: CropEmbedder) -> list[Refusal]:
    """The reasons to refuse a photograph for what it shows; empty if it is good enough."""
    found, sharp = direction(face.face.landmarks), sharpness(face.crop)
    refused: list[Refusal] = []
    if found.reach_px < MIN_EYES_PX:
        detail = f"eyes {found.reach_px:.0f} pixels apart, at least {MIN_EYES_PX:.0f}"
        refused.append(Refusal(path=path, reason="small", detail=detail))
    if sharp < MIN_SHARPNESS:
        detail = f"sharpness {sharp:.4f}, at least {MIN_SHARPNESS}"
        refused.append(Refusal(path=path, reason="blurred", detail=detail))
    if abs(found.turned) > MAX_TURNED or abs(found.nodded) > MAX_NODDED:
        detail = (
            f"turned by {found.turned:.2f}, at most {MAX_TURNED}; nodded by {found.nodded:.2f}, at most {MAX_NODDED}"
        )
        refused.append(Refusal(path=path, reason="turned", detail=detail))
    if refused:  # a blurred or turned face is unlike its mirror image, too
        return refused
    symmetry, part, change = visibility(face.crop, face.embedding, embedder)
    if symmetry < MIN_SYMMETRY:
        detail = f"similarity {symmetry:.2f} to the mirror image, at least {MIN_SYMMETRY}"
        return [Refusal(path=path, reason="hidden", detail=detail)]
    if change < MIN_CONTRIBUTION:
        detail = f"the {part} changes the embedding by {change:.2f}, at least {MIN_CONTRIBUTION}"
        return [Refusal(path=path, reason="hidden", detail=detail)]
    return []


def no_usable_face(path: Path, error: NoFaceError | SeveralFacesError) -> Refusal:
    """The refusal of a photograph that does not show one face."""
    reason: Reason = "no face" if isinstance(error, NoFaceError) else "several faces"
    message = error.message.removeprefix(f"{path}: ").removesuffix(".")
    return Refusal(path=path, reason=reason, detail=message[:1].lower() + message[1:])


def judge_person(
    name: str, photographs: Sequence[tuple[Path, Float32Array]], gallery: Gallery | None, *, threshold: float
) -> list[Refusal]:
    """The photographs of a person that do not go with the person's others, new and enrolled before.

    Of two photographs that differ, both are refused: nothing tells which is the person's.

    Args:
        name: name of the person.
        photographs: path and embedding (D,) of each new photograph.
        gallery: where people were enrolled before; None if there is none.
        threshold: cosine similarity that a photograph must have to one of the others.

    Raises:
        EdgeSphereFaceError: as :meth:`Gallery.rivals` does.
    """
    if not photographs:
        return []
    rows = np.stack([embedding for _, embedding in photographs])
    earlier = None if gallery is None else gallery.portrait(name)
    own = to_the_nearest(rows if earlier is None else np.concatenate([rows, earlier.embeddings]))
    rivals = [None] * len(rows) if gallery is None else gallery.rivals(name, rows)
    refused = []
    for (path, _), similarity, rival in zip(photographs, own.tolist(), rivals, strict=False):
        least = threshold if math.isnan(similarity) else max(threshold, similarity)
        if similarity < threshold:
            detail = f"similarity {similarity:.3f} to the nearest of the others, at least {threshold:.3f}"
        elif rival is not None and rival.similarity >= least:
            detail = f"it resembles {rival.name!r} more (similarity {rival.similarity:.3f})"
        else:
            continue
        refused.append(Refusal(path=path, reason="not this person", detail=detail))
    return refused


def require_accepted(refused: Sequence[Refusal], photographs: int) -> None:
    """Require that no photograph is refused.

    Raises:
        PhotographError: it names each photograph with its reasons.
    """
    if not refused:
        return
    by_path: dict[Path, list[str]] = {}
    for each in refused:
        by_path.setdefault(each.path, []).append(f"{each.reason} ({each.detail})")
    named = [f"{path}: {', '.join(reasons)}" for path, reasons in by_path.items()]
    more = [f"and {len(named) - _NAMED} more"] if len(named) > _NAMED else []
    several = any(each.reason == "several faces" for each in refused)
    raise PhotographError(
        f"{len(by_path)} of {photographs} photograph{'' if photographs == 1 else 's'} "
        f"{'is' if len(by_path) == 1 else 'are'} refused: {'; '.join([*named[:_NAMED], *more])}. "
        "Nothing was enrolled.",
        hint="take refused photographs again, or leave them out" + ("; or select the largest face" if several else ""),
        remedy="select-largest" if several else None,
    )


class Visibility(NamedTuple):
    """How much of a face a crop shows, as far as the model tells.

    Attributes:
        symmetry: cosine similarity between the embeddings of the crop and of its mirror image.
        part: name of the part of the face that the embedding depends on least.
        change: change of the embedding, one less the cosine similarity, when that part is blurred away.
    """

    symmetry: float
    part: str
    change: float


def visibility(crop: UInt8Array, embedding: Float32Array, embedder: CropEmbedder) -> Visibility:
    """See how much of a face a crop shows.

    The embedding hardly changes where a part that is blurred away shows nothing of the face, and differs from that of
    the mirror image where one half does.

    Args:
        crop: (H, W, 3) uint8 BGR.
        embedding: (D,) float32 of unit length, of the crop.
        embedder: the model.
    """
    changed = np.stack([crop[:, ::-1], *(without_part(crop, part) for part in PARTS)])
    mirrored, *similarities = (embedder.embed(changed).astype(np.float64) @ embedding).tolist()
    change, part = min((1.0 - similarity, part) for similarity, part in zip(similarities, PARTS, strict=True))
    return Visibility(mirrored, part, change)


def without_part(crop: UInt8Array, part: str) -> UInt8Array:
    """A crop (H, W, 3) uint8 BGR with a part of the face blurred away."""
    import cv2

    height, width = crop.shape[:2]
    side = max(width - CROP_WIDTH * height // CROP_HEIGHT, 0) // 2
    top, bottom, left, right = PARTS[part]
    mask = np.zeros((height, width), np.float32)
    rows = slice(top * height // CROP_HEIGHT, bottom * height // CROP_HEIGHT)
    columns = slice(*(side + column * (width - 2 * side) // CROP_WIDTH for column in (left, right)))
    mask[rows, columns] = 1.0
    scale = height / CROP_HEIGHT
    share = np.asarray(cv2.GaussianBlur(mask, (0, 0), _EDGE_PX * scale))[:, :, None]
    blurred = cv2.GaussianBlur(crop, (0, 0), _BLUR_PX * scale)
    return np.asarray(crop * (1 - share) + blurred * share).astype(np.uint8)
