"""``edge-sphereface gallery report``: what the photographs of enrolled people are worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    gallery_options,
    json_option,
    open_named_detector,
    open_named_gallery,
    require_detector,
)
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.json_output import rounded

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.detection import Detector
    from edge_sphereface.enrollment import PersonReport
    from edge_sphereface.gallery import Gallery, Portrait
    from edge_sphereface.types import UInt8Array

_MAX_CROPS = 5000
"""Largest number of photographs on a page, which takes about 20 MB."""


def add_report(commands: Commands) -> None:
    """Add this command to those of ``gallery``."""
    parser = commands.add_parser(
        "report",
        parents=[json_option(), gallery_options(), detector_options()],
        help="report how well people can be recognized, and which photographs to add or check",
        description="For each person: how alike the photographs are, which other person is nearest, which photographs "
        "repeat others or may show somebody else, which poses and light are missing, and how often a new photograph is "
        "expected to be recognized. Poses and light need crops (--keep-crops).",
        epilog="example: edge-sphereface gallery report --gallery people.db --html people.html",
    )
    parser.add_argument("name", nargs="*", help="name of a person (default: all)")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write one page with the crops, which its owner alone may read"
    )
    parser.set_defaults(run=report)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryReport:
    """What ``gallery report`` found.

    Attributes:
        gallery: where the gallery is.
        identities: number of identities that the gallery holds.
        threshold: the gallery's threshold, a cosine similarity; None if it has none.
        calibrated: whether that threshold was calibrated; False if there is none.
        people: the people, the one that is hardest to recognize first.
        html: path of the page; None without ``--html``.
    """

    gallery: str
    identities: int
    threshold: float | None = field(metadata=rounded(4))
    calibrated: bool
    people: tuple[PersonReport, ...]
    html: Path | None


def report(arguments: argparse.Namespace) -> Outcome:
    """All people, or those who are named.

    Raises:
        UsageError: the page would hold too many photographs.
        IdentityNotFoundError: a person is not enrolled.
    """
    from edge_sphereface.enrollment.page import render_page
    from edge_sphereface.enrollment.wording import threshold_in_words
    from edge_sphereface.storage.files import PRIVATE, atomic_write

    require_detector(arguments)
    with open_named_gallery(arguments, None) as gallery:
        _require_few(arguments, gallery)
        detector = open_named_detector(arguments) if gallery.keep_crops else None
        is_shown = arguments.html is not None
        found = [
            _person(gallery, portrait, detector, is_shown=is_shown) for portrait in _portraits(arguments.name, gallery)
        ]
        found.sort(key=lambda each: _rank(each[0]))
        known = gallery.threshold
        result = GalleryReport(
            gallery=gallery.location,
            identities=len(gallery),
            threshold=None if known is None else known.value,
            calibrated=known is not None and known.calibrated,
            people=tuple(person for person, _ in found),
            html=arguments.html,
        )
        if is_shown:
            if gallery.encrypted:
                note(f"note: the gallery is encrypted, and {arguments.html} is not")
            page = render_page(
                result.people,
                [crops for _, crops in found],
                gallery=gallery.location,
                threshold=threshold_in_words(result.threshold, is_calibrated=result.calibrated),
            )
            with atomic_write(arguments.html, mode=PRIVATE) as stream:
                stream.write(page.encode())
    return Outcome(result, _text(result))


def _require_few(arguments: argparse.Namespace, gallery: Gallery) -> None:
    if arguments.html is None or arguments.name:
        return
    photographs = sum(identity.embeddings for identity in gallery.identities())
    if photographs > _MAX_CROPS:
        raise UsageError(
            f"A page can hold {_MAX_CROPS} photographs, and the gallery has {photographs}.",
            hint="name the people to show",
        )


def _portraits(names: list[str], gallery: Gallery) -> Iterator[Portrait]:
    show = Progress("comparing", "identities")
    total = len(names) or len(gallery)
    portraits = (_portrait(gallery, name) for name in names) if names else gallery.portraits()
    for done, portrait in enumerate(portraits, start=1):
        yield portrait
        show(done, total)


def _portrait(gallery: Gallery, name: str) -> Portrait:
    from edge_sphereface.gallery.missing import no_identities

    found = gallery.portrait(name)
    if found is None:
        raise no_identities([name])
    return found


def _person(
    gallery: Gallery, portrait: Portrait, detector: Detector | None, *, is_shown: bool
) -> tuple[PersonReport, list[UInt8Array | None]]:
    from edge_sphereface.enrollment import report_person
    from edge_sphereface.enrollment.appraisal import appraise_crop, kept_crops

    crops = kept_crops(portrait, gallery.fingerprint)
    template = gallery.fingerprint.landmark_template
    appraisals = [None if crop is None else appraise_crop(crop, template, detector=detector) for crop in crops]
    return report_person(gallery, portrait.name, portrait.embeddings, appraisals=appraisals), crops if is_shown else []


def _rank(person: PersonReport) -> tuple[bool, float, float, str]:
    """People whose photographs can be compared first, the one that is hardest to recognize at the top."""
    rate = 0.0 if person.expected is None else person.expected.rate
    margin = 0.0 if person.margin is None else person.margin
    return person.expected is None, rate, margin, person.name


def _text(result: GalleryReport) -> str:
    from edge_sphereface.enrollment.wording import lines_about, threshold_in_words

    lines = []
    for person in result.people:
        count = len(person.photographs)
        lines.append(f"{person.name}: {count} {'photograph' if count == 1 else 'photographs'}")
        lines += [f"  {line}" for line in lines_about(person)]
    known = threshold_in_words(result.threshold, is_calibrated=result.calibrated)
    lines.append(f"{len(result.people)} of {result.identities} identities in {result.gallery}; {known}")
    if result.html is not None:
        lines.append(f"page: {result.html}")
    return "\n".join(lines)
