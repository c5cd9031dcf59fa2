"""Assigns each identity to one face per image: the most similar one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.gallery.records import Identification


def stronger_rivals(names: Sequence[str | None], similarities: Sequence[float]) -> dict[int, int]:
    """Faces of one image that must give up their name, and the face that keeps it.

    Each name stays with the face of the highest similarity; of equal ones, with the first. The rule looks at nothing
    else, so it holds for the faces of a photograph and for the tracks of a frame alike.

    Args:
        names: the name of each face, None for a face without one.
        similarities: cosine of each face to the identity of that name; ignored where there is no name.

    Returns:
        Index of each face that loses its name, mapped to the index of the face that keeps it.
    """
    keepers: dict[str, int] = {}
    for index, (name, similarity) in enumerate(zip(names, similarities, strict=True)):
        if name is not None and (name not in keepers or similarity > similarities[keepers[name]]):
            keepers[name] = index
    return {index: keepers[name] for index, name in enumerate(names) if name is not None and keepers[name] != index}


def one_face_each(answers: Sequence[Identification]) -> list[Identification]:
    """The answers for all faces of one image, with each identity given to one face only.

    A weaker face of the same name becomes ``unknown`` and says why in ``reason``. It does not take its next candidate:
    that one was never the most similar identity, and a wrong name is worse than none.

    Args:
        answers: one for each face of the image.

    Returns:
        As many answers, in the same order.
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
