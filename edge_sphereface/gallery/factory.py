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
    """Open or create a gallery.

    Args:
        location: a path for one SQLite file; ``milvus:PATH.db`` for Milvus Lite in a folder; ``http://HOST:19530`` (or
            https, tcp) for a Milvus cluster, whose token is read from ``EDGE_SPHEREFACE_MILVUS_TOKEN``.
        made_by: embedder, or its fingerprint, of the embeddings to enroll and search. A new gallery takes the
            embedder's threshold. Without it, the gallery can be listed and exported, and identities can be removed.
        create: create the gallery if it does not exist; requires ``made_by``.
        keep_crops: for a new gallery, keep the crops so that another model can embed them again.
        key: 32 bytes from ``read_key``. It encrypts a new gallery, or opens an encrypted one.
        timeout_s: how long to wait for another process, in seconds.

    Raises:
        GalleryNotFoundError: the gallery does not exist, and ``create`` is False.
        GalleryFormatError: the file is not a gallery, is damaged, or has another version.
        GalleryKeyError: the gallery is encrypted and the key is missing or wrong; or a key was given for a gallery that
            is not encrypted, or for Milvus.
        FingerprintError: the gallery holds embeddings of another kind.
        GalleryBusyError: another process holds the gallery.
        ExtraError: a package of the extra ``milvus`` or ``secure`` is not installed.
        OutputError: the gallery cannot be created.
        ValueError: ``create`` was given without ``made_by``.
    """
    if create and made_by is None:
        raise ValueError("A gallery is created for a model: give made_by.")
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
    """Threshold from a model's specification."""
    fingerprint = embedder.fingerprint
    return Threshold(
        value=embedder.spec.threshold,
        precision=fingerprint.precision,
        fingerprint=fingerprint.digest,
        source=f"the model's: {embedder.spec.threshold_source}",
    )
