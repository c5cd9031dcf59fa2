"""The command ``liveness``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    json_option,
    liveness_options,
    open_named_detector,
    session_config,
    session_options,
)
from edge_sphereface.cli.runner import Outcome, UsageError
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.liveness.result import Liveness, ThresholdSource
    from edge_sphereface.liveness.spec import LivenessSpec
    from edge_sphereface.types import DetectedFace


def add_command(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "liveness",
        parents=[json_option(), session_options(), detector_options(), liveness_options()],
        help="say which faces look like pictures of faces: no protection against fraud",
        description="Check faces of photographs by liveness models that `python -m export liveness` made. This is no "
        "protection against fraud: a good print or screen passes, and the networks know only the attacks and cameras "
        "of their training. The photograph must be as the camera made it: resized or compressed again, it has lost "
        "what they look at. Exit code 1 unless every face is live.",
        epilog="example: edge-sphereface liveness --liveness minifasnet-v2.onnx --liveness minifasnet-v1se.onnx "
        "photo.jpg",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.set_defaults(run=liveness, is_check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedFace:
    """A face, and whether it is live.

    Attributes:
        face: the face.
        liveness: whether it is live.
    """

    face: DetectedFace = field(metadata=INLINE)
    liveness: Liveness


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedImage:
    """The faces of a photograph.

    Attributes:
        path: path of the photograph.
        faces: faces in the photograph, highest detection score first; empty if it shows none.
    """

    path: Path
    faces: tuple[CheckedFace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessReport:
    """What ``liveness`` found.

    Attributes:
        threshold: mean probability from which a face counts as live.
        threshold_source: where it comes from: ``given``, ``calibrated`` or ``default``.
        models: specifications of the models.
        providers: what each of them runs on.
        images: one per photograph, in the order of the command line. The exit code is 1 unless each shows a face and
            every face is live.
    """

    threshold: float
    threshold_source: ThresholdSource
    models: tuple[LivenessSpec, ...]
    providers: tuple[ProviderReport, ...]
    images: tuple[CheckedImage, ...]


def liveness(arguments: argparse.Namespace) -> Outcome:
    """Liveness of every face of each photograph.

    Raises:
        UsageError: no model was named.
    """
    from edge_sphereface.image import load_image
    from edge_sphereface.liveness.checker import LivenessChecker

    if not arguments.liveness:
        raise UsageError("No liveness model was named.", hint="give --liveness FILE.onnx")
    config = session_config(arguments)
    checker = LivenessChecker(arguments.liveness, threshold=arguments.liveness_threshold, session=config)
    detector = open_named_detector(arguments)
    images = []
    for path in arguments.image:
        image = load_image(path)
        faces = detector.detect(image)
        checked = zip(faces, checker.check(image, faces), strict=True)
        images.append(
            CheckedImage(
                path=path, faces=tuple(CheckedFace(face=face.report(), liveness=result) for face, result in checked)
            )
        )
    report = LivenessReport(
        threshold=checker.threshold,
        threshold_source=checker.threshold_source,
        models=checker.specs,
        providers=checker.providers,
        images=tuple(images),
    )
    live = [face.liveness.state == "live" for image in images for face in image.faces]
    return Outcome(report, _text(report), passed=all(live) and all(image.faces for image in images))


def _text(report: LivenessReport) -> str:
    lines = []
    for image in report.images:
        lines.append(f"{image.path}:{'' if image.faces else ' no face'}")
        for number, face in enumerate(image.faces, start=1):
            result = face.liveness
            what = result.state.replace("_", " ")
            why = f" ({result.reason})" if result.score is None else f" (probability of live {result.score:.3f})"
            lines.append(f"  {number}. {what}{why}")
    return "\n".join(lines)
