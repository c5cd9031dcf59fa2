"""Gives a stranger a name: the best sightings go to a gallery, and all leave the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.gallery.crops import encode_crop

if TYPE_CHECKING:
    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.strangers.store import StrangerStore

MOST_ENROLLED = 5
"""Sightings of a stranger that are enrolled: those of the best quality."""


def enroll_stranger(
    store: StrangerStore, stranger: str, name: str, gallery: Gallery, *, ignored: bool | None = None
) -> Enrollment:
    """Enroll a stranger under a name, and remove the sightings from the store.

    Args:
        store: holds the stranger.
        stranger: the ID.
        name: name of the identity.
        gallery: opened with the fingerprint of the store.
        ignored: whether the person is never reported; None leaves an existing identity unchanged.

    Raises:
        StrangerNotFoundError: there is no such stranger, or somebody else has just named or forgotten them; nothing
            was changed.
        StrangerError: the store cannot be used; the person may be enrolled.
        GalleryError: the gallery refuses the person; nothing was changed.
        FingerprintError: the gallery holds embeddings of another kind.
    """
    gallery.fingerprint.require(store.fingerprint, f"The gallery {gallery.location}")
    with store.claim(stranger, most=MOST_ENROLLED) as best:
        rows = np.stack([face.embedding for face in best])
        crops = [encode_crop(face.crop) for face in best] if gallery.keep_crops else None
        return gallery.enroll(name, rows, crops=crops, ignored=ignored)
