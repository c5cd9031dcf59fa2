"""Embed many photographs. Embeddings are cached by model and photograph, so that an interrupted run can continue.

The cache contains biometric data. It is a file of mode 0600 in the cache folder; delete that folder to remove it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.alignment import align_for
from edge_sphereface.errors import EmbeddingError, ImageError
from edge_sphereface.image import load_image
from edge_sphereface.storage.cache import cache_file
from edge_sphereface.storage.files import PRIVATE, atomic_write, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

_BATCH = 16
_SAVE_EVERY = 512


class EmbeddingStore:
    """Embeddings on disk by SHA-256 of the photograph. A row of NaN denotes a photograph without a usable face.

    Args:
        key: identifies the model and the detector; each key has its own file.
        size: number of components D of a row.
        keep: store the embeddings on disk.
    """

    def __init__(self, key: str, size: int, *, keep: bool = True) -> None:
        self._path = cache_file("embeddings", f"{key}.npz") if keep else None
        self.size = size
        self._rows: dict[str, Float32Array] = {}
        self._unsaved = 0
        if self._path is not None and self._path.is_file():
            try:
                with np.load(self._path, allow_pickle=False) as saved:
                    names, rows = saved["names"], saved["rows"]
            except (OSError, ValueError, KeyError) as error:
                raise EmbeddingError(f"{self._path} is damaged: {error}.", hint="delete it") from error
            if rows.shape == (len(names), size):
                self._rows = dict(zip(names.tolist(), rows.astype(np.float32), strict=True))

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def __getitem__(self, digest: str) -> Float32Array:
        return self._rows[digest]

    def add(self, digest: str, row: Float32Array) -> None:
        """Add an embedding. Every 512th call saves the file."""
        self._rows[digest] = row
        self._unsaved += 1
        if self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the new embeddings to disk."""
        if self._path is None or not self._unsaved:
            return
        with atomic_write(self._path, mode=PRIVATE) as output:
            np.savez(output, names=np.array(list(self._rows)), rows=np.stack(list(self._rows.values())))
        self._unsaved = 0


def embed_images(
    names: Sequence[str],
    folder: Path,
    *,
    spec: ModelSpec,
    embed: Callable[[UInt8Array], Float32Array],
    store: EmbeddingStore,
    locate: Callable[[str, UInt8Array], Float64Array | None],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Float32Array]:
    """Embed photographs.

    Args:
        names: paths relative to ``folder``.
        folder: folder of the photographs.
        spec: specification of the model.
        embed: function from (N, H, W, 3) uint8 BGR crops to (N, D) float32 embeddings.
        store: cache of the embeddings.
        locate: function from a name and its image to landmarks (5, 2) in pixels, or None if there is no face.
        progress: called with the number of photographs done and their total.

    Returns:
        Embeddings (D,) float32 by name; NaN for a photograph without a usable face.

    Raises:
        ImageError: a photograph cannot be read.
    """
    digests: dict[str, str] = {}
    waiting: list[tuple[str, UInt8Array]] = []

    def flush() -> None:
        if waiting:
            rows = embed(np.stack([crop for _, crop in waiting]))
            for (digest, _), row in zip(waiting, rows, strict=True):
                store.add(digest, row)
            waiting.clear()

    try:
        for number, name in enumerate(names, start=1):
            path = folder / name
            if not path.is_file():
                raise ImageError(f"There is no photograph {path}.", hint="check the folder")
            digests[name] = digest = sha256_of(path)
            if digest not in store and all(digest != known for known, _ in waiting):
                image = load_image(path)
                landmarks = locate(name, image)
                if landmarks is None:
                    store.add(digest, np.full(store.size, np.nan, dtype=np.float32))
                else:
                    waiting.append((digest, align_for(spec, image, landmarks)[0]))
            if len(waiting) == _BATCH:
                flush()
            if progress is not None:
                progress(number, len(names))
        flush()
    finally:
        store.save()
    return {name: store[digest] for name, digest in digests.items()}


def landmarks_digest(landmarks: Mapping[str, Float64Array]) -> str:
    """Short hash of given landmarks. Different landmarks lead to different embeddings of the same photographs."""
    digest = hashlib.sha256()
    for name in sorted(landmarks):
        digest.update(name.encode() + landmarks[name].tobytes())
    return digest.hexdigest()[:16]
