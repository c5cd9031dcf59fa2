"""The commands enroll and identify."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, groupby
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
    named_value,
    open_named_gallery,
    open_pipeline,
    positive,
    require_gallery,
    warn_without_crops,
    write_drawing,
)
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.errors import EdgeSphereFaceError, GalleryNotFoundError, ImageError, NoFaceError, SeveralFacesError
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from edge_sphereface.audit import AuditLog
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
    from edge_sphereface.gallery import Enrollment, Gallery, Identification
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.pipeline import FacePipeline, Selection
    from edge_sphereface.types import DetectedFace, EmbeddedFace, JsonObject, UInt8Array


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_enroll(commands)
    _add_identify(commands)


def _add_enroll(commands: Commands) -> None:
    parser = commands.add_parser(
        "enroll",
        parents=[json_option(), gallery_options(), model_option(), detector_options(), audit_option()],
        help="add a person to a gallery",
        description="Add photographs of one person, each showing one face, to a gallery, which is created if there is "
        "none.",
        epilog="example: edge-sphereface enroll --gallery people.db --model model.onnx 'Ann Lee' ann1.jpg ann2.jpg",
    )
    parser.add_argument("name", nargs="?", help="name of the person, in any script")
    parser.add_argument("image", nargs="*", type=Path, help="photograph that shows only this person")
    parser.add_argument(
        "--people", type=Path, metavar="FOLDER", help="many people: FOLDER/NAME/photo.jpg, or FOLDER/NAME_01.jpg"
    )
    parser.add_argument(
        "--largest", action="store_true", help="where a photograph shows several faces, take the largest"
    )
    parser.add_argument(
        "--keep-crops", action="store_true", help="keep crops in a new gallery, so that another model can re-embed them"
    )
    parser.add_argument(
        "--meta",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUE",
        help="metadata stored with the identity",
    )
    parser.set_defaults(run=enroll)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollReport:
    """What ``enroll`` did.

    Attributes:
        gallery: where the gallery is.
        identities: number of identities that the gallery holds now.
        enrolled: what was added, one entry per person.
        skipped: photographs that could not be used; empty without ``--people``, where such a photograph is an error.
    """

    gallery: str
    identities: int
    enrolled: tuple[Enrollment, ...]
    skipped: tuple[SkippedPhoto, ...]


def enroll(arguments: argparse.Namespace) -> Outcome:
    """One person, or a folder of them; two names for one face are a warning.

    Raises:
        UsageError: neither a name with photographs nor a folder of people.
        NoFaceError: a photograph of a named person shows no face, or none of the folder could be used.
        SeveralFacesError: it shows several.
    """
    from edge_sphereface.gallery.records import check_name, metadata_text

    one = arguments.name is not None and arguments.image and arguments.people is None
    if not one and (arguments.name is not None or arguments.people is None):
        raise UsageError("Expected NAME and photographs, or --people FOLDER.", hint="edge-sphereface enroll --help")
    require_gallery(arguments)
    if one:
        check_name(arguments.name)
    metadata = dict(arguments.meta) or None
    if metadata is not None:
        metadata_text(metadata)
    audit = open_audit(arguments.audit)
    pipeline = open_pipeline(arguments)
    select: Selection = "largest" if arguments.largest else "only"
    skipped: list[SkippedPhoto] = []
    people = (
        ((name, [_face(pipeline, path, select) for path in arguments.image]) for name in [arguments.name])
        if one
        else _people(pipeline, arguments.people, select, skipped)
    )
    enrolled = []
    with ExitStack() as stack:
        gallery = _existing_gallery(arguments, pipeline.embedder)  # that of another model is refused at once
        if gallery is not None:
            stack.enter_context(gallery)
        first = next(people, None)  # before a gallery is made: a command that fails here makes none
        if first is None:
            raise NoFaceError(f"No photograph below {arguments.people} could be used.", hint="nothing was enrolled")
        if gallery is None:
            keep = arguments.keep_crops
            gallery = open_named_gallery(arguments, pipeline.embedder, create=True, keep_crops=keep)
            stack.enter_context(gallery)
        warn_without_crops(arguments, gallery)
        for name, faces in chain([first], people):
            enrolled.append(_enroll(gallery, name, faces, metadata))
            if audit is not None:
                audit.record("enroll", subject=name, by="edge-sphereface enroll", detail={"embeddings": len(faces)})
            _warn(enrolled[-1], gallery)
            _warn_different(name, faces, gallery)
        location, total = gallery.location, len(gallery)
        warn_uncalibrated(gallery)
    report = EnrollReport(gallery=location, identities=total, enrolled=tuple(enrolled), skipped=tuple(skipped))
    return Outcome(report, _enroll_text(report))


def _existing_gallery(arguments: argparse.Namespace, embedder: Embedder) -> Gallery | None:
    try:
        return open_named_gallery(arguments, embedder)
    except GalleryNotFoundError:
        return None


def _enroll_text(report: EnrollReport) -> str:
    lines = [f"{item.name}: {item.added} added, {item.embeddings} in all" for item in report.enrolled]
    lines += [f"skipped {item.path}: {item.reason}" for item in report.skipped]
    noun = "identity" if report.identities == 1 else "identities"
    return "\n".join([*lines, f"{report.gallery} holds {report.identities} {noun}"])


def _face(pipeline: FacePipeline, path: Path, select: Selection) -> EmbeddedFace:
    try:
        return pipeline.process_one_file(path, select=select)
    except (NoFaceError, SeveralFacesError) as error:
        raise error.about(path) from error


def _people(
    pipeline: FacePipeline, folder: Path, select: Selection, skipped: list[SkippedPhoto]
) -> Iterator[tuple[str, list[EmbeddedFace]]]:
    """A person at a time, so that what is done is enrolled if the rest fails."""
    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto, person_of, reason
    from edge_sphereface.gallery.records import check_name
    from edge_sphereface.image import find_images

    paths = sorted(find_images(folder), key=lambda path: (person_of(path, folder), path))
    if not paths:
        raise ImageError(f"There are no photographs below {folder}.", hint="lay them out as FOLDER/NAME/photo.jpg")
    for path in paths:
        check_name(person_of(path, folder))
    show, done = Progress("enrolling", "photographs"), 0
    for name, group in groupby(paths, key=lambda path: person_of(path, folder)):
        faces = []
        for path in group:
            try:
                faces.append(_face(pipeline, path, select))
            except EdgeSphereFaceError as error:
                skipped.append(SkippedPhoto(path=path, reason=reason(error, path)))
            done += 1
            show(done, len(paths))
        if faces:
            yield name, faces


def _enroll(gallery: Gallery, name: str, faces: list[EmbeddedFace], metadata: JsonObject | None) -> Enrollment:
    import numpy as np

    from edge_sphereface.gallery.crops import encode_crop

    return gallery.enroll(
        name,
        np.stack([face.embedding for face in faces]),
        crops=[encode_crop(face.crop) for face in faces] if gallery.keep_crops else None,
        metadata=metadata,
    )


def _warn(enrolled: Enrollment, gallery: Gallery) -> None:
    for other in enrolled.lookalikes:
        note(
            f"warning: {enrolled.name!r} resembles {other.name!r} (similarity {other.similarity:.3f}, which counts as "
            "one person): two names for one face?"
        )
    threshold = gallery.threshold
    if enrolled.own_similarity is not None and threshold and enrolled.own_similarity < threshold.value:
        note(
            f"warning: the new photographs of {enrolled.name!r} do not resemble those before (similarity "
            f"{enrolled.own_similarity:.3f}, below the threshold {threshold.value:.3f})"
        )


def _warn_different(name: str, faces: list[EmbeddedFace], gallery: Gallery) -> None:
    """Photographs given together that show different people."""
    import numpy as np

    threshold = gallery.threshold
    if threshold is None or len(faces) < 2:
        return
    rows = np.stack([face.embedding for face in faces])
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1.0)
    nearest = float(cosines.max(axis=1).min())
    if nearest < threshold.value:
        note(
            f"warning: a photograph of {name!r} resembles none of the others (similarity {nearest:.3f}, below the "
            f"threshold {threshold.value:.3f}): do all show one person?"
        )


def _add_identify(commands: Commands) -> None:
    parser = commands.add_parser(
        "identify",
        parents=[json_option(), gallery_options(), model_option(), detector_options(), draw_option(), audit_option()],
        help="identify the faces in photographs",
        description="Look every face of the photographs up in a gallery. In one photograph, each identity is given to "
        "one face only, the most similar. Exit code 1 if a photograph shows no face.",
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
            f"{answer.name or 'unknown'} {answer.candidates[0].similarity:.2f}" if answer.candidates else "unknown",
            "unknown" if answer.name is None else "identified",
        )
        for face, answer in zip(faces, answers, strict=True)
    ]
    return draw_labels(image, labels)


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
    nearest = ", ".join(f"{found.name} {found.similarity:.3f}" for found in answer.candidates)
    who = answer.name if answer.name is not None else answer.outcome
    why = f"; {answer.reason}" if answer.reason else ""
    return f"{who} (nearest: {nearest or 'nobody'}; threshold {answer.threshold:.3f}{why})"
