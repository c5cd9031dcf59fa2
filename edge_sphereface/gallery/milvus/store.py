"""The Milvus backend of a gallery."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import GalleryFormatError, IdentityNotFoundError
from edge_sphereface.gallery.gallery import Gallery
from edge_sphereface.gallery.milvus.collections import (
    BLOCK,
    DESCRIPTION,
    NO,
    YES,
    Collections,
    crop_of,
    embedding_row,
    key_of,
    vectors,
)
from edge_sphereface.gallery.milvus.connection import explained, reach, release
from edge_sphereface.gallery.missing import no_gallery, no_identities
from edge_sphereface.gallery.records import (
    Candidate,
    Identity,
    Portrait,
    Threshold,
    known_name,
    metadata_of,
    metadata_text,
    now,
)
from edge_sphereface.gallery.spelling import Spellings
from edge_sphereface.gallery.vectors import template_of
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.names import single_spaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery.gallery import Progress
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array

VERSION = "2"
_EARLIER_VERSION = "1"
"""Version of galleries without ignored people, which are copied into this one when they are opened."""
_PORTRAITS = 1024
"""Identities added per request; each has few embeddings."""
_THRESHOLD = "threshold:"


class MilvusGallery(Gallery):
    """A gallery in Milvus. Open it with :func:`open_gallery`.

    Milvus has no transactions: a crash during an enrollment can leave an unconfirmed embedding, but confirmed data is
    kept. Milvus Lite admits one process at a time. While it is open, it listens without a password on a port of the
    loopback interface.

    Args:
        location: ``milvus:PATH.db``, or a URI whose path names the gallery within the cluster.
        fingerprint: fingerprint of the embeddings to enroll and search; None to list, export and remove only.
        create: create the gallery if it does not exist.
        keep_crops: for a new gallery, keep the crops for :meth:`rebuild`.
        timeout_s: timeout of the connection in seconds.
        exact: for a new gallery, compare each probe with every template, so that all kinds of galleries give the same
            results. False searches an HNSW graph, for millions of identities, and may miss the most similar identity
            (docs/gallery.md).

    Raises:
        ExtraError: pymilvus is not installed.
        GalleryNotFoundError: the gallery does not exist, or no server answers.
        GalleryFormatError: the gallery has another version.
        FingerprintError: the gallery holds embeddings of another kind.
        GalleryBusyError: another process has Milvus Lite open.
    """

    encrypted, writable = False, True

    def __init__(
        self,
        location: str,
        *,
        fingerprint: Fingerprint | None = None,
        create: bool = False,
        keep_crops: bool = False,
        timeout_s: float = 5.0,
        exact: bool = True,
    ) -> None:
        self.location = location
        self.probes_checked = fingerprint is not None
        self._lock = threading.RLock()
        self._client, prefix, self._is_lite = reach(location, create=create, timeout_s=timeout_s)
        self._collections = Collections(self._client, prefix, exact=exact, flush=self._is_lite)
        self._spellings = self._read_spellings()
        try:
            with self._working():
                self._open(fingerprint, create=create, keep_crops=keep_crops)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        with self._working():
            return self._collections.count()

    def get(self, name: str) -> Identity:
        """Get one identity."""
        with self._working():
            return self._described(self._require([known_name(name)]))[0]

    def identities(self) -> Iterator[Identity]:
        """Iterate over all identities, sorted by name."""
        with self._working():
            rows = self._collections.identities(DESCRIPTION)
        for start in range(0, len(rows), BLOCK):
            with self._working():
                page = self._described(rows[start : start + BLOCK])
            yield from page

    def portraits(self) -> Iterator[Portrait]:
        """Iterate over all identities with their embeddings and crops, sorted by name."""
        for identity in self.identities():
            portrait = self._portrait(identity)
            if portrait is not None:
                yield portrait

    def portrait(self, name: str) -> Portrait | None:
        """An identity with its embeddings and crops; None if there is no identity of that name."""
        try:
            return self._portrait(self.get(name))
        except IdentityNotFoundError:
            return None

    def template(self, name: str) -> Float32Array | None:
        """Template of an identity: the (D,) unit mean of its embeddings."""
        with self._working():
            names = dict.fromkeys((known := known_name(name), single_spaced(known)))
            found = {row["name"]: row for row in self._collections.identities(["template"], list(map(key_of, names)))}
        row = found.get(known) or found.get(single_spaced(known))
        return None if row is None else vectors([row], "template")[0]

    def remove(self, names: Sequence[str]) -> int:
        """Remove identities. The files of Milvus Lite are rewritten without them; a cluster cleans up later."""
        with self._working():
            keys = [row["id"] for row in self._require(sorted({known_name(name) for name in names}))]
            embeddings = self._collections.delete(keys)
            if self._is_lite:
                self._collections.write_anew(self.fingerprint.embedding_size, None, {})
            else:
                self._collections.compact()
            self._spellings = self._read_spellings()
        return embeddings

    def count_ignored(self) -> int:
        """Number of identities that are ignored."""
        with self._working():
            return self._collections.count(f'ignored == "{YES}"')

    def thresholds(self) -> dict[str, Threshold]:
        """The stored thresholds by precision."""
        with self._working():
            texts = self._collections.texts()
        return {
            key.removeprefix(_THRESHOLD): Threshold.from_json(text)
            for key, text in sorted(texts.items())
            if key.startswith(_THRESHOLD)
        }

    def set_threshold(self, threshold: Threshold) -> None:
        """Store a threshold, which replaces the one of the same precision."""
        with self._working():
            self._collections.keep(f"{_THRESHOLD}{threshold.precision}", threshold.to_json())

    def check(self) -> list[str]:
        """Verify the integrity: every template is computed again."""
        return self._wrong_templates()

    def rebuild(self, embedder: Embedder, *, detector: Detector | None = None, progress: Progress | None = None) -> int:
        """Embed all stored crops again with another model, which becomes the gallery's model."""
        from edge_sphereface.gallery.reembedding import embed_crops

        made = embed_crops(self, embedder, detector=detector, progress=progress)
        fingerprint = embedder.fingerprint
        with self._working():
            by_key = {key_of(name): remade for name, remade in made.items()}
            texts = {"fingerprint": fingerprint.to_json()}
            self._collections.write_anew(fingerprint.embedding_size, by_key, texts)
        self.fingerprint, self.probes_checked = fingerprint, True
        return sum(len(remade.embeddings) for remade in made.values())

    def close(self) -> None:
        """Close the connection and stop Milvus Lite."""
        with self._lock:
            self._client.close()
            if self._is_lite:
                release(self.location)

    def _open(self, fingerprint: Fingerprint | None, *, create: bool, keep_crops: bool) -> None:
        if not self._collections.exist():
            if fingerprint is None or not create:
                raise no_gallery(self.location)
            crops = "yes" if keep_crops else "no"
            texts = {"version": VERSION, "fingerprint": fingerprint.to_json(), "keep_crops": crops}
            self._collections.create(fingerprint.embedding_size, texts)
        texts = self._collections.open()
        version = texts.get("version")
        if version not in (VERSION, _EARLIER_VERSION) or "live" not in texts:
            raise GalleryFormatError(
                f"The gallery {self.location} has version {version!r}; this package reads {_EARLIER_VERSION!r} and "
                f"{VERSION!r}.",
                hint="export it with the version that wrote it, import it with this one",
            )
        self.fingerprint = Fingerprint.from_json(texts.get("fingerprint", ""))
        if fingerprint is not None:
            self.fingerprint.require(fingerprint, f"The gallery {self.location}")
        self.keep_crops = texts.get("keep_crops") == "yes"
        if version == _EARLIER_VERSION:
            size, everybody = self.fingerprint.embedding_size, {"ignored": NO}
            self._collections.write_anew(size, None, {"version": VERSION}, lacking=everybody)

    def _add(self, portraits: Sequence[Portrait]) -> None:
        try:
            for start in range(0, len(portraits), _PORTRAITS):
                with self._working():
                    self._add_block(portraits[start : start + _PORTRAITS])
        except BaseException:
            self._spellings = self._read_spellings()  # some registered names were not added
            raise

    def _read_spellings(self) -> Spellings:
        """Existing spellings for comparison with new names, read once: Milvus cannot filter names by spelling."""
        return Spellings(
            lambda: [row["name"] for row in self._collections.identities([])],
            lambda name: bool(self._collections.identities([], [key_of(name)])),
        )

    def _add_block(self, portraits: Sequence[Portrait], *, moment: str = "") -> None:
        moment = moment or now()
        keys = [key_of(portrait.name) for portrait in portraits]
        known = {row["id"]: row for row in self._collections.identities(DESCRIPTION, keys)}
        for key, portrait in zip(keys, portraits, strict=True):
            if key not in known:
                self._spellings.take(portrait.name)
        old = self._collections.embeddings(list(known), ["embedding"]) if known else {}
        identities, embeddings = [], []
        for key, portrait in zip(keys, portraits, strict=True):
            before = vectors(old[key], "embedding") if key in old else portrait.embeddings[:0]
            row = known.get(key, {"metadata": "{}", "enrolled_at": moment, "ignored": NO})
            identities.append(
                {
                    "id": key,
                    "name": portrait.name,
                    "metadata": row["metadata"] if portrait.metadata is None else metadata_text(portrait.metadata),
                    "enrolled_at": row["enrolled_at"],
                    "ignored": row["ignored"] if portrait.ignored is None else _mark(portrait.ignored),
                    "template": template_of(np.concatenate([before, portrait.embeddings])),
                }
            )
            for embedding, crop in zip(portrait.embeddings, portrait.crops, strict=True):
                embeddings.append(embedding_row(key, embedding, crop if self.keep_crops else None))
        self._collections.add(identities, embeddings)

    def _move(self, name: str, to: str) -> None:
        key = key_of(name)
        with self._working():
            (identity,) = self._described(self._require([name]))
            members = self._collections.embeddings([key], ["crop", "embedding"]).get(key, [])
            is_known = bool(self._collections.identities([], [key_of(to)]))
            moved = Portrait(
                name=to,
                metadata=None if is_known else identity.metadata,
                embeddings=vectors(members, "embedding"),
                crops=tuple(map(crop_of, members)),
                ignored=None if is_known else identity.ignored,
            )
            self._add_block([moved], moment=identity.enrolled_at)  # first: a failure leaves both, and loses nothing
            self.remove([name])

    def _set_ignored(self, name: str, ignored: bool) -> None:
        with self._working():
            for row in self._collections.identities([*DESCRIPTION, "template"], [key_of(name)]):
                self._collections.update({**row, "ignored": _mark(ignored)})

    def _nearest(self, probes: Float32Array, top: int) -> list[tuple[Candidate, ...]]:
        with self._working():
            found = self._collections.nearest(probes, top)
        return [tuple(_candidate(row, value) for row, value in hits) for hits in found]

    def _templates(self, block: int) -> Iterator[tuple[list[str], Float32Array]]:
        with self._working():
            keys = [row["id"] for row in self._collections.identities([])]
        for start in range(0, len(keys), block):
            with self._working():
                rows = self._collections.identities(["template"], keys[start : start + block])
            if rows:
                yield [row["name"] for row in rows], vectors(rows, "template")

    def _portrait(self, identity: Identity) -> Portrait | None:
        key = key_of(identity.name)
        with self._working():
            members = self._collections.embeddings([key], ["crop", "embedding"]).get(key)
        if not members:
            return None
        return Portrait(
            name=identity.name,
            metadata=identity.metadata,
            embeddings=vectors(members, "embedding"),
            crops=tuple(map(crop_of, members)),
            ignored=identity.ignored,
        )

    def _described(self, rows: Sequence[dict[str, Any]]) -> list[Identity]:
        members = self._collections.embeddings([row["id"] for row in rows], ["crop"] if self.keep_crops else [])
        return [
            Identity(
                name=row["name"],
                metadata=metadata_of(row["metadata"], row["name"]),
                embeddings=len(members.get(row["id"], [])),
                crops=sum(1 for member in members.get(row["id"], []) if member.get("crop")),
                enrolled_at=row["enrolled_at"],
                ignored=row["ignored"] == YES,
            )
            for row in rows
        ]

    def _require(self, names: Sequence[str]) -> list[dict[str, Any]]:
        spellings = dict.fromkeys((*names, *map(single_spaced, names)))
        found = {row["name"]: row for row in self._collections.identities(DESCRIPTION, list(map(key_of, spellings)))}
        rows = [found.get(name) or found.get(single_spaced(name)) for name in names]
        missing = [name for name, row in zip(names, rows, strict=True) if row is None]
        if missing:
            raise no_identities(missing)
        return list({row["id"]: row for row in rows if row is not None}.values())

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._lock, explained(self.location):
            yield


def _mark(ignored: bool) -> str:
    return YES if ignored else NO


def _candidate(row: dict[str, Any], similarity: float) -> Candidate:
    return Candidate(
        name=row["name"],
        similarity=min(max(similarity, -1.0), 1.0),
        ignored=True if row["ignored"] == YES else None,
    )
