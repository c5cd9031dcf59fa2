"""``edge-sphereface enroll``: add people to a gallery, and say what their photographs are worth."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_sphereface.cli.arguments import (
    detector_options,
    gallery_options,
    json_option,
    model_option,
    named_value,
    open_named_gallery,
    open_pipeline,
    require_gallery,
    warn_without_crops,
)
from edge_sphereface.cli.audit_command import audit_option, open_audit
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.cli.threshold_warning import warn_uncalibrated
from edge_sphereface.errors import EdgeSphereFaceError, GalleryNotFoundError, ImageError, NoFaceError, SeveralFacesError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.enrollment import Appraisal, PersonReport
    from edge_sphereface.enrollment.refusal import Refusal
    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
    from edge_sphereface.gallery import Enrollment, Gallery, Portrait
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.pipeline import FacePipeline, Selection
    from edge_sphereface.types import EmbeddedFace, Float32Array, JsonObject


class _Shown(NamedTuple):
    """A photograph, and the face that it shows."""

    path: Path
    face: EmbeddedFace


class _Described(NamedTuple):
    """All photographs of a person, those enrolled before first: embeddings (N, D), what each is like, and its path."""

    embeddings: Float32Array
    appraisals: list[Appraisal | None]
    paths: list[Path | None]


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "enroll",
        parents=[json_option(), gallery_options(), model_option(), detector_options(), audit_option()],
        help="add a person to a gallery",
        description="Add photographs of one person, each showing one face, to a gallery, which is created if there is "
        "none. Then report how alike the photographs are, who else resembles the person, and what is missing.",
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
        "--strict",
        action="store_true",
        help="refuse all photographs if one is small, blurred, turned, hidden, shows several faces, or not this person",
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
    parser.add_argument(
        "--ignored",
        action="store_true",
        help="recognize these people without ever reporting them (see edge-sphereface ignore)",
    )
    parser.set_defaults(run=enroll)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollReport:
    """What ``enroll`` did.

    Attributes:
        gallery: where the gallery is.
        identities: number of identities that the gallery holds now.
        enrolled: what was added, one entry per person.
        people: what the photographs of each of these people are worth, with those enrolled before.
        skipped: photographs that could not be used; empty without ``--people``, where such a photograph is an error.
    """

    gallery: str
    identities: int
    enrolled: tuple[Enrollment, ...]
    people: tuple[PersonReport, ...]
    skipped: tuple[SkippedPhoto, ...]


def enroll(arguments: argparse.Namespace) -> Outcome:
    """One person, or a folder of them; two names for one face, and a photograph of somebody else, are warnings.

    Raises:
        UsageError: neither a name with photographs nor a folder of people.
        NoFaceError: a photograph of a named person shows no face, or none of the folder could be used.
        SeveralFacesError: it shows several.
        PhotographError: ``--strict`` refuses a photograph.
    """
    from edge_sphereface.enrollment import report_person
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
    skipped: list[SkippedPhoto] = []
    enrolled: list[Enrollment] = []
    with ExitStack() as stack:
        gallery = _existing_gallery(arguments, pipeline.embedder)  # that of another model is refused at once
        if gallery is not None:
            stack.enter_context(gallery)
        people = _asked(arguments, pipeline, gallery, skipped)
        first = next(people, None)  # before a gallery is made: a command that fails here makes none
        if first is None:
            raise NoFaceError(f"No photograph below {arguments.people} could be used.", hint="nothing was enrolled")
        if gallery is None:
            keep = arguments.keep_crops
            gallery = open_named_gallery(arguments, pipeline.embedder, create=True, keep_crops=keep)
            stack.enter_context(gallery)
        warn_without_crops(arguments, gallery)
        described: list[_Described] = []
        for name, shown in chain([first], people):
            described.append(_described(pipeline, gallery.portrait(name), shown))
            enrolled.append(_enroll(gallery, name, shown, metadata, ignored=True if arguments.ignored else None))
            if audit is not None:
                detail: dict[str, str | float] = {"embeddings": len(shown)}
                if arguments.ignored:
                    detail["ignored"] = "yes"
                audit.record("enroll", subject=name, by="edge-sphereface enroll", detail=detail)
            _warn(enrolled[-1], described[-1], gallery)
        reports = [  # after all of them, who are each other's nearest
            report_person(gallery, done.name, each.embeddings, appraisals=each.appraisals, paths=each.paths)
            for done, each in zip(enrolled, described, strict=True)
        ]
        location, total = gallery.location, len(gallery)
        warn_uncalibrated(gallery)
    report = EnrollReport(
        gallery=location,
        identities=total,
        enrolled=tuple(enrolled),
        people=tuple(reports),
        skipped=tuple(skipped),
    )
    return Outcome(report, _text(report))


def _existing_gallery(arguments: argparse.Namespace, embedder: Embedder) -> Gallery | None:
    try:
        return open_named_gallery(arguments, embedder)
    except GalleryNotFoundError:
        return None


def _asked(
    arguments: argparse.Namespace, pipeline: FacePipeline, gallery: Gallery | None, skipped: list[SkippedPhoto]
) -> Iterator[tuple[str, list[_Shown]]]:
    """The people to enroll with their photographs, one at a time, so that what is done is enrolled if the rest fails.

    With ``--strict`` all photographs are judged before the first person is enrolled.
    """
    select: Selection = "largest" if arguments.largest else "only"
    if arguments.people is None:
        groups: Iterable[tuple[str, Sequence[Path]]] = [(arguments.name, arguments.image)]
    else:
        groups = _groups(arguments.people)
    if arguments.strict:
        yield from _accepted(pipeline, gallery, groups, select)
    elif arguments.people is None:
        yield arguments.name, [_shown(pipeline, path, select) for path in arguments.image]
    else:
        yield from _usable(pipeline, groups, select, skipped)


def _groups(folder: Path) -> list[tuple[str, list[Path]]]:
    from edge_sphereface.evaluation.labeled_photos import person_of
    from edge_sphereface.gallery.records import check_name
    from edge_sphereface.image import find_images

    paths = sorted(find_images(folder), key=lambda path: (person_of(path, folder), path))
    if not paths:
        raise ImageError(f"There are no photographs below {folder}.", hint="lay them out as FOLDER/NAME/photo.jpg")
    for path in paths:
        check_name(person_of(path, folder))
    return [(name, list(group)) for name, group in groupby(paths, key=lambda path: person_of(path, folder))]


def _usable(
    pipeline: FacePipeline,
    groups: Iterable[tuple[str, Sequence[Path]]],
    select: Selection,
    skipped: list[SkippedPhoto],
) -> Iterator[tuple[str, list[_Shown]]]:
    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto, reason

    groups = list(groups)
    total = sum(len(paths) for _, paths in groups)
    show, done = Progress("enrolling", "photographs"), 0
    for name, paths in groups:
        shown = []
        for path in paths:
            try:
                shown.append(_shown(pipeline, path, select))
            except EdgeSphereFaceError as error:
                skipped.append(SkippedPhoto(path=path, reason=reason(error, path)))
            done += 1
            show(done, total)
        if shown:
            yield name, shown


def _accepted(
    pipeline: FacePipeline,
    gallery: Gallery | None,
    groups: Iterable[tuple[str, Sequence[Path]]],
    select: Selection,
) -> Iterator[tuple[str, list[_Shown]]]:
    """All people, or an error that names each photograph that is refused.

    Raises:
        PhotographError: a photograph is refused.
    """
    from edge_sphereface.enrollment.refusal import judge_person, judge_photograph, no_usable_face, require_accepted

    groups = list(groups)
    total = sum(len(paths) for _, paths in groups)
    show, done = Progress("judging", "photographs"), 0
    people: list[tuple[str, list[_Shown]]] = []
    refused: list[Refusal] = []
    for name, paths in groups:
        shown = []
        for path in paths:
            try:
                shown.append(_shown(pipeline, path, select))
                refused += judge_photograph(path, shown[-1].face, pipeline.embedder)
            except (NoFaceError, SeveralFacesError) as error:
                refused.append(no_usable_face(path, error))
            done += 1
            show(done, total)
        rows = [(each.path, each.face.embedding) for each in shown]
        refused += judge_person(name, rows, gallery, threshold=pipeline.embedder.spec.threshold)
        people.append((name, shown))
    require_accepted(refused, total)
    yield from people


def _shown(pipeline: FacePipeline, path: Path, select: Selection) -> _Shown:
    try:
        return _Shown(path, pipeline.process_one_file(path, select=select))
    except (NoFaceError, SeveralFacesError) as error:
        raise error.about(path) from error


def _enroll(
    gallery: Gallery, name: str, shown: Sequence[_Shown], metadata: JsonObject | None, *, ignored: bool | None
) -> Enrollment:
    import numpy as np

    from edge_sphereface.gallery.crops import encode_crop

    return gallery.enroll(
        name,
        np.stack([each.face.embedding for each in shown]),
        crops=[encode_crop(each.face.crop) for each in shown] if gallery.keep_crops else None,
        metadata=metadata,
        ignored=ignored,
    )


def _described(pipeline: FacePipeline, earlier: Portrait | None, shown: Sequence[_Shown]) -> _Described:
    import numpy as np

    from edge_sphereface.enrollment import appraise
    from edge_sphereface.enrollment.appraisal import appraise_crop, kept_crops

    template, detector = pipeline.embedder.spec.landmark_template, pipeline.detector
    rows = [each.face.embedding for each in shown]
    appraisals: list[Appraisal | None] = [
        appraise(each.face.face.landmarks, each.face.crop, template, detector=detector) for each in shown
    ]
    paths: list[Path | None] = [each.path for each in shown]
    if earlier is None:
        return _Described(np.stack(rows), appraisals, paths)
    crops = kept_crops(earlier, pipeline.embedder.fingerprint)
    kept = [None if crop is None else appraise_crop(crop, template, detector=detector) for crop in crops]
    return _Described(np.stack([*earlier.embeddings, *rows]), [*kept, *appraisals], [*([None] * len(kept)), *paths])


def _warn(enrolled: Enrollment, described: _Described, gallery: Gallery) -> None:
    """What to check at once; the report about everybody follows."""
    import numpy as np

    from edge_sphereface.enrollment import report_person
    from edge_sphereface.enrollment.person import to_the_nearest

    threshold = gallery.threshold
    if threshold is None:
        return
    name, rows, appraisals, paths = enrolled.name, *described
    photographs = report_person(gallery, name, rows, appraisals=appraisals, paths=paths).photographs
    others = [each for each in photographs if each.looks_like is not None]
    if len(others) == len(photographs):  # the person looks like somebody else, and not a photograph among others
        others = []
    for each in others:
        if each.path is not None and each.nearest is not None:
            note(
                f"warning: {each.path} of {name!r} looks like {each.looks_like!r} (similarity "
                f"{each.nearest.similarity:.3f}, to the template of the other photographs {each.similarity:.3f}): does "
                "it show somebody else?"
            )
    explained = {each.looks_like for each in others}
    for other in enrolled.lookalikes:
        if other.name not in explained:
            note(
                f"warning: {name!r} resembles {other.name!r} (similarity {other.similarity:.3f}, which counts as "
                "one person): two names for one face?"
            )
    if enrolled.own_similarity is not None and enrolled.own_similarity < threshold.value:
        note(
            f"warning: the new photographs of {name!r} do not resemble those before (similarity "
            f"{enrolled.own_similarity:.3f}, below the threshold {threshold.value:.3f})"
        )
    left = [each for each in photographs if each.path is not None and each not in others]
    if len(left) < 2:
        return
    nearest = to_the_nearest(rows[[each.number - 1 for each in left]])
    least = int(np.argmin(nearest))
    if nearest[least] < threshold.value:
        note(
            f"warning: {left[least].path} of {name!r} resembles none of the others (similarity {nearest[least]:.3f} to "
            f"the nearest of them, below the threshold {threshold.value:.3f}): do all show one person?"
        )


def _text(report: EnrollReport) -> str:
    from edge_sphereface.enrollment.wording import lines_about

    lines = []
    for item, person in zip(report.enrolled, report.people, strict=True):
        lines.append(f"{item.name}: {item.added} added, {item.embeddings} in all")
        lines += [f"  {line}" for line in lines_about(person)]
    lines += [f"skipped {item.path}: {item.reason}" for item in report.skipped]
    noun = "identity" if report.identities == 1 else "identities"
    return "\n".join([*lines, f"{report.gallery} holds {report.identities} {noun}"])
