"""One HTML page about the people of a gallery, which needs no other file and asks for nothing.

Text is escaped, crops are embedded as JPEG, and the page's policy forbids scripts and requests.
"""

from __future__ import annotations

import base64
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from edge_sphereface.enrollment.wording import advice_about, expected_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.enrollment.person import PersonReport, PhotographReport
    from edge_sphereface.types import UInt8Array

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_JPEG_QUALITY = 85


def render_page(
    people: Sequence[PersonReport],
    crops: Sequence[Sequence[UInt8Array | None]],
    *,
    gallery: str,
    threshold: str,
) -> str:
    """Render the page.

    Args:
        people: reports, in the order of the page.
        crops: crop (H, W, 3) uint8 BGR of each person's photographs; None where none was kept.
        gallery: where the gallery is.
        threshold: the gallery's threshold, in words.
    """
    return "\n".join(_page(people, crops, gallery, threshold))


def _page(
    people: Sequence[PersonReport], crops: Sequence[Sequence[UInt8Array | None]], gallery: str, threshold: str
) -> Iterator[str]:
    css = (files("edge_sphereface.enrollment") / "page.css").read_text("utf-8")
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>People in {escape(gallery)}</title>\n<style>\n{css}</style>\n</head>\n<body>"
    yield f"<h1>People in {escape(gallery)}</h1>"
    photographs = sum(len(each.photographs) for each in people)
    yield f'<p class="faint">{len(people)} people, {photographs} photographs, {threshold}</p>'
    yield from _table(people)
    for number, (person, shown) in enumerate(zip(people, crops, strict=True), start=1):
        yield from _section(number, person, shown)
    yield "</body>\n</html>"


def _table(people: Sequence[PersonReport]) -> Iterator[str]:
    heads = ("person", "photographs", "alike", "nearest other", "margin", "expected recognition")
    yield '<div class="summary"><table>'
    yield f"<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n<tbody>"
    for number, person in enumerate(people, start=1):
        nearest = "-" if person.nearest is None else f"{escape(person.nearest.name)} {person.nearest.similarity:.2f}"
        cells = (
            f'<a href="#person-{number}">{escape(person.name)}</a>',
            str(len(person.photographs)),
            _cosine(person.similarity),
            nearest,
            _cosine(person.margin),
            _rate(person),
        )
        # A narrow screen shows a row as a list, in which the labels stand for the head.
        labeled = [f'<td data-label="{head}">{cell}</td>' for head, cell in zip(heads, cells, strict=True)]
        yield f"<tr>{''.join(labeled)}</tr>"
    yield "</tbody></table></div>"


def _section(number: int, person: PersonReport, crops: Sequence[UInt8Array | None]) -> Iterator[str]:
    yield f'<section id="person-{number}"><h2>{escape(person.name)}</h2>'
    yield f'<p class="faint">expected recognition: {expected_in_words(person)}</p>'
    for advice in advice_about(person):
        yield f"<p>{escape(advice)}</p>"
    yield "<ul>"
    for photograph, crop in zip(person.photographs, crops, strict=True):
        yield from _photograph(photograph, crop)
    yield "</ul></section>"


def _photograph(photograph: PhotographReport, crop: UInt8Array | None) -> Iterator[str]:
    yield f"<li{' class=flagged' if photograph.harmful else ''}>"
    if crop is None:
        yield '<div class="empty">no crop<br>kept</div>'
    else:
        yield f'<img alt="photograph {photograph.number}" width="96" height="112" src="{_data_uri(crop)}">'
    yield f"<p>{photograph.number}. alike {_cosine(photograph.similarity)}</p>"
    if photograph.nearest is not None:
        yield f'<p class="faint">nearest {escape(photograph.nearest.name)} {photograph.nearest.similarity:.2f}</p>'
    if photograph.harmful:
        yield '<p class="bad">somebody else?</p>'
    if photograph.duplicate_of is not None:
        yield f"<p>repeats {photograph.duplicate_of}</p>"
    if photograph.appraisal is not None:
        found = photograph.appraisal
        yield f'<p class="faint">{found.pose or "pose unknown"}, light {found.light}</p>'
    yield "</li>"


def _rate(person: PersonReport) -> str:
    found = person.expected
    return "-" if found is None else f"{100 * found.rate:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f} %)"


def _cosine(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _data_uri(crop: UInt8Array) -> str:
    import cv2

    _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
