"""Processes one frame: detect, track, embed selected faces, decide identities, emit events."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.alignment import LANDMARK_TEMPLATE, align_for, alignable
from edge_sphereface.errors import FingerprintError, GalleryError, OutputError, ThresholdError, TrackError
from edge_sphereface.gallery.missing import no_threshold
from edge_sphereface.gallery.uniqueness import stronger_rivals
from edge_sphereface.quality import assess, geometry
from edge_sphereface.stream.recognition.compute_budget import ComputeBudget
from edge_sphereface.stream.recognition.face_search import FaceSearch
from edge_sphereface.stream.recognition.policy import decide_identity, end_doubt, unlike, worth_embedding
from edge_sphereface.stream.recognition.stranger_sightings import StrangerSightings
from edge_sphereface.stream.recognition.track_reports import TrackReports
from edge_sphereface.stream.schedule import Schedule
from edge_sphereface.stream.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.errors import EdgeSphereFaceError
    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.inference.embedder import CropEmbedder
    from edge_sphereface.liveness import Liveness, LivenessChecker
    from edge_sphereface.strangers import StrangerKeeper
    from edge_sphereface.stream.capture.frame import Frame
    from edge_sphereface.stream.events import Event, EventMaker
    from edge_sphereface.stream.settings import StreamSettings
    from edge_sphereface.stream.tracking.track import Standing, Track, TrackState
    from edge_sphereface.types import Face, UInt8Array

_BESIDE_S = 2.0
"""Faces that overlap for so long stand side by side."""
_SURE_LOOK = 0.6
"""Quality from which one embedding is enough to end a doubtful track; below, it takes two in a row."""
_GALLERY_ERRORS = (GalleryError, FingerprintError, OutputError, ThresholdError)
"""Failures of an open gallery that do not end the stream: it is busy, deleted, damaged, rebuilt for another model or
without a threshold, or its disk fails."""
_RETRY_S = 1.0
"""Time until a gallery that failed is searched again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """The result of processing a frame.

    Attributes:
        frame: the frame.
        tracks: the tracks of confirmed faces, as they are in this frame.
        events: what happened in this frame.
        detected: whether the detector ran.
        embedded: number of faces that were embedded.
        work_ms: processing time, in milliseconds.
    """

    frame: Frame
    tracks: tuple[Track, ...]
    events: tuple[Event, ...]
    detected: bool
    embedded: int
    work_ms: float

    @property
    def in_sight(self) -> tuple[Track, ...]:
        """The tracks whose faces are visible in the frame."""
        return tuple(track for track in self.tracks if track.in_sight)


class _DueFace(NamedTuple):
    """A face to embed, with its quality, 0 to 1, and its crop (H, W, 3) uint8 BGR."""

    track: TrackState
    quality: float
    crop: UInt8Array


