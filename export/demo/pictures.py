"""Draw the demo's pictures: a contact sheet of all faces, and histograms of similarities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge_sphereface.image import save_image
from edge_sphereface.storage.files import SHARED, atomic_write
from export.orl.faces import PEOPLE, PHOTOGRAPHS_EACH
from export.orl.photographs import ENROLLED_EACH, ENROLLED_PEOPLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_sphereface.types import UInt8Array
    from export.demo.recognition import Recognition

_BLOCKS, _ROWS = 4, 10
_FACE_WIDTH, _FACE_HEIGHT = 54, 63
_FRAME, _GAP = 3, 2
_NAME_WIDTH, _ENROLLED_GAP, _BLOCK_GAP = 34, 14, 26
_HEAD, _FOOT = 74, 14
_WHITE, _BLACK, _GRAY = (255, 255, 255), (40, 40, 40), (170, 170, 170)
_GREEN, _RED, _AMBER = (80, 170, 40), (40, 40, 220), (30, 170, 240)
"""Colors of frames in BGR."""
_GENUINE, _IMPOSTOR = "#2166ac", "#b2182b"


def save_contact_sheet(path: Path, crops: UInt8Array, result: Recognition, title: str) -> None:
    """Draw all 400 faces in one picture, one row per person, with the enrolled photographs on the left.

    A green frame denotes a correct answer, a red one a wrong name, and an amber one an enrolled person who was not
    recognized.

    Args:
        path: path of the PNG file.
        crops: (40, 10, H, W, 3) uint8 BGR.
        result: answers for the photographs that were not enrolled.
        title: first line of the picture.
    """
    cell_width, cell_height = _FACE_WIDTH + 2 * _FRAME + _GAP, _FACE_HEIGHT + 2 * _FRAME + _GAP
    block_width = _NAME_WIDTH + PHOTOGRAPHS_EACH * cell_width + _ENROLLED_GAP
    width = _BLOCKS * block_width + (_BLOCKS + 1) * _BLOCK_GAP
    sheet = np.full((_HEAD + _ROWS * cell_height + _FOOT, width, 3), 255, np.uint8)
    _write(sheet, title, (_BLOCK_GAP, 28), scale=0.75, thickness=2)
    _legend(sheet)
    answers = {(answer.person, answer.number): answer for answer in result.answers}
    for person in range(1, PEOPLE + 1):
        left = _BLOCK_GAP + (person - 1) // _ROWS * (block_width + _BLOCK_GAP)
        top = _HEAD + (person - 1) % _ROWS * cell_height
        _write(sheet, f"{person:02d}", (left, top + cell_height // 2 + 4), scale=0.5)
        for number in range(1, PHOTOGRAPHS_EACH + 1):
            answer = answers.get((person, number))
            apart = _ENROLLED_GAP if person <= ENROLLED_PEOPLE and number > ENROLLED_EACH else 0
            x = left + _NAME_WIDTH + (number - 1) * cell_width + apart
            color = _GRAY
            if answer is not None:
                color = _GREEN if answer.right else _RED if answer.named else _AMBER
            face = cv2.resize(crops[person - 1, number - 1], (_FACE_WIDTH, _FACE_HEIGHT), interpolation=cv2.INTER_AREA)
            framed = cv2.copyMakeBorder(face, *(_FRAME,) * 4, cv2.BORDER_CONSTANT, value=color)
            sheet[top : top + framed.shape[0], x : x + framed.shape[1]] = framed
            if answer is not None and answer.named and not answer.right:
                _write(sheet, f"{answer.candidate:02d}?", (x + 6, top + _FACE_HEIGHT - 2), scale=0.55, color=_RED)
    save_image(path, sheet)


def _legend(sheet: UInt8Array) -> None:
    x = _BLOCK_GAP
    rows = (
        (_GRAY, f"enrolled: photographs 1 to {ENROLLED_EACH} of people 01 to {ENROLLED_PEOPLE}"),
        (_GREEN, "right: named rightly, or a stranger (31 to 40) not named"),
        (_AMBER, "enrolled, not recognized"),
        (_RED, "wrong name, or a stranger named"),
    )
    for color, text in rows:
        cv2.rectangle(sheet, (x, 44), (x + 16, 60), color, cv2.FILLED)
        _write(sheet, text, (x + 24, 57), scale=0.5)
        x += 24 + cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0] + 34


def _write(
    sheet: UInt8Array,
    text: str,
    place: tuple[int, int],
    *,
    scale: float,
    thickness: int = 1,
    color: tuple[int, int, int] = _BLACK,
) -> None:
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _WHITE, thickness + 2, cv2.LINE_AA)
    cv2.putText(sheet, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)


def save_similarity_plot(path: Path, results: Mapping[str, Recognition]) -> None:
    """Draw histograms of the similarity of genuine and impostor pairs, one panel per model.

    Args:
        path: path of the PNG file.
        results: results by name of the model.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(results), figsize=(4.6 * len(results), 3.2), squeeze=False, sharey=True)
    bins = np.linspace(-0.4, 1.0, 71)
    for axis, (name, result) in zip(axes[0], results.items(), strict=True):
        for pairs, color, label in (
            (result.impostor, _IMPOSTOR, f"{len(result.impostor):,} pairs of different people"),
            (result.genuine, _GENUINE, f"{len(result.genuine):,} pairs of the same person"),
        ):
            axis.hist(
                pairs, bins=bins, weights=np.full(len(pairs), 100 / len(pairs)), color=color, alpha=0.6, label=label
            )
        axis.axvline(result.threshold, color="black", linewidth=0.9, linestyle=":")
        axis.set(
            xlabel="cosine similarity of two photographs", title=f"{name}; dotted: threshold {result.threshold:.3f}"
        )
    axes[0][0].set_ylabel("% of the pairs")
    axes[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.tight_layout()
    with atomic_write(path, mode=SHARED) as stream:
        figure.savefig(stream, dpi=120, format="png")
    plt.close(figure)
