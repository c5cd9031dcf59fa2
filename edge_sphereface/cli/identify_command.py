"""``edge-sphereface identify``: who the faces of photographs are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    cosine,
    detector_options,
    draw_option,
    drawing_paths,
    gallery_options,
    json_option,
    model_option,
    open_named_gallery,
    open_pipeline,
    positive,
    require_gallery,
    write_drawing,
)
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.runner import Outcome
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.gallery import Identification
    from edge_sphereface.types import DetectedFace, EmbeddedFace, UInt8Array


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "identify",
        parents=[json_option(), gallery_options(), model_option(), detector_options(), draw_option(), audit_option()],
        help="identify the faces in photographs",
        description="Look every face of the photographs up in a gallery. In one photograph, each identity is given to "
        "one face only, the most similar. A face of an ignored person is `ignored` and has no name; the candidates "
        "show whom it resembles. Exit code 1 if a photograph shows no face.",
        epilog="example: edge-sphereface identify --gallery people.db --model model.onnx group.jpg",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.add_argument("--top", type=positive, default=5, metavar="N", help="candidates to show (default: 5)")
    parser.add_argument(
        "--threshold",
        type=cosine,
        metavar="COSINE",
        help="similarity required for a name (default: the gallery's threshold)",
    )
    parser.add_argument(
        "--margin",
        type=cosine,
        default=0.0,
        metavar="COSINE",
        help="minimum lead of the best identity over the second (default: 0)",
    )
    parser.set_defaults(run=identify)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedFace:
    """A face and who it is.

    Attributes:
        face: where it was found in the photograph.
        answer: who it is.
    """

    face: DetectedFace = field(metadata=INLINE)
    answer: Identification = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifiedImage:
    """The faces of a photograph.

    Attributes:
        path: path of the photograph.
        faces: faces in the photograph. Each identity is given to one face of a photograph only, the most similar.
        drawn: path of the picture written by ``--draw``, which its owner alone may read (mode 0600); None without it.
    """

    path: Path
    faces: tuple[IdentifiedFace, ...]
    drawn: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentifyReport:
    """What ``identify`` found.

    Attributes:
        gallery: where the gallery is.
        detector: name of the face detector.
        images: one per photograph, in the order of the command line. The exit code is 1 if one shows no face.
    """

    gallery: str
    detector: str
    images: tuple[IdentifiedImage, ...]


def identify(arguments: argparse.Namespace) -> Outcome:
    """A name, or none, for each face."""
    from edge_sphereface.image import load_image

    require_gallery(arguments)
    targets = drawing_paths(arguments)
    audit = open_audit(arguments.audit)
    pipeline = open_pipeline(arguments)
    images = []
    with open_named_gallery(arguments, pipeline.embedder) as gallery:
        if arguments.threshold is None:
            warn_uncalibrated(gallery)
        for path, target in zip(arguments.image, targets, strict=True):
            faces = pipeline.process_file(path)
            answers = gallery.identify_faces(
                [face.embedding for face in faces],
                top=arguments.top,
                threshold=arguments.threshold,
                margin=arguments.margin,
            )
            identified = tuple(
                IdentifiedFace(face=face.face.report(), answer=answer)
                for face, answer in zip(faces, answers, strict=True)
            )
            if audit is not None:
                _record_lookup(audit, answers)
            if target is not None:
                write_drawing(arguments, target, _with_names(load_image(path), faces, answers))
            images.append(IdentifiedImage(path=path, faces=identified, drawn=target))
        location = gallery.location
    report = IdentifyReport(gallery=location, detector=pipeline.detector.name, images=tuple(images))
    return Outcome(report, _identify_text(report), passed=all(image.faces for image in images))


def _record_lookup(audit: AuditLog, answers: Sequence[Identification]) -> None:
    """A line for each person who was found, and one for the photograph where nobody was."""
    found = [answer.name for answer in answers if answer.name is not None]
    for name in found or [""]:
        audit.record("identify", subject=name, by="edge-sphereface identify", detail={"faces": len(answers)})


def _with_names(image: UInt8Array, faces: list[EmbeddedFace], answers: Sequence[Identification]) -> UInt8Array:
    from edge_sphereface.stream.outputs.frames.drawing import FaceLabel, draw_labels

    labels = [
        FaceLabel(
            face.face.box,
            f"{_caption(answer)} {answer.candidates[0].similarity:.2f}" if answer.candidates else "unknown",
            "unknown" if answer.outcome == "ambiguous" else answer.outcome,
        )
        for face, answer in zip(faces, answers, strict=True)
    ]
    return draw_labels(image, labels)


def _caption(answer: Identification) -> str:
    return answer.name or ("ignored" if answer.outcome == "ignored" else "unknown")


def _identify_text(report: IdentifyReport) -> str:
    lines = []
    for image in report.images:
        lines.append(f"{image.path}: {len(image.faces)} {'face' if len(image.faces) == 1 else 'faces'}")
        for number, face in enumerate(image.faces, start=1):
            left, top, right, bottom = face.face.box
            where = f"box {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}"
            lines.append(f"  {number}. {_describe(face.answer)}, {where}")
        if image.drawn is not None:
            lines.append(f"  drawn: {image.drawn}")
    return "\n".join(lines)


def _describe(answer: Identification) -> str:
    nearest = ", ".join(
        f"{found.name}{' (ignored)' if found.ignored else ''} {found.similarity:.3f}" for found in answer.candidates
    )
    who = answer.name if answer.name is not None else answer.outcome
    why = f"; {answer.reason}" if answer.reason else ""
    return f"{who} (nearest: {nearest or 'nobody'}; threshold {answer.threshold:.3f}{why})"
