"""Detects, embeds, verifies, identifies and enrolls faces of single pictures, behind a bounded queue."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from edge_sphereface.compare import verify
from edge_sphereface.detection.in_file import find_in_file
from edge_sphereface.errors import GalleryError, NoFaceError, SeveralFacesError
from edge_sphereface.gallery.records import Identification
from edge_sphereface.image import ImageFile
from edge_sphereface.json_output import INLINE, OMIT_NONE, rounded
from edge_sphereface.liveness.result import LivenessState  # noqa: TC001 -- read for the JSON Schema
from edge_sphereface.web.picture_limits import PictureLimits
from edge_sphereface.web.work_queue import WorkQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.liveness import LivenessChecker
    from edge_sphereface.pipeline import FacePipeline, Selection
    from edge_sphereface.types import DetectedFace, EmbeddedFace

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedPicture:
    """Faces found in a picture.

    Attributes:
        detector: name of the face detector.
        width: width of the picture, upright, in pixels.
        height: height of the picture, upright, in pixels.
        faces: the faces, highest score first; empty if there is none.
    """

    detector: str
    width: int
    height: int
    faces: tuple[DetectedFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPictureFace:
    """A face of a picture with its embedding.

    Attributes:
        face: where it was found in the picture.
        embedding: embedding of length one. Biometric data: keep it as you would a password.
    """

    face: DetectedFace = field(metadata=INLINE)
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPicture:
    """Embeddings of the faces of a picture.

    Attributes:
        detector: name of the face detector.
        fingerprint: digest of what made the embeddings; equal exactly for embeddings that may be compared.
        faces: the faces, highest score first; empty if there is none.
    """

    detector: str
    fingerprint: str
    faces: tuple[EmbeddedPictureFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedPictures:
    """Whether two pictures show one person.

    Attributes:
        same: whether the similarity reaches the threshold and, where liveness is checked, both faces are live.
        similarity: cosine of the two embeddings, from -1 to 1.
        threshold: cosine from which two faces count as one person.
        threshold_source: where the threshold comes from, in words.
        faces: the two faces that were compared.
        liveness: whether each of them is live, ``spoof`` or ``not_checked``; absent where liveness is not checked.
    """

    same: bool
    similarity: float = field(metadata=rounded(4))
    threshold: float = field(metadata=rounded(4))
    threshold_source: str
    faces: tuple[DetectedFace, DetectedFace]
    liveness: tuple[LivenessState, LivenessState] | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedPictureFace:
    """A face of a picture and who it is.

    Attributes:
        face: where it was found in the picture.
        answer: who it is; a face that is not live has no name and no candidates.
        liveness: whether it is live, ``spoof`` or ``not_checked``; absent where liveness is not checked.
    """

    face: DetectedFace = field(metadata=INLINE)
    answer: Identification = field(metadata=INLINE)
    liveness: LivenessState | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedPicture:
    """Who a picture shows.

    Attributes:
        detector: name of the face detector.
        faces: the faces, highest score first; empty if there is none. Each identity is given to one face only, the most
            similar.
    """

    detector: str
    faces: tuple[IdentifiedPictureFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledPictures:
    """Pictures that were enrolled.

    Attributes:
        enrollment: what was enrolled.
        liveness: whether the face of each picture is live, ``spoof`` or ``not_checked``; absent where liveness is not
            checked. It refuses nothing: people are enrolled from prints and scans as well.
    """

    enrollment: Enrollment = field(metadata=INLINE)
    liveness: tuple[LivenessState, ...] | None = field(default=None, metadata=OMIT_NONE)


class PictureService:
    """One model and detector, one gallery, and one worker that processes pictures in order.

    Every method queues its work and returns a future, whose result raises the error of the work. Safe to use from
    several threads, beside streams that use the same model, detector and gallery.

    Args:
        pipeline: detector and embedder.
        gallery: opened for that embedder; None without one.
        threshold: cosine similarity from which a face counts as a person, if the request names none; None for the
            gallery's, or the model's without one.
        liveness: checks whether faces are live; those that are not get no name. None to check nothing.
        limits: bounds of requests.
        yields_to_streams: whether streams of this process go first, where the system has priorities of threads.
        clock: gives seconds that never run backwards.
    """

    def __init__(
        self,
        pipeline: FacePipeline,
        gallery: Gallery | None,
        *,
        threshold: float | None = None,
        liveness: LivenessChecker | None = None,
        limits: PictureLimits | None = None,
        yields_to_streams: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pipeline, self.gallery, self._liveness = pipeline, gallery, liveness
        self._threshold = threshold
        self.limits = limits or PictureLimits()
        self.queue = WorkQueue(
            patience_s=self.limits.picture_patience_s, has_low_priority=yields_to_streams, clock=clock
        )

    def file(self, data: bytes, name: str) -> ImageFile:
        """Check the header of a picture; nothing is decoded yet.

        Raises:
            ImageError: it is no image of an accepted format, or has too many pixels.
        """
        return ImageFile(data, name, max_pixels=self.limits.pixels)

    def detect(self, picture: ImageFile) -> Future[DetectedPicture]:
        """Detect the faces of a picture.

        Raises:
            BusyError: there is too much work.
        """
        return self._submit(lambda: self._detect(picture))

    def embed(self, picture: ImageFile) -> Future[EmbeddedPicture]:
        """Embed the faces of a picture.

        Raises:
            BusyError: there is too much work.
        """
        return self._submit(lambda: self._embed(picture))

    def verify(
        self, first: ImageFile, second: ImageFile, *, threshold: float | None = None
    ) -> Future[VerifiedPictures]:
        """Compare the largest faces of two pictures.

        Args:
            first: a picture.
            second: another.
            threshold: cosine similarity from which they count as one person; None for that of this service.

        Raises:
            BusyError: there is too much work.
        """
        return self._submit(lambda: self._verify(first, second, threshold), pictures=2)

    def identify(
        self,
        picture: ImageFile,
        *,
        top: int = 5,
        threshold: float | None = None,
        margin: float = 0.0,
        matches_only: bool = False,
    ) -> Future[IdentifiedPicture]:
        """Look the faces of a picture up in the gallery; other arguments are those of ``Gallery.identify_faces``.

        Args:
            picture: the picture.
            top: number of candidates of each face.
            threshold: cosine similarity from which a face counts as a person; None for that of this service.
            margin: lead of the best candidate over the second that a name needs.
            matches_only: give no candidates below the threshold and no ignored people, and take no threshold below the
                that of this service: the answers then do not list the gallery.

        Raises:
            BusyError: there is too much work.
            GalleryError: there is no gallery.
        """
        gallery = self.require_gallery()

        def work() -> IdentifiedPicture:
            faces = self._embedded(picture)
            states = self._states(picture, faces)
            least = self._threshold if threshold is None else threshold
            if matches_only and threshold is not None:
                least = max(threshold, self._own_threshold()[0])
            live = [face for face, state in zip(faces, states, strict=True) if state in (None, "live")]
            # The others do not take part: a picture of somebody must not take the name from the person beside it.
            answers = gallery.identify_faces([face.embedding for face in live], top=top, threshold=least, margin=margin)
            if matches_only:
                answers = [_without_others(answer) for answer in answers]
            named = iter(answers)
            unnamed = Identification(
                name=None,
                outcome="unknown",
                candidates=(),
                threshold=self._own_threshold()[0] if least is None else least,
                margin=margin,
                reason="the face does not count as live",
            )
            found = tuple(
                IdentifiedPictureFace(
                    face=face.face.report(),
                    answer=next(named) if state in (None, "live") else unnamed,
                    liveness=state,
                )
                for face, state in zip(faces, states, strict=True)
            )
            return IdentifiedPicture(detector=self.pipeline.detector.name, faces=found)

        return self._submit(work)

    def enroll(
        self, name: str, pictures: Sequence[tuple[str, ImageFile]], *, select: Selection = "only"
    ) -> Future[EnrolledPictures]:
        """Add a person's pictures to the gallery: all of them, or none if one shows no face.

        Args:
            name: name of the identity.
            pictures: pictures with their names, for messages.
            select: which face to use where a picture shows several.

        Raises:
            BusyError: there is too much work.
            GalleryError: there is no gallery.
        """
        gallery = self.require_gallery()
        gallery.require_writable()
        return self._submit(lambda: self._enroll(gallery, name, pictures, select), pictures=len(pictures))

    def require_gallery(self) -> Gallery:
        """The gallery.

        Raises:
            GalleryError: there is none.
        """
        if self.gallery is None:
            raise GalleryError("The program runs without a gallery.", hint="start it with one")
        return self.gallery

    def close(self, timeout_s: float) -> None:
        """Refuse what waits, and wait for the running work at most as long."""
        self.queue.close(timeout_s)

    def _submit(self, work: Callable[[], T], *, pictures: int = 1) -> Future[T]:
        return self.queue.submit(work, pictures=pictures, deadline_s=self.limits.picture_deadline_s)

    def _detect(self, picture: ImageFile) -> DetectedPicture:
        detector = self.pipeline.detector
        found = find_in_file(detector, picture).improved(detector)
        width, height = found.size
        faces = tuple(face.report() for face in found.in_full())
        return DetectedPicture(detector=detector.name, width=width, height=height, faces=faces)

    def _embed(self, picture: ImageFile) -> EmbeddedPicture:
        faces = tuple(
            EmbeddedPictureFace(face=face.face.report(), embedding=tuple(face.embedding.tolist()))
            for face in self._embedded(picture)
        )
        return EmbeddedPicture(
            detector=self.pipeline.detector.name, fingerprint=self.pipeline.embedder.fingerprint.digest, faces=faces
        )

    def _verify(self, first: ImageFile, second: ImageFile, threshold: float | None) -> VerifiedPictures:
        value, source = self._own_threshold() if threshold is None else (threshold, "request")
        one, other = (self._one(name, picture, "largest") for name, picture in (("first", first), ("second", second)))
        answer = verify(one, other, threshold=value)
        state, other_state = self._states(first, [one])[0], self._states(second, [other])[0]
        liveness = None if state is None or other_state is None else (state, other_state)
        return VerifiedPictures(
            same=answer.same and liveness in (None, ("live", "live")),
            similarity=answer.similarity,
            threshold=value,
            threshold_source=source,
            faces=(one.face.report(), other.face.report()),
            liveness=liveness,
        )

    def _own_threshold(self) -> tuple[float, str]:
        """The threshold of requests that name none, and where it comes from."""
        if self._threshold is not None:
            return self._threshold, "settings"
        spec, kept = self.pipeline.embedder.spec, None if self.gallery is None else self.gallery.threshold
        return (spec.threshold, spec.threshold_source) if kept is None else (kept.value, kept.source)

    def _enroll(
        self, gallery: Gallery, name: str, pictures: Sequence[tuple[str, ImageFile]], select: Selection
    ) -> EnrolledPictures:
        import numpy as np

        from edge_sphereface.gallery.crops import encode_crop

        faces = [self._one(label, picture, select) for label, picture in pictures]
        states = [self._states(picture, [face])[0] for (_, picture), face in zip(pictures, faces, strict=True)]
        enrollment = gallery.enroll(
            name,
            np.stack([face.embedding for face in faces]),
            crops=[encode_crop(face.crop) for face in faces] if gallery.keep_crops else None,
        )
        checked = tuple(state for state in states if state is not None)
        return EnrolledPictures(enrollment=enrollment, liveness=checked or None)

    def _states(self, picture: ImageFile, faces: Sequence[EmbeddedFace]) -> list[LivenessState | None]:
        """Whether faces, in pixels of the full picture, are live; None where that is not checked."""
        if self._liveness is None:
            return [None] * len(faces)
        image = picture.decode(1)  # reduced, it has lost what the networks look at
        return [found.state for found in self._liveness.check(image, [face.face for face in faces])]

    def _one(self, label: str, picture: ImageFile, select: Selection) -> EmbeddedFace:
        try:
            return self.pipeline.embed_file(picture, select=select)[0]
        except (NoFaceError, SeveralFacesError) as error:
            raise error.about(label) from error

    def _embedded(self, picture: ImageFile) -> list[EmbeddedFace]:
        return self.pipeline.embed_file(picture)


def _without_others(answer: Identification) -> Identification:
    near = tuple(found for found in answer.candidates if found.similarity >= answer.threshold and not found.ignored)
    return replace(answer, candidates=near)
