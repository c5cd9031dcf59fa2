"""Settings of a stream."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sphereface.setting import Range, VisibleText, check, nested, setting
from edge_sphereface.stream.capture.factory import SourceOptions

_ABOVE_ZERO = Range(least=0, is_open=True)
_FROM_ZERO = Range(least=0)
_MOST_LETTERS = 100
"""Of a stream's name in a file name, which takes 255 bytes in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingSettings:
    """How faces are detected and tracked.

    Attributes:
        detect_fps: maximum number of detections per second; landmarks are tracked by optical flow in between.
        detect_side: longer side of the image for detection, in pixels.
        whole_frame_s: seconds between detections in the whole frame; in between, faces are detected around tracked
            faces and where the image changed. 0 to detect in the whole frame each time.
        confirm: number of detections that confirm a face; a single one may be a false detection.
        lost_after_s: seconds without a detection after which a face is dropped.
        min_face_px: smaller faces are ignored, in pixels of the shorter side of the box.
        max_faces: maximum number of tracked faces; the largest are kept.
        budget_ms: average processing time per frame in milliseconds, kept by detecting less often and in smaller
            images, then by embedding less often; None for no limit.
    """

    budget_ms: float | None = setting(
        None,
        permitted=_ABOVE_ZERO,
        metavar="MS",
        help="average processing time per frame; kept by detecting less often and in smaller images, then by embedding "
        "less often",
    )
    detect_fps: float = setting(
        8.0,
        permitted=Range(least=0, is_open=True, most=1000),
        metavar="N",
        help="maximum number of detections per second",
    )
    detect_side: int = setting(
        640,
        permitted=Range(least=32, most=8192, is_whole=True),
        metavar="PX",
        help="longer side of the image for detection",
    )
    whole_frame_s: float = setting(
        1.0,
        permitted=_FROM_ZERO,
        metavar="S",
        help="seconds between detections in the whole frame; in between only around tracked faces and where the image "
        "changed",
    )
    confirm: int = setting(2, permitted=Range(least=1, most=100, is_whole=True))
    min_face_px: float = setting(20.0, permitted=_FROM_ZERO, metavar="PX", help="ignore smaller faces")
    max_faces: int = setting(
        32,
        permitted=Range(least=1, most=1000, is_whole=True),
        metavar="N",
        help="track at most the N largest faces",
    )
    lost_after_s: float = setting(
        1.0, permitted=_ABOVE_ZERO, metavar="S", help="drop a face that was not detected for S seconds"
    )

    def __post_init__(self) -> None:
        """Refuse values that are not permitted."""
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecognitionSettings:
    """When a face is embedded, and what is required to identify it.

    Attributes:
        threshold: minimum cosine similarity of the best candidate; None for the gallery's threshold.
        margin: minimum lead of the best identity over the second, as a difference of cosines.
        hysteresis: margin below the threshold before a name is dropped, and the lead that another name needs in order
            to replace it; a difference of cosines.
        min_quality: minimum quality of a face that is embedded, 0 to 1.
        enough_evidence: sum of the qualities of a track's embeddings from which a name is given.
        enough_doubt: the same sum from which a face is called unknown.
        better: a decided face is embedded again when its quality is this many times better.
        retry_s: seconds between embeddings of an undecided face.
        refresh_s: seconds between embeddings of an identified face; 0 for never.
        refresh_unknown_s: seconds between embeddings of an unknown face; 0 for never.
    """

    threshold: float | None = setting(
        None,
        permitted=Range(least=-1, most=1, noun="a cosine"),
        metavar="COSINE",
        help="similarity required for a name (default: the gallery's threshold)",
    )
    margin: float = setting(
        0.0,
        permitted=Range(least=0, most=2),
        metavar="COSINE",
        help="minimum lead of the best identity over the second",
    )
    hysteresis: float = setting(
        0.05,
        permitted=Range(least=0, most=2),
        metavar="COSINE",
        help="margin below the threshold before a name is dropped",
    )
    min_quality: float = setting(0.1, permitted=Range(least=0, most=1))
    enough_evidence: float = setting(0.6, permitted=_FROM_ZERO)
    enough_doubt: float = setting(1.5, permitted=_FROM_ZERO)
    better: float = setting(1.25, permitted=Range(least=1))
    retry_s: float = setting(0.3, permitted=_FROM_ZERO)
    refresh_s: float = setting(
        10.0, permitted=_FROM_ZERO, metavar="S", help="seconds between embeddings of an identified face"
    )
    refresh_unknown_s: float = setting(0.5, permitted=_FROM_ZERO)

    def __post_init__(self) -> None:
        """Refuse values that are not permitted."""
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """Everything about a stream except its source, model and gallery.

    Attributes:
        name: of the stream, used in its events.
        fps: maximum number of frames to process per second; None for all.
        pace: give the frames of a recording at its own rate, as a camera would.
        reopen: reopen a live source when it ends.
        statistics_s: seconds between statistics events; 0 for only the last one.
        source: how the source is opened.
        tracking: how faces are detected and tracked.
        recognition: when they are embedded and identified.
    """

    name: str = setting(
        "camera", permitted=VisibleText(), metavar="TEXT", group="source", help="name of the stream in its events"
    )
    source: SourceOptions = nested(SourceOptions, group="source")
    fps: float | None = setting(
        None,
        permitted=_ABOVE_ZERO,
        metavar="N",
        group="source",
        help="maximum number of frames to process per second",
    )
    pace: bool = setting(
        True,
        name="fast",
        read=None,
        group="source",
        help="process every frame of a recording, as fast as possible",
    )
    reopen: bool = setting(
        True,
        name="once",
        read=None,
        group="source",
        help="exit when a camera or stream ends instead of reopening it; recordings and folders always end",
    )
    tracking: TrackingSettings = nested(TrackingSettings, group="work")
    recognition: RecognitionSettings = nested(RecognitionSettings, group="recognition")
    statistics_s: float = setting(
        10.0,
        permitted=_FROM_ZERO,
        metavar="S",
        group="events",
        help="seconds between statistics events; 0: only at the end",
    )

    @property
    def file_name(self) -> str:
        """The name, as it can stand in names of files and topics."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name[:_MOST_LETTERS])

    def __post_init__(self) -> None:
        """Refuse values that are not permitted."""
        check(self)
