"""``edge-sphereface calibrate-threshold``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from edge_sphereface.cli.arguments import (
    detector_options,
    gallery_options,
    json_option,
    model_option,
    named_gallery,
    open_embedder,
    open_named_detector,
    open_named_gallery,
    open_pipeline,
    positive,
    rate,
)
from edge_sphereface.cli.recordings import frames_of, is_video
from edge_sphereface.cli.runner import Outcome, Progress, UsageError

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.labeled_photos import EmbeddedPhotos, SkippedPhoto
    from edge_sphereface.evaluation.threshold import Calibration, TrackCalibration
    from edge_sphereface.gallery import Gallery, Threshold
    from edge_sphereface.inference.embedder import Embedder


_PAIRS_RATE, _TRACKS_RATE = 0.001, 0.01


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "calibrate-threshold",
        parents=[json_option(), gallery_options(required=False), model_option(), detector_options()],
        help="find the threshold for a false accept rate",
        description="Find from labeled photographs the similarity that at most a wanted share of pairs of different "
        "people reaches. Refuses a rate that the photographs cannot support. With --gallery the threshold is kept "
        "there, one for each precision, and the two enrolled people most alike are named.",
        epilog="example: edge-sphereface calibrate-threshold --model model.onnx --far 0.001 --gallery people.db photos",
    )
    parser.add_argument("folder", nargs="?", type=Path, help="photographs: FOLDER/PERSON/photo.jpg")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="FOLDER",
        help="for watch, instead of photographs: videos of strangers, or a sub-folder of pictures for each sequence; "
        "RATE is the share of strangers that are ever given a name while they are followed",
    )
    parser.add_argument(
        "--folder-fps", type=positive, default=25, metavar="N", help="frame rate of such images (default: 25)"
    )
    parser.add_argument(
        "--far", type=rate, metavar="RATE", help="false accept rate (default: 0.001; with --tracks 0.01)"
    )
    parser.add_argument(
        "--select", choices=("largest", "center", "only"), default="largest", help="which face (default: largest)"
    )
    parser.set_defaults(run=calibrate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosestPair:
    """The two enrolled identities whose templates are most alike.

    Attributes:
        names: names of the two identities.
        similarity: cosine of their templates.
        confused: whether the similarity reaches the threshold: they will be taken for one another.
    """

    names: tuple[str, str]
    similarity: float
    confused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Strangers:
    """How the gallery answers people who are not enrolled.

    Attributes:
        photographs: number of photographs of people who are not enrolled.
        people: number of people who are not enrolled.
        false_alarm_rate: share of these photographs that would be taken for somebody who is enrolled. It grows with the
            gallery.
    """

    photographs: int
    people: int
    false_alarm_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdReport:
    """What ``calibrate-threshold`` found in photographs.

    Attributes:
        precision: precision of the model that the threshold holds for: ``float32``, ``float16`` or ``int8``.
        fingerprint: digest of what makes the embeddings that it holds for.
        calibration: the threshold and what it rests on.
        gallery: where the threshold is kept; None without a gallery.
        closest: the two enrolled identities most alike; None without a gallery, or with fewer than two identities.
        strangers: how the gallery answers people who are not enrolled; None without a gallery, where everybody is
            enrolled, or where the gallery is of another precision.
        skipped: photographs that could not be used.
    """

    precision: str
    fingerprint: str
    calibration: Calibration
    gallery: str | None
    closest: ClosestPair | None
    strangers: Strangers | None
    skipped: tuple[SkippedPhoto, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackThresholdReport:
    """What ``calibrate-threshold --tracks`` found in sequences of strangers.

    Attributes:
        precision: precision of the model that the threshold holds for: ``float32``, ``float16`` or ``int8``.
        fingerprint: digest of what makes the embeddings that it holds for.
        track_calibration: the threshold and what it rests on.
        gallery: where the threshold is kept.
    """

    precision: str
    fingerprint: str
    track_calibration: TrackCalibration
    gallery: str


def calibrate(arguments: argparse.Namespace) -> Outcome:
    """The threshold, its interval, and what it would mean for the gallery.

    Raises:
        UsageError: neither photographs nor sequences were named, or both.
        ThresholdError: the photographs or sequences cannot support the rate.
        FingerprintError: the gallery is of another checkpoint or preprocessing.
    """
    from edge_sphereface.evaluation.labeled_photos import embed_labeled_photos
    from edge_sphereface.evaluation.threshold import calibrate as calibrate_embeddings

    if (arguments.folder is None) == (arguments.tracks is None):
        raise UsageError(
            "Expected a folder of photographs, or --tracks FOLDER.", hint="edge-sphereface calibrate-threshold --help"
        )
    if arguments.tracks is not None:
        return _calibrate_tracks(arguments)
    pipeline = open_pipeline(arguments)
    embedder = pipeline.embedder
    gallery = None if named_gallery(arguments) is None else open_named_gallery(arguments, None)
    try:
        if gallery is not None:
            gallery.require_writable()
            embedder.fingerprint.require_kin(gallery.fingerprint, f"The gallery {gallery.location}")
            gallery.probes_checked = gallery.fingerprint == embedder.fingerprint
        found = embed_labeled_photos(
            pipeline, arguments.folder, select=arguments.select, progress=Progress("embedding", "photographs")
        )
        calibration = calibrate_embeddings(found.embeddings, found.people, arguments.far or _PAIRS_RATE)
        threshold = _threshold(calibration, embedder.fingerprint.precision, embedder.fingerprint.digest)
        closest = strangers = None
        if gallery is not None:
            gallery.set_threshold(threshold)
            closest = _closest(gallery, calibration)
            strangers = _strangers(gallery, found, threshold)
    finally:
        if gallery is not None:
            gallery.close()
    report = ThresholdReport(
        precision=threshold.precision,
        fingerprint=threshold.fingerprint,
        calibration=calibration,
        gallery=None if gallery is None else gallery.location,
        closest=closest,
        strangers=strangers,
        skipped=tuple(found.skipped),
    )
    return Outcome(report, "\n".join(_lines(report)))


def _calibrate_tracks(arguments: argparse.Namespace) -> Outcome:
    from edge_sphereface.evaluation.threshold import calibrate_tracks
    from edge_sphereface.gallery import Threshold
    from edge_sphereface.gallery.records import now

    embedder, detector = open_embedder(arguments), open_named_detector(arguments)
    with open_named_gallery(arguments, embedder) as gallery:
        gallery.require_writable()
        scores = _track_scores(arguments, embedder, detector, gallery)
        found = calibrate_tracks(scores, arguments.far or _TRACKS_RATE)
        threshold = Threshold(
            value=found.threshold,
            precision=embedder.fingerprint.precision,
            fingerprint=embedder.fingerprint.digest,
            source=f"calibrated for {found.far:g} of strangers ever named by watch, on {found.tracks} tracks in "
            f"{found.sequences} sequences, {now()[:10]}",
            far=found.far,
            low=found.low,
            high=found.high,
            tracks=True,
        )
        gallery.set_threshold(threshold)
        location = gallery.location
    report = TrackThresholdReport(
        precision=threshold.precision, fingerprint=threshold.fingerprint, track_calibration=found, gallery=location
    )
    return Outcome(report, "\n".join(_track_lines(report)))


def _track_scores(
    arguments: argparse.Namespace, embedder: Embedder, detector: Detector, gallery: Gallery
) -> list[list[float]]:
    from edge_sphereface.errors import SourceError
    from edge_sphereface.stream import RecognitionSettings, StreamSettings
    from edge_sphereface.stream.capture.factory import SourceOptions, make_source
    from edge_sphereface.stream.stranger_tracks import track_scores

    paths = sorted(arguments.tracks.iterdir()) if arguments.tracks.is_dir() else []
    paths = [path for path in paths if path.is_dir() or is_video(path)]
    if not paths:
        raise SourceError(
            f"There are no videos and no folders of pictures in {arguments.tracks}.",
            hint="give a sequence for each stranger",
        )
    own = gallery.threshold
    recognition = RecognitionSettings(threshold=embedder.spec.threshold if own is None else own.value)
    show, scores = Progress("following", "sequences"), []
    for number, path in enumerate(paths, start=1):
        source = make_source(str(path), SourceOptions(folder_fps=arguments.folder_fps))
        scores.append(
            track_scores(
                frames_of(source),
                detector=detector,
                embedder=embedder,
                gallery=gallery,
                settings=StreamSettings(recognition=recognition),
            )
        )
        show(number, len(paths))
    return scores


def _threshold(calibration: Calibration, precision: str, fingerprint: str) -> Threshold:
    from edge_sphereface.gallery import Threshold
    from edge_sphereface.gallery.records import now

    return Threshold(
        value=calibration.threshold,
        precision=precision,
        fingerprint=fingerprint,
        source=f"calibrated for FAR {calibration.far:g} on {calibration.photographs} photographs of "
        f"{calibration.people} people, {now()[:10]}",
        far=calibration.far,
        low=calibration.low,
        high=calibration.high,
        tar=calibration.tar,
    )


def _closest(gallery: Gallery, calibration: Calibration) -> ClosestPair | None:
    pair = gallery.closest_pair(progress=Progress("comparing", "identities"))
    if pair is None:
        return None
    first, second, similarity = pair
    return ClosestPair(names=(first, second), similarity=similarity, confused=similarity >= calibration.threshold)


def _strangers(gallery: Gallery, found: EmbeddedPhotos, threshold: Threshold) -> Strangers | None:
    """How often somebody who is not enrolled would be taken for somebody who is: it grows with the gallery."""
    if gallery.fingerprint.digest != threshold.fingerprint or not len(gallery):
        return None
    enrolled = {identity.name for identity in gallery.identities()}
    others = [number for number, name in enumerate(found.people) if normalize("NFC", name) not in enrolled]
    if not others:
        return None
    best = [candidates[0] for candidates in gallery.search(found.embeddings[others], top=1)]
    return Strangers(
        photographs=len(others),
        people=len({found.people[number] for number in others}),
        false_alarm_rate=sum(candidate.similarity >= threshold.value for candidate in best) / len(best),
    )


def _track_lines(report: TrackThresholdReport) -> list[str]:
    found = report.track_calibration
    return [
        f"threshold  {found.threshold:.4f} ({found.low:.4f} to {found.high:.4f}, 95 %), {report.precision}",
        f"reached by {100 * found.measured_far:.2f} % of strangers while watch follows them",
        f"rests on   {found.tracks} tracks in {found.sequences} sequences",
        f"kept in    {report.gallery}; identify is stricter with it than with one for photographs",
    ]


def _lines(report: ThresholdReport) -> list[str]:
    calibration = report.calibration
    lines = [
        (
            f"threshold  {calibration.threshold:.4f} ({calibration.low:.4f} to {calibration.high:.4f}, 95 %) for FAR "
            f"{calibration.far:g}, {report.precision}"
        ),
        (
            f"rests on   {calibration.photographs} photographs of {calibration.people} people: "
            f"{calibration.impostor_pairs} impostor and {calibration.genuine_pairs} genuine pairs, "
            f"{len(report.skipped)} photographs skipped"
        ),
    ]
    if calibration.tar is not None:
        lines.append(f"accepts    {100 * calibration.tar:.2f} % of genuine pairs of single photographs")
    if report.gallery is not None:
        lines.append(f"kept in    {report.gallery}")
    strangers = report.strangers
    if strangers is not None:
        lines.append(
            f"strangers  {100 * strangers.false_alarm_rate:.1f} % of {strangers.photographs} photographs of "
            f"{strangers.people} people who are not enrolled would be taken for somebody who is"
        )
    closest = report.closest
    if closest is not None:
        lines.append(
            f"closest    {closest.names[0]} and {closest.names[1]}: {closest.similarity:.4f}"
            + (", WHICH REACHES THE THRESHOLD: they will be confused" if closest.confused else "")
        )
    return lines
