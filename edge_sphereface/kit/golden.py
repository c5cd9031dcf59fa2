"""Opens a proof kit: its manifest, and the arrays that outputs are compared with, each checked by its SHA-256."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import KitError
from edge_sphereface.kit.manifest import KitManifest, read_kit_manifest
from edge_sphereface.kit.outputs import read_npy
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    import os

    from edge_sphereface.kit.manifest import KitForm, KitMistake
    from edge_sphereface.types import Float32Array

_HEADER_BYTES = 1 << 12
_HINT = "copy the kit again as a whole, or make it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """An open kit.

    Attributes:
        folder: folder of the kit.
        manifest: its manifest.
        manifest_sha256: SHA-256 of the manifest's file in hexadecimal.
    """

    folder: Path
    manifest: KitManifest
    manifest_sha256: str

    @property
    def shape(self) -> tuple[int, int]:
        """Number of crops N and of components D of an output."""
        return len(self.manifest.crops), self.manifest.spec.embedding_size

    def outputs(self) -> Float32Array:
        """Expected raw outputs of the float network, (N, D)."""
        return self._array(self.manifest.outputs)

    def outputs_of(self, form: KitForm) -> Float32Array:
        """Expected raw outputs of a form, (N, D)."""
        return self._array(form.outputs)

    def outputs_by(self, mistake: KitMistake) -> Float32Array:
        """Raw outputs of the network for crops prepared with a mistake, (N, D)."""
        return self._array(mistake.outputs)

    def _array(self, path: str) -> Float32Array:
        """An array (N, D) of the kit.

        Raises:
            KitError: the file is missing, is not the one of the manifest, or has another shape.
        """
        entry = self.manifest.file(path)
        limit = min(entry.bytes, _HEADER_BYTES + 4 * math.prod(self.shape))
        source = RegularFile(what="file of the kit", limit=limit, error=KitError, hint=_HINT)
        data = source.read(self.folder / path)
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise KitError(f"{self.folder / path} is not the file that the kit was made with.", hint=_HINT)
        values = np.asarray(read_npy(data, path, dtypes=("float32",)), dtype=np.float32)
        if values.shape != self.shape or not np.isfinite(values).all():
            raise KitError(
                f"{self.folder / path}: expected finite numbers of shape {self.shape}, got {values.shape}.", hint=_HINT
            )
        if not values.any(axis=1).all():
            raise KitError(f"{self.folder / path}: expected outputs, got zeros for at least one crop.", hint=_HINT)
        return values


def open_kit(folder: str | os.PathLike[str]) -> Kit:
    """Open a kit.

    Raises:
        KitError: the folder holds no kit that this version can read.
    """
    place = Path(folder)
    if place.is_file():
        raise KitError(
            f"Expected the folder of a kit, got the file {place}.",
            hint="unpack the kit's archive, and name its folder before the outputs",
        )
    manifest, digest = read_kit_manifest(place)
    return Kit(folder=place, manifest=manifest, manifest_sha256=digest)
