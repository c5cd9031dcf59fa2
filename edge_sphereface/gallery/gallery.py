"""The gallery interface, and the code shared by all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EmbeddingError, FingerprintError, OutputError
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
"""People in a portion."""
_BLOCK = 64
"""Probes in a block of the search for the closest pair."""


class Gallery(ABC):
    """Identities and their embeddings. Open one with :func:`open_gallery`; use it from several threads as you like.

    Whatever another process does to the gallery, and whatever a disk or a server does, every method raises one of
    these and nothing else; none of them leaves the gallery unusable, and a later call may succeed:

    * ``GalleryError``: among its subclasses ``GalleryBusyError`` (another process holds the gallery),
      ``GalleryFormatError`` (what is kept is damaged or of another version), ``GalleryNotFoundError`` (it was deleted)
      and ``GalleryKeyError`` (it was replaced by one with another key);
    * ``FingerprintError``: the gallery was rebuilt for another model; open it again with that model;
    * ``OutputError``: the disk is full, fails, or became read-only.

    Beyond that, arguments that cannot be used raise ``EmbeddingError``, ``IdentityError``, ``CropError``,
    ``ThresholdError`` or ``ValueError``, each where a method says so.

    Attributes:
        location: where it is.
        fingerprint: what made its embeddings.
        probes_checked: whether it was opened with the fingerprint of what will be enrolled and searched.
        keep_crops: whether crops are kept.
        encrypted: whether embeddings and crops are encrypted at rest.
        writable: whether this user may change it.
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
    ) -> Enrollment:
        """Add embeddings of a person; the identity is made if it is new. On return they are on the disk.

        Args:
            name: of any script. A new one must not look like that of another identity.
            embeddings: (D,) or (N, D), as ``Embedder.embed`` gives them.
            crops: PNG files of the crops, one for each embedding; kept only by a gallery that keeps crops.
            metadata: replaces that of the identity; None leaves it as it is.

        Raises:
            EmbeddingError: NaN, zero, or of another size.
            FingerprintError: the gallery was opened without saying what makes embeddings.
            IdentityError: a name or metadata that cannot be kept, or a name that looks like another identity's.
            GalleryBusyError: another process writes.
            OutputError: the gallery is read-only, or the disk is full; it is as it was before.
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
        self.add([Portrait(name=kept_name, metadata=metadata, embeddings=rows, crops=kept_crops)])
        return Enrollment(
            name=kept_name,
            added=len(rows),
            embeddings=self.get(kept_name).embeddings,
            own_similarity=None if before is None else float(mean @ before),
            lookalikes=lookalikes,
        )

    def add(self, portraits: Sequence[Portrait]) -> None:
        """Add many at once: all of them or, on an error, none (a Milvus cluster promises that for each alone).

        Raises:
            EdgeSphereFaceError: as :meth:`enroll` does; it does not look for its warnings.
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
            )
        if merged:
            self._add(list(merged.values()))

    def add_all(self, portraits: Iterable[Portrait], thresholds: Sequence[Threshold] = ()) -> int:
        """Add any number of people, and thresholds: all of it or, on an error, nothing; Milvus adds in portions.

        Args:
            portraits: checked, of different names; read one by one.
            thresholds: kept in place of those for their precisions.

        Returns:
            How many people.

        Raises:
            EdgeSphereFaceError: as :meth:`enroll` does. What reading ``portraits`` raises is passed on.
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
        """The identities nearest to each probe, the best first.

        Args:
            probes: (D,) or (P, D).
            top: how many for each; fewer if the gallery holds fewer.

        Raises:
            EmbeddingError: NaN, zero, or of another size.
            FingerprintError: the gallery was opened without saying what makes embeddings.
        """
        if top < 1:
            raise ValueError(f"Expected at least one candidate, got top = {top}.")
        rows = self._checked(probes)
        return self._nearest(rows, top) if len(rows) else []

    def identify(
        self, probe: ArrayLike, *, top: int = 5, threshold: float | None = None, margin: float = 0.0
    ) -> Identification:
        """Decide who a probe is.

        Args:
            probe: (D,), one embedding.
            top: candidates to give.
            threshold: similarity to reach; None for the gallery's own.
            margin: by how much the best must lead the second.

        Raises:
            EmbeddingError: not one embedding, or NaN, zero, or of another size.
            ThresholdError: the gallery has no threshold and none was given.
            FingerprintError: the gallery was opened without saying what makes embeddings.
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
        """Decide who the faces of one image are: each identity is given to one face only, the most similar.

        Args:
            probes: (P, D) or a list of (D,), the embeddings of all faces of the image; none give no answers.
            top: candidates to give for each.
            threshold: similarity to reach; None for the gallery's own.
            margin: by how much the best must lead the second.

        Returns:
            An answer for each face, as :func:`edge_sphereface.gallery.uniqueness.one_face_each` leaves it.

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
        """The two identities whose templates are most alike; None for fewer than two.

        Compares each with each: 100,000 identities take minutes.
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

    @property
    def threshold(self) -> Threshold | None:
        """The gallery's threshold for its own kind of embeddings."""
        found = self.thresholds().get(self.fingerprint.precision)
        return found if found is not None and found.fingerprint == self.fingerprint.digest else None

    def require_writable(self) -> None:
        """Refuse before work that would end in a change.

        Raises:
            OutputError: the gallery is read-only for this user.
        """
        if not self.writable:
            raise OutputError(
                f"The gallery {self.location} is read-only for this user.", hint="nothing was changed; check its mode"
            )

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections."""

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
        """A name for an identity; one that an earlier version kept with odd characters stays as it is."""
        known = known_name(name)
        if skeleton(known) != known and self.template(known) is not None:
            return self.get(known).name
        return check_name(name)

    def _checked(self, embeddings: ArrayLike) -> Float32Array:
        """Rows (N, D) of length one."""
        if not self.probes_checked:
            raise FingerprintError(
                f"The gallery {self.location} was opened without saying what makes the embeddings.",
                hint="open_gallery(location, embedder) compares their fingerprints",
            )
        return check_embeddings(embeddings, self.fingerprint.embedding_size)

    def _wrong_templates(self) -> list[str]:
        """Identities whose template is not the mean of their embeddings, in words."""
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
        """One identity.

        Raises:
            IdentityNotFoundError: nobody of that name.
        """

    @abstractmethod
    def identities(self) -> Iterator[Identity]:
        """Every identity, by name."""

    @abstractmethod
    def portraits(self) -> Iterator[Portrait]:
        """Every identity with its embeddings and crops, by name."""

    @abstractmethod
    def template(self, name: str) -> Float32Array | None:
        """(D,) unit mean of an identity's embeddings; None if there is nobody of that name."""

    @abstractmethod
    def remove(self, names: Sequence[str]) -> int:
        """Remove identities so that their bytes are gone; gives how many embeddings went with them.

        Raises:
            IdentityNotFoundError: one of them is not there; then none is removed.
            GalleryBusyError: another process keeps old bytes from being overwritten.
        """

    @abstractmethod
    def check(self) -> list[str]:
        """What is wrong with what is kept, in words; empty if nothing is."""

    @abstractmethod
    def thresholds(self) -> dict[str, Threshold]:
        """By precision."""

    @abstractmethod
    def set_threshold(self, threshold: Threshold) -> None:
        """Keep a threshold in place of the one for its precision."""

    @abstractmethod
    def rebuild(self, embedder: Embedder, *, detector: Detector | None = None, progress: Progress | None = None) -> int:
        """Embed every kept crop anew with another model, which becomes the gallery's; gives how many.

        Args:
            embedder: the other model.
            detector: needed if the model takes another kind of fit than the crops were cut by. The crops are then
                brought to the other fit's scale, by the landmarks found in them, and kept so.
            progress: is told how many identities of how many are done.

        Raises:
            GalleryError: somebody's crop was not kept, no face is found in it, or somebody wrote meanwhile; nothing
                changed.
            FingerprintError: the model aligns faces in another way than the kept crops are; nothing changed.
        """

    @abstractmethod
    def _add(self, portraits: Sequence[Portrait]) -> None:
        """Add checked portraits of different names."""

    @abstractmethod
    def _nearest(self, probes: Float32Array, top: int) -> list[tuple[Candidate, ...]]:
        """Of each checked probe."""

    @abstractmethod
    def _templates(self, block: int) -> Iterator[tuple[list[str], Float32Array]]:
        """All names and templates, in blocks."""
