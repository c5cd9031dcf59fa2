"""Settings of a stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_sphereface.stream.capture.factory import SourceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """How faces are found and followed.

    Attributes:
        detect_fps: detections a second, at most; faces are followed by their landmarks' motion in between.
        detect_side: pixels that the longer side of a frame is shrunk to for detection.
        confirm: detections that make a face; one alone may be a mistake of the detector.
        lost_after_s: without a sign, a face is gone.
        min_face_px: smaller faces (by the shorter side of their box) are left out.
        max_faces: that are followed at a time, the largest.
        budget_ms: work per frame, on average, that is kept to by detecting more rarely, then in smaller pictures, then
            by embedding more rarely; None for no limit.
    """

    detect_fps: float = 8.0
    detect_side: int = 640
    confirm: int = 2
    lost_after_s: float = 1.0
    min_face_px: float = 20.0
    max_faces: int = 32
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _require(0 < self.detect_fps <= 1000, "detect_fps above 0", self.detect_fps)
        _require(32 <= self.detect_side <= 8192, "detect_side of 32 to 8192 pixels", self.detect_side)
        _require(1 <= self.confirm <= 100, "confirm of 1 to 100", self.confirm)
        _require(self.lost_after_s > 0, "lost_after_s above 0", self.lost_after_s)
        _require(1 <= self.max_faces <= 1000, "max_faces of 1 to 1000", self.max_faces)
        _require(self.budget_ms is None or self.budget_ms > 0, "budget_ms above 0", self.budget_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognitionSettings:
    """When a face is embedded, and what it takes to say who it is.

    Attributes:
        threshold: cosine that the best must reach; None for the gallery's own.
        margin: by which it must lead the second.
        hysteresis: by which the similarity may fall below the threshold before a name is taken back, and by which
            another name must lead the one that was given.
        min_quality: of a face that is embedded, 0 to 1.
        enough_evidence: sum of the qualities of a track's embeddings from which a name is given.
        enough_doubt: likewise, from which a face is called unknown.
        better: a decided face is embedded again when it is seen this many times better.
        retry_s: between embeddings of a face that is not decided.
        refresh_s: between embeddings of a face that was identified; 0 for never.
        refresh_unknown_s: of one that is unknown; 0 for never.
    """

    threshold: float | None = None
    margin: float = 0.0
    hysteresis: float = 0.05
    min_quality: float = 0.1
    enough_evidence: float = 0.6
    enough_doubt: float = 1.5
    better: float = 1.25
    retry_s: float = 0.3
    refresh_s: float = 10.0
    refresh_unknown_s: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _require(self.threshold is None or -1 <= self.threshold <= 1, "a threshold of -1 to 1", self.threshold)
        _require(0 <= self.margin <= 2, "a margin of 0 to 2", self.margin)
        _require(0 <= self.hysteresis <= 2, "a hysteresis of 0 to 2", self.hysteresis)
        _require(0 <= self.min_quality <= 1, "min_quality of 0 to 1", self.min_quality)
        _require(self.better >= 1, "better of at least 1", self.better)
        for name in ("enough_evidence", "enough_doubt", "retry_s", "refresh_s", "refresh_unknown_s"):
            _require(getattr(self, name) >= 0, f"{name} of at least 0", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Everything about a stream but its source, model and gallery.

    Attributes:
        name: of the stream, in its events.
        fps: frames a second to look at, at most; None for all.
        pace: give the frames of a recording at its own rate, as a camera would.
        reopen: open a live source again when it ends.
        statistics_s: between statistics; 0 for none but the last.
        source: how it is opened.
        tracking: how faces are found and followed.
        recognition: when they are embedded and named.
    """

    name: str = "camera"
    fps: float | None = None
    pace: bool = True
    reopen: bool = True
    statistics_s: float = 10.0
    source: SourceOptions = field(default_factory=SourceOptions)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    recognition: RecognitionSettings = field(default_factory=RecognitionSettings)

    @property
    def file_name(self) -> str:
        """The name, as it can stand in names of files and topics."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _require(bool(self.name.strip()) and self.name.isprintable(), "a name of visible characters", self.name)
        _require(self.fps is None or self.fps > 0, "fps above 0", self.fps)
        _require(self.statistics_s >= 0, "statistics_s of at least 0", self.statistics_s)


def _require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ValueError(f"Expected {expected}, got {got!r}.")
