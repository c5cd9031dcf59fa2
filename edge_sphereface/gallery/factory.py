"""Opens a gallery; its location determines the backend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import GalleryKeyError
from edge_sphereface.gallery.milvus import MILVUS_LITE
from edge_sphereface.gallery.records import Threshold
from edge_sphereface.model.fingerprint import Fingerprint

if TYPE_CHECKING:
    from edge_sphereface.gallery.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder

_CLUSTERS = ("http://", "https://", "tcp://")


def open_gallery(
    location: str | os.PathLike[str],
    made_by: Embedder | Fingerprint | None = None,
    *,
    create: bool = False,
    keep_crops: bool = False,
    key: bytes | None = None,
    timeout_s: float = 5.0,
) -> Gallery:
    """Open a gallery, or make one.

    Args:
        location: a path: one SQLite file. ``milvus:PATH.db``: Milvus Lite in a folder. ``http://HOST:19530`` (or https,
            tcp): a Milvus cluster; its token is read from ``EDGE_SPHEREFACE_MILVUS_TOKEN``.
        made_by: what makes the embeddings that will be enrolled and searched: an embedder, or its fingerprint. A new
            gallery takes an embedder's threshold. Without it the gallery can be listed, exported and removed from.
        create: make the gallery if there is none; needs ``made_by``.
        keep_crops: in a gallery that is made: keep crops, so that another model can embed them anew.
        key: 32 bytes (``read_key``): encrypts embeddings and crops of a gallery that is made, opens an encrypted one.
        timeout_s: how long to wait for another process.

    Raises:
        GalleryNotFoundError: there is none.
        GalleryFormatError: not a gallery, damaged, or of another version.
        GalleryKeyError: encrypted and no key or another one; a key for one that is not encrypted, or for Milvus.
        FingerprintError: its embeddings are of another kind.
        GalleryBusyError: another process holds it.
        ExtraError: a package of the extra ``milvus`` or ``secure`` is missing.
        OutputError: it cannot be made.
        ValueError: ``create`` without ``made_by``.
    """
    if create and made_by is None:
        raise ValueError("A gallery is made for a model: give made_by.")
    fingerprint = made_by if made_by is None or isinstance(made_by, Fingerprint) else made_by.fingerprint
    place = os.fspath(location)
    gallery: Gallery
    if place.startswith((MILVUS_LITE, *_CLUSTERS)):
        from edge_sphereface.gallery.milvus.store import MilvusGallery

        if key is not None:
            raise GalleryKeyError(
                "A key was given, and Milvus must read embeddings to search them: it cannot keep them encrypted.",
                hint="encrypt its disks, or use a gallery file",
            )
        gallery = MilvusGallery(
            place, fingerprint=fingerprint, create=create, keep_crops=keep_crops, timeout_s=timeout_s
        )
    else:
        from edge_sphereface.gallery.sqlite.store import SqliteGallery

        gallery = SqliteGallery(
            Path(place), fingerprint=fingerprint, create=create, keep_crops=keep_crops, key=key, timeout_s=timeout_s
        )
    if create and made_by is not None and not isinstance(made_by, Fingerprint) and gallery.threshold is None:
        gallery.set_threshold(model_threshold(made_by))
    return gallery


def model_threshold(embedder: Embedder) -> Threshold:
    """The threshold that a model brings along."""
    fingerprint = embedder.fingerprint
    return Threshold(
        value=embedder.spec.threshold,
        precision=fingerprint.precision,
        fingerprint=fingerprint.digest,
        source=f"the model's: {embedder.spec.threshold_source}",
    )
