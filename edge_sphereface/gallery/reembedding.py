"""Re-embeds the stored crops of a gallery with another model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import FingerprintError, GalleryError
from edge_sphereface.gallery.crops import decode_crop, encode_crop
from edge_sphereface.gallery.refit import refit_crop

if TYPE_CHECKING:
    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery.gallery import Gallery, Progress
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array

_NAMED = 20
"""Largest number of identities that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remade:
    """Embeddings of an identity's crops by another model.

    Attributes:
        embeddings: (N, D) float32, in the order of the crops.
        crops: PNG files that replace the stored crops; None if those stay.
    """

    embeddings: Float32Array
    crops: tuple[bytes, ...] | None


def embed_crops(
    gallery: Gallery, embedder: Embedder, *, detector: Detector | None = None, progress: Progress | None = None
) -> dict[str, Remade]:
    """Embed the crops of all identities with another model.

    Args:
        gallery: gallery that keeps crops.
        embedder: the new model.
        detector: finds the landmarks in the crops if the model uses another kind of fit than the crops.
        progress: called with the number of identities done and their total.

    Returns:
        The new embeddings by name.

    Raises:
        GalleryError: a crop was not kept, or no face is found in a crop.
        FingerprintError: the model aligns faces differently from the stored crops.
        CropError: a stored crop is damaged.
    """
    _require_same_template(gallery, embedder)
    lacking = [identity.name for identity in gallery.identities() if identity.crops < identity.embeddings]
    if lacking:
        raise GalleryError(
            f"Crops of {len(lacking)} of {len(gallery)} identities in {gallery.location} were not kept: "
            f"{_named(lacking)}.",
            hint="remove and enroll them again from photographs, into a gallery that keeps crops",
            remedy="keep-crops",
        )
    there, spec = gallery.fingerprint.alignment_fit, embedder.spec
    finder = None if there == spec.alignment_fit else _required(detector, gallery, embedder)
    made: dict[str, Remade] = {}
    unfound: list[str] = []
    total = len(gallery)
    for done, portrait in enumerate(gallery.portraits(), start=1):
        crops = [decode_crop(crop, spec.crop_shape) for crop in portrait.crops if crop is not None]
        if finder is not None:
            refitted = [refit_crop(crop, finder, spec.landmark_template, cut_by=there) for crop in crops]
            crops = [crop for crop in refitted if crop is not None]
            unfound += [portrait.name] * (len(crops) < len(refitted))
        if not unfound:
            kept = None if finder is None else tuple(map(encode_crop, crops))
            made[portrait.name] = Remade(embeddings=embedder.embed(np.stack(crops)), crops=kept)
        if progress is not None:
            progress(done, total)
    if unfound:
        raise GalleryError(
            f"{embedder.path.name} takes crops of another scale ({spec.alignment_fit}) than those kept in "
            f"{gallery.location} ({there}), and no face was found in crops of {len(unfound)} of {total} identities: "
            f"{_named(unfound)}. Nothing was changed.",
            hint="remove these identities, rebuild, and enroll them again from photographs; or try another detector",
            remedy="change-detector",
        )
    return made


def _require_same_template(gallery: Gallery, embedder: Embedder) -> None:
    there, here = gallery.fingerprint, embedder.fingerprint
    if not there.shares_crops(here):
        kept, wanted = (f"{kind.crop_height} x {kind.crop_width} pixels" for kind in (there, here))
        differing = f"crops of {wanted}" if kept != wanted else "another landmark template"
        raise FingerprintError(
            f"The crops kept in {gallery.location} are aligned differently from what {embedder.path.name} expects: "
            f"they have {kept}, and the model takes {differing}. Nothing was changed.",
            hint="enroll from photographs again, into a new gallery of this model",
            remedy="create-gallery",
        )


def _required(detector: Detector | None, gallery: Gallery, embedder: Embedder) -> Detector:
    if detector is None:
        raise FingerprintError(
            f"The crops kept in {gallery.location} are aligned by another fit ({gallery.fingerprint.alignment_fit}) "
            f"than {embedder.path.name} takes ({embedder.spec.alignment_fit}): a detector must find the landmarks in "
            "them.",
            hint="gallery.rebuild(embedder, detector=open_detector())",
        )
    return detector


def _named(names: list[str]) -> str:
    return ", ".join(map(repr, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