class FrameProcessor:
    """Processes the frames of one camera, in order, in one thread.

    Args:
        detector: finds faces.
        embedder: the model; None to track faces without recognizing them.
        gallery: the known identities; None as well.
        settings: settings of the stream.
        events: makes the events.
        liveness: checks whether faces are live; those that are not get no name. None to check nothing.
        strangers: keeps tracks that end without a name, and recognizes them again. None to keep none.
        work_clock: gives seconds; work is measured with it.

    Raises:
        ThresholdError: the gallery has no threshold, and none was given.
        ValueError: a gallery without an embedder.
    """

    def __init__(  # noqa: PLR0913 -- the parts that a stream puts together, by name
        self,
        *,
        detector: Detector,
        embedder: CropEmbedder | None,
        gallery: Gallery | None,
        settings: StreamSettings,
        events: EventMaker,
        liveness: LivenessChecker | None = None,
        strangers: StrangerKeeper | None = None,
        work_clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if gallery is not None and embedder is None:
            raise ValueError("Expected an embedder with the gallery, got none: pass the one that made its embeddings.")
        self.gallery, self.embedder = gallery, embedder
        self.gallery_problem = ""
        self._failed_s = float("-inf")
        self._settings = settings
        self._work_clock = work_clock
        self._liveness = liveness
        self._strangers = (
            None if strangers is None else StrangerSightings(strangers, settings.name, settings.recognition)
        )
        self._search = FaceSearch(detector, whole_frame_s=settings.tracking.whole_frame_s)
        self._tracker = Tracker(settings.tracking)
        self._reports = TrackReports(events)
        self._has_ignored = False
        self._schedule = Schedule()
        self.budget = ComputeBudget(
            settings.tracking.budget_ms,
            detect_fps=settings.tracking.detect_fps,
            detect_side=settings.tracking.detect_side,
        )
        self.threshold = self._threshold()

    def step(self, frame: Frame) -> FrameResult:
        """Process the next frame."""
        start = self._work_clock()
        events: list[Event] = []
        self._tracker.follow(frame)
        faces, detect_ms, embed_ms, embedded = None, None, 0.0, 0
        interval_s = self.budget.detect_interval_s
        if self._schedule.due(frame.time_s, interval_s) or self._tracker.expecting:
            begin = self._work_clock()
            expected = [track.face for track in self._tracker.tracks]
            faces = self._search.find(frame, expected, self.budget.detect_side)
            detect_ms = (self._work_clock() - begin) * 1000
            seen = self._tracker.update(frame, faces or (), interval_s=interval_s)
            self._confirm(seen, frame, events)
            if seen and self.embedder is not None and self.gallery is not None:
                begin = self._work_clock()
                embedded = self._recognize(seen, frame, events)
                embed_ms = (self._work_clock() - begin) * 1000
        events += self._retry_gallery(frame)
        for track in self._tracker.drop_lost(frame.time_s):
            events += self._lost(track, frame)
        self._tracker.look(frame)
        work_ms = (self._work_clock() - start) * 1000
        self.budget.account(
            frame.time_s, detect_ms=detect_ms, embed_ms=embed_ms, rest_ms=work_ms - (detect_ms or 0.0) - embed_ms
        )
        return FrameResult(
            frame=frame,
            tracks=tuple(track.snapshot() for track in self._tracker.tracks if track.confirmed),
            events=tuple(events),
            detected=faces is not None,
            embedded=embedded,
            work_ms=work_ms,
        )

    def clear(self, frame: Frame | None) -> list[Event]:
        """End all tracks, as when the source ends.

        Args:
            frame: the last frame; None before the first.

        Returns:
            The events of the faces that are lost.
        """
        self._schedule.restart()
        self._search.restart()
        gone = self._tracker.clear()
        if frame is None:
            return []
        return [event for track in gone for event in self._lost(track, frame)]

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All tracks after the newest frame, including those of faces that are not confirmed yet."""
        return tuple(track.snapshot() for track in self._tracker.tracks)

    def enroll(self, number: int, name: str, frame: Frame) -> tuple[Enrollment, list[Event]]:
        """Enroll a face in sight with the template of its track.

        Args:
            number: number of the track.
            name: name of the identity.
            frame: the newest frame.

        Returns:
            The enrollment, and the events that follow from it.

        Raises:
            TrackError: no such face is in sight, or it was not seen well enough to be embedded yet.
            GalleryError: the gallery refuses it.
        """
        from edge_sphereface.gallery.crops import encode_crop

        if self.gallery is None:
            raise GalleryError("The stream has no gallery.", hint="start it with one")
        track = self._track(number)
        template = track.template
        if template is None or track.crop is None:
            raise TrackError(
                f"The face with the number {number} was not seen well enough yet.",
                hint="it must look at the camera, and be about 50 pixels wide",
            )
        crops = [encode_crop(track.crop)] if self.gallery.keep_crops else None
        enrollment = self.gallery.enroll(name, template, crops=crops)
        return enrollment, self.reconsider(frame)

    def reconsider(self, frame: Frame) -> list[Event]:
        """Identify all tracks again, after a change of the gallery; returns the events that follow."""
        events: list[Event] = []
        try:
            self.threshold = self._threshold()
        except _GALLERY_ERRORS as error:
            self._gallery_failed(error, frame)
            return events
        self.gallery_problem = ""
        if self._strangers is not None:
            self._strangers.reconsider()
        for track in self._tracker.tracks:
            if track.embeddings:
                self._decide(track, frame, events)
        return events

    def _track(self, number: int) -> TrackState:
        for track in self._tracker.tracks:
            if track.number == number and track.confirmed:
                return track
        raise TrackError(f"No face in sight has the number {number}.", hint="it has left, or met another face")

    # ---- the parts of a step --------------------------------------------------------------------------------------

    def _confirm(self, seen: list[TrackState], frame: Frame, events: list[Event]) -> None:
        for track in seen:
            if not track.confirmed and track.detections >= self._settings.tracking.confirm:
                track.confirmed = True
                self._look_for_ignored(frame)
            if track.confirmed and not track.reported:
                events += self._reports.unless_ignored(track, frame, self.threshold, may_be=self._has_ignored)

    def _look_for_ignored(self, frame: Frame) -> None:
        """Find out whether anybody is ignored, which another process may have changed."""
        if self.gallery is not None and self.embedder is not None:
            try:
                self._has_ignored = self.gallery.count_ignored() > 0
            except _GALLERY_ERRORS as error:
                self._gallery_failed(error, frame)

    def _recognize(self, seen: list[TrackState], frame: Frame, events: list[Event]) -> int:
        """Embed the faces that are worth it, in one batch; returns their number."""
        due = [found for track in seen if (found := self._worth(track, frame)) is not None]
        if not due or self.embedder is None:
            return 0
        crops = self._improved_crops(due, frame)
        live = self._check_liveness(due, frame)
        for (track, quality, _), crop, embedding, check in zip(
            due, crops, self.embedder.embed(crops), live, strict=True
        ):
            template = track.template
            if template is not None and unlike(float(template @ embedding), self.threshold):
                sure = track.doubtful and quality >= _SURE_LOOK
                if not (sure or track.looked_unlike):  # the next embedding decides
                    track.doubt()
                    track.looked_unlike, track.embedded_s = True, frame.time_s
                    continue
                events += self._lost(track, frame)
                track = self._tracker.renew(track, frame.time_s)  # noqa: PLW2901 -- the new track of this face
                self._confirm([track], frame, events)
            track.looked_unlike = False
            end_doubt(track, frame.time_s)
            if track.doubtful and track.standing in ("identified", "ignored"):
                # It may be another face: the template stays
                track.embedded_s = frame.time_s
                continue
            track.add(embedding, crop.copy(), quality, frame.time_s)
            if check is not None and self._liveness is not None:
                track.judge_liveness(check, self._liveness.threshold)
            self._decide(track, frame, events)
        return len(due)

    def _check_liveness(self, due: list[_DueFace], frame: Frame) -> Sequence[Liveness | None]:
        if self._liveness is None:
            return [None] * len(due)
        return self._liveness.check(frame.image, [track.face for track, _, _ in due])

    def _improved_crops(self, due: list[_DueFace], frame: Frame) -> UInt8Array:
        """Crops (N, H, W, 3) uint8 BGR of faces by improved landmarks, as far as those exist and can be aligned."""
        crops = np.stack([crop for _, _, crop in due])
        faces = [track.face for track, _, _ in due]
        better = self._search.improve(frame.image, faces)
        changed = [
            index
            for index, (new, old) in enumerate(zip(better, faces, strict=True))
            if new is not old and self._is_alignable(new)
        ]
        if changed:
            crops[changed] = self._crops(frame.image, [better[index] for index in changed])
        return crops

    def _is_alignable(self, face: Face) -> bool:
        template = LANDMARK_TEMPLATE if self.embedder is None else self.embedder.spec.landmark_template
        return bool(alignable(face.landmarks[None], template)[0])

    def _worth(self, track: TrackState, frame: Frame) -> _DueFace | None:
        """A face that should be embedded now; None for another."""
        if not track.confirmed or (self._tracker.meeting(track) and not _stays_beside(track, frame.time_s)):
            return None
        size, pose = geometry(track.face.landmarks)
        if not self._is_worth(track, size * pose, frame):  # sharpness can only lower the quality
            return None
        if not self._is_alignable(track.face):  # such landmarks cannot be aligned
            return None
        crop = self._crops(frame.image, [track.face])[0]
        quality = assess(track.face.landmarks, crop).value
        return _DueFace(track, quality, crop) if self._is_worth(track, quality, frame) else None

    def _is_worth(self, track: TrackState, quality: float, frame: Frame) -> bool:
        return worth_embedding(
            track, quality, frame.time_s, self._settings.recognition, slower=self.budget.level.slower
        )

    def _decide(self, track: TrackState, frame: Frame, events: list[Event]) -> None:
        template = track.template
        if self.gallery is None or template is None:
            return
        try:
            found = self.gallery.search(template, top=5)
        except _GALLERY_ERRORS as error:
            self._gallery_failed(error, frame)
            return
        before = (track.standing, track.name)
        track.candidates = tuple(found[0]) if found else ()
        track.standing, track.name = self._identify(track)
        for other in self._rivals(track, held=before[1] == track.name):
            was = before if other is track else (other.standing, other.name)
            other.standing, other.name = "unknown", None
            if other is not track:
                events += self._decided(other, was, frame)
        if (track.standing, track.name) != before and track.standing != "undecided":
            events += self._decided(track, before, frame)

    def _identify(self, track: TrackState) -> tuple[Standing, str | None]:
        standing, name = decide_identity(track, track.candidates, self.threshold, self._settings.recognition)
        if standing in ("identified", "ignored") and self._liveness is not None and track.liveness != "live":
            return "unknown", None
        return standing, name

    def _rivals(self, track: TrackState, *, held: bool) -> list[TrackState]:
        """Tracks in this frame that lose their name to a more similar one: each identity has one face in a frame.

        Args:
            track: the track that was just decided.
            held: whether it had its name before. To take a name from another track it must lead by the hysteresis.
        """
        named = [other for other in self._tracker.tracks if other.name is not None and not other.misses]
        lead = self._settings.recognition.hysteresis
        similarities = [(other.similarity or 0.0) + (lead if held or other is not track else 0.0) for other in named]
        return [named[index] for index in stronger_rivals([other.name for other in named], similarities)]

    def _decided(self, track: TrackState, before: tuple[Standing, str | None], frame: Frame) -> list[Event]:
        if self._strangers is not None:
            self._strangers.recognize(track)
        return self._reports.decided(track, before, frame)

    def _lost(self, track: TrackState, frame: Frame) -> list[Event]:
        if self._strangers is not None:
            self._strangers.end(track, frame, self.threshold)
        return self._reports.lost(track, frame, self.threshold)

    def _gallery_failed(self, error: EdgeSphereFaceError, frame: Frame) -> None:
        self.gallery_problem, self._failed_s = error.message, frame.time_s

    def _retry_gallery(self, frame: Frame) -> list[Event]:
        """After a failure of the gallery, identify all tracks again once it works."""
        if not self.gallery_problem or 0 <= frame.time_s - self._failed_s < _RETRY_S:
            return []
        return self.reconsider(frame)

    def _crops(self, image: UInt8Array, faces: list[Face]) -> UInt8Array:
        if self.embedder is None:
            raise ValueError("Nothing is aligned without a model.")
        return align_for(self.embedder.spec, image, np.stack([face.landmarks for face in faces]))

    def _threshold(self) -> float:
        if self.gallery is None:
            return 1.0
        if self._settings.recognition.threshold is not None:
            return self._settings.recognition.threshold
        own = self.gallery.threshold
        if own is None:
            raise no_threshold(self.gallery.location)
        return own.value


def _stays_beside(track: TrackState, now_s: float) -> bool:
    """Whether a face stands beside another one, rather than passing it, and was never decided.

    Each of two faces side by side has landmarks of its own, and so a crop of its own. Of two that pass each other the
    detector may find one, or landmarks of both.
    """
    return track.standing == "undecided" and now_s - track.met_s >= _BESIDE_S
