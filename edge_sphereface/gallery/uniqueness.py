"""Assigns each identity to one face per image: the most similar one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.gallery.records import Identification


def stronger_rivals(names: Sequence[str | None], similarities: Sequence[float]) -> dict[int, int]:
    """Find the faces of one image that must give up their name to a more similar face.

    Each name stays with the face of the highest similarity, or with the first of equal ones. The rule is the same for
    the faces of a photograph and the tracks of a frame.

    Args:
        names: name of each face; None for a face without a name.
        similarities: cosine similarity of each face to the identity of that name; ignored for a face without a name.

    Returns:
        Index of the face that keeps the name, by the index of each face that loses it.
    """
    keepers: dict[str, int] = {}
    for index, (name, similarity) in enumerate(zip(names, similarities, strict=True)):
        if name is not None and (name not in keepers or similarity > similarities[keepers[name]]):
            keepers[name] = index
    return {index: keepers[name] for index, name in enumerate(names) if name is not None and keepers[name] != index}


def one_face_each(answers: Sequence[Identification]) -> list[Identification]:
    """Assign each identity to at most one face of an image.

    A less similar face of the same name becomes ``unknown``, with the cause in ``reason``. It does not get its next
    candidate, which was never the most similar identity: a wrong name is worse than none.

    Args:
        answers: one result for each face of the image.

    Returns:
        The results in the same order.
    """
    similarities = [answer.candidates[0].similarity if answer.candidates else -1.0 for answer in answers]
    decided = list(answers)
    for loser, keeper in stronger_rivals([answer.name for answer in answers], similarities).items():
        decided[loser] = replace(
            answers[loser],
            name=None,
            outcome="unknown",
            reason=f"another face of this image is more similar to {answers[loser].name!r}: "
            f"{similarities[keeper]:.3f} against {similarities[loser]:.3f}",
        )
    return decided
