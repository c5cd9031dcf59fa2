"""The gallery interface, and the code shared by all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EmbeddingError, FingerprintError, IdentityError, OutputError
from edge_sphereface.gallery.crops import check_crop
from edge_sphereface.gallery.missing import no_threshold
from edge_sphereface.gallery.records import (
    Candidate,
    Enrollment,
    Portrait,
    check_name,
    decide,
    known_name,
    metadata_text,
)
from edge_sphereface.gallery.spelling import skeleton
from edge_sphereface.gallery.uniqueness import one_face_each
from edge_sphereface.gallery.vectors import ROUNDING, check_embeddings, template_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from numpy.typing import ArrayLike

    from edge_sphereface.detection import Detector
    from edge_sphereface.gallery.records import Identification, Identity, Threshold
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.types import Float32Array, JsonObject

    Progress = Callable[[int, int], None]

_BATCH = 1000
"""Identities that are added together."""
_BLOCK = 64
"""Templates per block of the search for the closest pair."""


class Gallery(ABC):
    """Enrolled identities and their embeddings. Open one with :func:`open_gallery`. Safe to use from several threads.

    Whatever another process, a disk or a server does, every method raises only the following errors. The gallery stays
    usable after each of them, and a later call may succeed:

    * ``GalleryError``, with its subclasses ``GalleryBusyError`` (another process holds the gallery),
      ``GalleryFormatError`` (the data is damaged or has another version), ``GalleryNotFoundError`` (the gallery was
      deleted) and ``GalleryKeyError`` (it was replaced by one with another key);
    * ``FingerprintError``: the gallery was rebuilt for another model; open it again with that model;
    * ``OutputError``: the disk is full, fails, or became read-only.

    Invalid arguments raise ``EmbeddingError``, ``IdentityError``, ``CropError``, ``ThresholdError`` or ``ValueError``,
    as documented for each method.

    Attributes:
        location: path or URI of the gallery.
        fingerprint: fingerprint of its embeddings.
        probes_checked: whether the gallery was opened with the fingerprint of the embeddings to enroll and search.
        keep_crops: whether crops are stored.
        encrypted: whether embeddings and crops are encrypted at rest.
        writable: whether this user may change the gallery.
    """

    location: str
    fingerprint: Fingerprint
    probes_checked: bool
    keep_crops: bool
    encrypted: bool
    writable: bool

    def enroll(
        self,
        name: str,
        embeddings: ArrayLike,
        *,
        crops: Sequence[bytes] | None = None,
        metadata: JsonObject | None = None,
        ignored: bool | None = None,
    ) -> Enrollment:
        """Add embeddings of a person, and create the identity if it is new. The data is on disk when this returns.

        Args:
            name: name of the identity, in any script. A new name must not look like that of another identity.
            embeddings: (D,) or (N, D), from ``Embedder.embed``.
            crops: PNG files of the crops, one per embedding. Only a gallery that keeps crops stores them.
            metadata: replaces the metadata of the identity; None leaves it unchanged.
            ignored: whether the person is never reported; None leaves it unchanged.

        Raises:
            EmbeddingError: an embedding holds NaN, is zero, or has another size.
            FingerprintError: the gallery was opened without the fingerprint of the embeddings.
            IdentityError: the name or metadata cannot be stored, or the name looks like that of another identity.
            GalleryBusyError: another process writes to the gallery.
            OutputError: the gallery is read-only or the disk is full; nothing was changed.
        """
        kept_name, rows = self._kept_name(name), self._checked(embeddings)
        if not len(rows):
            raise EmbeddingError("Expected at least one embedding to enroll, got none.")
        if crops is not None and len(crops) != len(rows):
            raise EmbeddingError(f"Expected a crop for each of {len(rows)} embeddings, got {len(crops)}.")
        before = self.template(kept_name)
        mean = template_of(rows)
        threshold = self.threshold
        similar = () if threshold is None else self.search(mean, top=3)[0]
        lookalikes = tuple(
            found for found in similar if found.name != kept_name and threshold and found.similarity >= threshold.value
        )
        kept_crops = (None,) * len(rows) if crops is None else tuple(crops)
        self.add([Portrait(name=kept_name, metadata=metadata, embeddings=rows, crops=kept_crops, ignored=ignored)])
        return Enrollment(
            name=kept_name,
            added=len(rows),
            embeddings=self.get(kept_name).embeddings,
            own_similarity=None if before is None else float(mean @ before),
            lookalikes=lookalikes,
        )

    def add(self, portraits: Sequence[Portrait]) -> None:
        """Add several identities at once. On an error none is added; in Milvus, each identity is atomic on its own.

        Raises:
            EdgeSphereFaceError: as :meth:`enroll` does. Lookalikes are not searched.
        """
        merged: dict[str, Portrait] = {}
        for portrait in portraits:
            name, rows = self._kept_name(portrait.name), self._checked(portrait.embeddings)
            if portrait.metadata is not None:
                metadata_text(portrait.metadata)
            if len(portrait.crops) != len(rows) or not len(rows):
                raise EmbeddingError(f"Expected embeddings with a crop or None for each, got {len(rows)} embeddings.")
            for crop in portrait.crops:
                check_crop(crop)
            first = merged.get(name)
            merged[name] = Portrait(
                name=name,
                metadata=portrait.metadata if first is None or portrait.metadata is not None else first.metadata,
                embeddings=rows if first is None else np.concatenate([first.embeddings, rows]),
                crops=portrait.crops if first is None else (*first.crops, *portrait.crops),
                ignored=portrait.ignored if first is None or portrait.ignored is not None else first.ignored,
            )
        if merged:
            self._add(list(merged.values()))

    def add_all(self, portraits: Iterable[Portrait], thresholds: Sequence[Threshold] = ()) -> int:
        """Add any number of identities, and thresholds. On an error nothing is added; Milvus adds in portions.

        Args:
            portraits: validated identities with different names; consumed one by one.
            thresholds: thresholds that replace those of the same precision.

        Returns:
            Number of identities added.

        Raises:
            EdgeSphereFaceError: as :meth:`enroll` does. Errors from iterating ``portraits`` are passed on.
        """
        added, batch = 0, list(islice(portraits := iter(portraits), _BATCH))
        while batch:
            self.add(batch)
            added += len(batch)
            batch = list(islice(portraits, _BATCH))
        for threshold in thresholds:
            self.set_threshold(threshold)
        return added

    def search(self, probes: ArrayLike, *, top: int = 5) -> list[tuple[Candidate, ...]]:
        """Find the identities most similar to each probe, most similar first.

        Args:
            probes: (D,) or (P, D) embeddings.
            top: number of candidates per probe; fewer if the gallery holds fewer identities.

        Raises:
            EmbeddingError: a probe holds NaN, is zero, or has another size.
            FingerprintError: the gallery was opened without the fingerprint of the embeddings.
        """
        if top < 1:
            raise ValueError(f"Expected at least one candidate, got top = {top}.")
        rows = self._checked(probes)
        return self._nearest(rows, top) if len(rows) else []

    def identify(
        self, probe: ArrayLike, *, top: int = 5, threshold: float | None = None, margin: float = 0.0
    ) -> Identification:
        """Identify one probe (1:N).

        Args:
            probe: (D,), one embedding.
            top: number of candidates to return.
            threshold: cosine similarity that the best candidate must reach; None for the gallery's threshold.
            margin: difference in cosine similarity by which the best candidate must lead the second.

        Raises:
            EmbeddingError: the probe is not one embedding, holds NaN, is zero, or has another size.
            ThresholdError: the gallery has no threshold and none was given.
            FingerprintError: the gallery was opened without the fingerprint of the embeddings.
        """
        rows = np.array(probe, dtype=np.float32, ndmin=2)
        if len(rows) != 1:
            raise EmbeddingError(
                f"Expected one embedding, got {len(rows)}.", hint="identify_faces takes all faces of one image"
            )
        return self._identify(rows, top, threshold, margin)[0]

    def identify_faces(
        self, probes: ArrayLike, *, top: int = 5, threshold: float | None = None, margin: float = 0.0
    ) -> list[Identification]:
        """Identify all faces of one image (1:N). Each identity is assigned to one face only, the most similar one.

        Args:
            probes: (P, D) or a list of (D,): the embeddings of all faces of the image. P may be 0.
            top: number of candidates to return for each face.
            threshold: cosine similarity that the best candidate must reach; None for the gallery's threshold.
            margin: difference in cosine similarity by which the best candidate must lead the second.

        Returns:
            One result per face, after :func:`edge_sphereface.gallery.uniqueness.one_face_each`.

        Raises:
            EdgeSphereFaceError: as :meth:`identify` does.
        """
        rows = np.asarray(probes, dtype=np.float32)
        return one_face_each(self._identify(rows, top, threshold, margin)) if len(rows) else []

    def _identify(self, probes: Float32Array, top: int, threshold: float | None, margin: float) -> list[Identification]:
        if threshold is None:
            own = self.threshold
            if own is None:
                raise no_threshold(self.location)
            threshold = own.value
        found = self.search(probes, top=max(top, 2))
        return [decide(candidates, threshold=threshold, margin=margin, top=top) for candidates in found]

    def closest_pair(self, *, progress: Progress | None = None) -> tuple[str, str, float] | None:
        """Find the two identities with the most similar templates.

        All pairs are compared: 100,000 identities take minutes.

        Returns:
            Both names and their cosine similarity; None if the gallery holds fewer than two identities.
        """
        best: tuple[str, str, float] | None = None
        done, total = 0, len(self)
        for names, templates in self._templates(_BLOCK):
            for name, (own, *others) in zip(names, self._nearest(templates, 2), strict=True):
                other = next((found for found in (own, *others) if found.name != name), None)
                if other is not None and (best is None or other.similarity > best[2]):
                    best = (*sorted((name, other.name)), other.similarity)  # type: ignore[assignment] # two names
            done += len(names)
            if progress is not None:
                progress(done, total)
        return best

    def rivals(self, name: str, embeddings: ArrayLike) -> list[Candidate | None]:
        """Find the identity of another name that each embedding of a person resembles most.

        Args:
            name: name of the person, who need not be enrolled.
            embeddings: (D,) or (N, D), of this gallery, or comparable with it.

        Returns:
            One candidate per embedding; None if the gallery holds no other identity.

        Raises:
            EmbeddingError: an embedding holds NaN, is zero, or has another size.
        """
        rows = check_embeddings(embeddings, self.fingerprint.embedding_size)
        found = self._nearest(rows, 2) if len(rows) else []
        return [next((other for other in nearest if other.name != name), None) for nearest in found]

    @property
    def threshold(self) -> Threshold | None:
        """The gallery's threshold for its fingerprint; None if it has none."""
        found = self.thresholds().get(self.fingerprint.precision)
        return found if found is not None and found.fingerprint == self.fingerprint.digest else None

    def require_writable(self) -> None:
        """Require write access, before work whose result is to be stored.

        Raises:
            OutputError: the gallery is read-only for this user.
        """
        if not self.writable:
            raise OutputError(
                f"The gallery {self.location} is read-only for this user.", hint="nothing was changed; check its mode"
            )

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    def __repr__(self) -> str:
        fingerprint, encrypted = self.fingerprint, ", encrypted" if self.encrypted else ""
        size, precision = fingerprint.embedding_size, fingerprint.precision
        return f"<{type(self).__name__} {self.location}: {size} values, {precision}{encrypted}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kept_name(self, name: str) -> str:
        """Validated name of an identity. An existing name, stored by an earlier version, is accepted as it is."""
        known = known_name(name)
        if skeleton(known) != known and self.template(known) is not None:
            return self.get(known).name
        return check_name(name)

    def _checked(self, embeddings: ArrayLike) -> Float32Array:
        """Validated embeddings as unit rows (N, D) float32."""
        if not self.probes_checked:
            raise FingerprintError(
                f"The gallery {self.location} was opened without the fingerprint of the embeddings.",
                hint="open_gallery(location, embedder) compares their fingerprints",
            )
        return check_embeddings(embeddings, self.fingerprint.embedding_size)

    def _wrong_templates(self) -> list[str]:
        """Describe the identities whose template is not the mean of their embeddings."""
        found = []
        for portrait in self.portraits():
            template = self.template(portrait.name)
            if template is not None and np.abs(template - template_of(portrait.embeddings)).max() > ROUNDING:
                found.append(f"the template of {portrait.name!r} is not the mean of its embeddings")
        return found

    @abstractmethod
    def __len__(self) -> int:
        """Number of identities."""

    @abstractmethod
    def get(self, name: str) -> Identity:
        """Get one identity.

        Raises:
            IdentityNotFoundError: the gallery holds no identity of that name.
        """

    @abstractmethod
    def identities(self) -> Iterator[Identity]:
        """Iterate over all identities, sorted by name."""

    @abstractmethod
    def portraits(self) -> Iterator[Portrait]:
        """Iterate over all identities with their embeddings and crops, sorted by name."""

    @abstractmethod
    def portrait(self, name: str) -> Portrait | None:
        """An identity with its embeddings and crops; None if there is no identity of that name."""

    @abstractmethod
    def template(self, name: str) -> Float32Array | None:
        """Template of an identity: the (D,) unit mean of its embeddings; None if there is no identity of that name."""

    @abstractmethod
    def remove(self, names: Sequence[str]) -> int:
        """Remove identities permanently: no bytes remain.

        Returns:
            Number of embeddings removed.

        Raises:
            IdentityNotFoundError: an identity does not exist; none is removed.
            GalleryBusyError: another process prevents the old bytes from being overwritten.
        """

    def rename(self, name: str, to: str) -> Identity:
        """Give an identity another name; its embeddings, crops, metadata and time of enrollment stay.

        Args:
            name: its name.
            to: its new name, which must not look like that of another identity.

        Raises:
            IdentityNotFoundError: the identity does not exist.
            IdentityError: the new name cannot be stored, or belongs to another identity.
            GalleryBusyError: another process writes to the gallery, or prevents the old bytes from being overwritten.
            OutputError: the gallery is read-only or the disk is full.
        """
        kept = check_name(to)
        before = self.get(name).name
        if kept != before:
            if self.template(kept) is not None:
                raise IdentityError(
                    f"There is an identity {kept!r} already.", hint="merge the two, or give another name"
                )
            self._move(before, kept)
        return self.get(kept)

    def merge(self, name: str, into: str) -> Identity:
        """Add the embeddings and crops of an identity to those of another one, and remove the first.

        Args:
            name: name of the identity that is removed.
            into: name of the identity that stays, with its metadata.

        Raises:
            IdentityNotFoundError: one of them does not exist.
            IdentityError: they are the same.
            GalleryBusyError: another process writes to the gallery, or prevents the old bytes from being overwritten.
            OutputError: the gallery is read-only or the disk is full.
        """
        before, kept = self.get(name).name, self.get(into).name
        if before == kept:
            raise IdentityError(f"Expected two identities to merge, got {before!r} twice.")
        self._move(before, kept)
        return self.get(kept)

    def set_ignored(self, name: str, ignored: bool) -> Identity:
        """Choose whether a person is recognized without being reported.

        Raises:
            IdentityNotFoundError: the identity does not exist.
            GalleryBusyError: another process writes to the gallery.
            OutputError: the gallery is read-only or the disk is full.
        """
        before = self.get(name)
        if before.ignored != ignored:
            self._set_ignored(before.name, ignored)
        return self.get(before.name)

    @abstractmethod
    def count_ignored(self) -> int:
        """Number of identities that are ignored, counted without reading the others."""

    @abstractmethod
    def check(self) -> list[str]:
        """Verify the gallery's integrity; returns a description of each problem, or an empty list."""

    @abstractmethod
    def thresholds(self) -> dict[str, Threshold]:
        """The stored thresholds by precision."""

    @abstractmethod
    def set_threshold(self, threshold: Threshold) -> None:
        """Store a threshold, which replaces the one of the same precision."""

    @abstractmethod
    def rebuild(self, embedder: Embedder, *, detector: Detector | None = None, progress: Progress | None = None) -> int:
        """Embed all stored crops again with another model, which becomes the gallery's model.

        Args:
            embedder: the new model.
            detector: required if the model uses another kind of fit than the crops. The crops are then rescaled to
                that fit, by the landmarks found in them, and stored.
            progress: called with the number of identities done and their total.

        Returns:
            Number of embeddings computed.

        Raises:
            GalleryError: a crop was not kept, no face is found in a crop, or another process wrote meanwhile; nothing
                was changed.
            FingerprintError: the model aligns faces differently from the stored crops; nothing was changed.
        """

    @abstractmethod
    def _add(self, portraits: Sequence[Portrait]) -> None:
        """Add validated portraits with different names."""

    @abstractmethod
    def _move(self, name: str, to: str) -> None:
        """Give all that belongs to an identity to that of another name, which may exist; no bytes of the old remain."""

    @abstractmethod
    def _set_ignored(self, name: str, ignored: bool) -> None:
        """Mark an existing identity as ignored, or no longer."""

    @abstractmethod
    def _nearest(self, probes: Float32Array, top: int) -> list[tuple[Candidate, ...]]:
        """Candidates of each validated probe (P, D), most similar first."""

    @abstractmethod
    def _templates(self, block: int) -> Iterator[tuple[list[str], Float32Array]]:
        """Iterate over all names and templates (N, D), in blocks of N identities."""
