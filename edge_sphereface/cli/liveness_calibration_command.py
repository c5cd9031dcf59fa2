"""The command ``calibrate-liveness``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from edge_sphereface.cli.arguments import (
    detector_options,
    json_option,
    open_named_detector,
    rate,
    session_config,
    session_options,
)
from edge_sphereface.cli.recordings import frames_of, is_video
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.detection import Detector
    from edge_sphereface.liveness import LivenessCalibration, LivenessChecker
    from edge_sphereface.liveness.calibration import ErrorRate
    from edge_sphereface.types import UInt8Array

_APCER, _BPCER = 0.1, 0.2
_EVERY_S = 0.2
"""Between two checks of a video, in seconds of its time."""
_MOST_CHECKS = 50


def add_command(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "calibrate-liveness",
        parents=[json_option(), session_options(), detector_options()],
        help="measure the errors of liveness models on your camera, and store a threshold beside the model",
        description="Check clips of live people and of attacks (prints, screens), both recorded by your camera, and "
        "find the threshold with the fewest errors that at most a wanted share of the attacks reaches. A clip is a "
        "video, a photograph that is named by itself, or the photographs of one folder; of a folder, each video and "
        "each folder in it is a clip. The shares count clips, not frames. Clips that cannot tell are refused: too few, "
        "without a face, one clip named twice, or live faces and attacks that score alike. A threshold for these "
        "attacks says nothing about others.",
        epilog="example: edge-sphereface calibrate-liveness minifasnet-v2.onnx --live clips/live --attack clips/prints "
        "clips/screens",
    )
    parser.add_argument(
        "model", nargs="+", type=Path, help="liveness model; the probabilities of several are averaged, as in use"
    )
    for side, what in (("live", "live people"), ("attack", "prints, screens and masks")):
        parser.add_argument(
            f"--{side}",
            nargs="+",
            action="extend",
            type=Path,
            required=True,
            metavar="PATH",
            help=f"clips of {what}: videos, photographs or folders of them",
        )
    parser.add_argument(
        "--apcer",
        type=rate,
        default=_APCER,
        metavar="RATE",
        help=f"largest share of attack clips that may count as live (default: {_APCER}; needs 3 / RATE clips)",
    )
    parser.add_argument(
        "--bpcer",
        type=rate,
        default=_BPCER,
        metavar="RATE",
        help=f"largest share of live clips that may not count as live (default: {_BPCER}; needs 3 / RATE clips)",
    )
    parser.set_defaults(run=calibrate)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedClip:
    """A clip.

    Attributes:
        path: path of the video, of the photograph, or of the folder of photographs.
        side: ``live`` or ``attack``.
        checks: number of faces that were checked, at most one of each picture; 0 if there was none of 32 pixels.
        score: highest threshold at which it would count as live at some time, 0 to 1; None without a check.
    """

    path: Path
    side: Literal["live", "attack"]
    checks: int
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessCalibrationReport:
    """What ``calibrate-liveness`` found.

    Attributes:
        calibration: the threshold, and the clips behind it.
        stored: path of the file that holds it.
        clips: every clip, those without a face too.
    """

    calibration: LivenessCalibration = field(metadata=INLINE)
    stored: Path
    clips: tuple[CheckedClip, ...]


class Clip(NamedTuple):
    """Files of one clip: a video, or photographs in order; ``path`` names it."""

    path: Path
    files: tuple[Path, ...]


def calibrate(arguments: argparse.Namespace) -> Outcome:
    """Calibrate the threshold.

    Raises:
        ThresholdError: the clips cannot support the rates, or the models do not tell them apart.
        SourceError: there is no clip, or a video cannot be read.
        ImageError: a photograph cannot be read.
        ModelError: a file is no liveness model.
        OutputError: the threshold cannot be stored.
    """
    from edge_sphereface.evaluation.liveness import calibrate_liveness
    from edge_sphereface.gallery.records import now
    from edge_sphereface.liveness import LivenessCalibration, LivenessChecker
    from edge_sphereface.liveness.calibration import digests_of, store_calibration

    checker = LivenessChecker(arguments.model, threshold=0.0, session=session_config(arguments))
    found = {"live": clips_of(arguments.live), "attack": clips_of(arguments.attack)}
    _refuse_repetition([*found["live"], *found["attack"]])
    detector = open_named_detector(arguments)
    show, total = Progress("checking", "clips"), sum(map(len, found.values()))
    checked: list[CheckedClip] = []
    for side, clips in found.items():
        for clip in clips:
            checked.append(_check(clip, "live" if side == "live" else "attack", checker, detector))
            show(len(checked), total)
    scores = {side: [clip.score for clip in checked if clip.side == side and clip.score is not None] for side in found}
    errors = calibrate_liveness(scores["live"], scores["attack"], apcer=arguments.apcer, bpcer=arguments.bpcer)
    calibration = LivenessCalibration(
        models=digests_of(arguments.model),
        threshold=errors.threshold,
        apcer=errors.apcer,
        bpcer=errors.bpcer,
        equal_error=errors.equal_error,
        attack_clips=len(scores["attack"]),
        live_clips=len(scores["live"]),
        checks=sum(clip.checks for clip in checked),
        detector=detector.name,
        made_at=now(),
    )
    stored = store_calibration(calibration, arguments.model)
    report = LivenessCalibrationReport(calibration=calibration, stored=stored, clips=tuple(checked))
    return Outcome(report, "\n".join(_lines(report)))


def clips_of(paths: Sequence[Path]) -> list[Clip]:
    """The clips that paths name, in order.

    Raises:
        SourceError: a path names no clip.
        ImageError: a folder cannot be listed.
    """
    from edge_sphereface.errors import SourceError
    from edge_sphereface.image import find_images

    clips: list[Clip] = []
    for path in paths:
        if not path.is_dir():
            clips.append(Clip(path, (path,)))
            continue
        pictures: dict[Path, list[Path]] = {}
        for picture in find_images(path):
            pictures.setdefault(picture.parent, []).append(picture)
        inside = [Clip(folder, tuple(files)) for folder, files in pictures.items()]
        inside += [Clip(video, (video,)) for video in path.rglob("*") if is_video(video) and video.is_file()]
        if not inside:
            raise SourceError(
                f"There are no videos and no photographs in {path}.", hint="record clips with your camera"
            )
        clips += sorted(inside)
    return clips


def _refuse_repetition(clips: Sequence[Clip]) -> None:
    """Refuse a file that belongs to two clips: they would not be independent, or it cannot be live and an attack."""
    from edge_sphereface.errors import SourceError, ThresholdError
    from edge_sphereface.storage.files import sha256_of

    seen: dict[str, Path] = {}
    for clip in clips:
        for file in clip.files:
            try:
                digest = sha256_of(file)
            except OSError as error:
                raise SourceError(
                    f"Cannot read the clip {file}: {error.strerror or error}.", hint="name videos or photographs"
                ) from error
            other = seen.setdefault(digest, file)
            if other is not file:
                raise ThresholdError(
                    f"Expected different clips, got the same content in {other} and {file}.",
                    hint="name each clip once, as live or as an attack",
                )


def _check(clip: Clip, side: Literal["live", "attack"], checker: LivenessChecker, detector: Detector) -> CheckedClip:
    from edge_sphereface.evaluation.liveness import clip_score
    from edge_sphereface.liveness.result import CHECKS_AVERAGED

    scores: list[float] = []
    for image in _pictures(clip):
        faces = detector.detect(image)
        if not faces:
            continue
        score = checker.check(image, [max(faces, key=lambda face: face.area)])[0].score
        if score is not None:
            scores.append(score)
        if len(scores) == _MOST_CHECKS:
            break
    score = clip_score(scores, CHECKS_AVERAGED) if scores else None
    return CheckedClip(path=clip.path, side=side, checks=len(scores), score=score)


def _pictures(clip: Clip) -> Iterator[UInt8Array]:
    from edge_sphereface.image import IMAGE_SUFFIXES, load_image
    from edge_sphereface.stream.capture.factory import SourceOptions, make_source

    if clip.files[0].suffix.lower() in IMAGE_SUFFIXES:
        yield from map(load_image, clip.files)
        return
    due_s = 0.0
    for moment_s, image in frames_of(make_source(str(clip.path), SourceOptions())):
        if moment_s >= due_s:
            due_s = moment_s + _EVERY_S
            yield image


def _lines(report: LivenessCalibrationReport) -> list[str]:
    found = report.calibration
    live, attacks = (sum(clip.side == side and not clip.checks for clip in report.clips) for side in ("live", "attack"))
    return [
        f"threshold  {found.threshold:.4f}, stored in {report.stored}",
        f"attacks    {_percent(found.apcer)} of {found.attack_clips} clips count as live (APCER)",
        f"live       {_percent(found.bpcer)} of {found.live_clips} clips do not (BPCER)",
        f"equal      {_percent(found.equal_error)} of both, at another threshold",
        f"rests on   {found.checks} checked faces; no face in {live} live and {attacks} attack clips",
        "It holds for this camera and for attacks like these; it is no protection against fraud.",
    ]


def _percent(rate: ErrorRate) -> str:
    return f"{100 * rate.value:.1f} % ({100 * rate.low:.1f} to {100 * rate.high:.1f}, 95 %)"
