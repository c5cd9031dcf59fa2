"""Open-set identification of the ORL faces by one model: some people are enrolled, the others are strangers.

References:
    ISO/IEC 19795-1: closed-set rank-1 rate; detection-and-identification rate at a false alarm rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.errors import FingerprintError, GalleryFormatError
from edge_sphereface.gallery import Threshold, open_gallery
from export.orl.faces import PEOPLE, PHOTOGRAPHS_EACH
from export.orl.photographs import ASKED, ENROLLED_EACH, ENROLLED_PEOPLE, name_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.types import Float32Array, UInt8Array

FALSE_ALARM_RATE = 0.01
"""Share of the strangers' photographs that reach the threshold."""


class Answer(NamedTuple):
    """Answer of the gallery for one photograph.

    Attributes:
        person: number of the person, 1 to 40.
        number: number of the photograph, 1 to 10.
        candidate: number of the most similar enrolled person, 1 to 30.
        similarity: cosine similarity to that person's template.
        named: whether the similarity reaches the threshold.
    """

    person: int
    number: int
    candidate: int
    similarity: float
    named: bool

    @property
    def is_stranger(self) -> bool:
        """Whether the person is not enrolled."""
        return self.person > ENROLLED_PEOPLE

    @property
    def wrong_name(self) -> bool:
        """Whether the answer is the name of another person."""
        return self.named and self.candidate != self.person

    @property
    def right(self) -> bool:
        """Whether an enrolled person got the correct name, or a stranger none."""
        return not self.named if self.is_stranger else self.named and not self.wrong_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """Identification of the photographs that were not enrolled, by one model.

    Attributes:
        threshold: cosine similarity that 1 % of the strangers' photographs reach.
        rank1: share of the enrolled people's photographs whose most similar person is correct.
        identified: share of the enrolled people's photographs that get the correct name at the threshold.
        wrong_names: number of photographs of enrolled people that get the name of another person.
        false_alarms: number of photographs of strangers that get a name.
        answers: one answer per photograph.
        genuine: (1800,) cosine similarities of all pairs of photographs of the same person.
        impostor: (78000,) cosine similarities of all pairs of photographs of different people.
    """

    threshold: float
    rank1: float
    identified: float
    wrong_names: int
    false_alarms: int
    answers: tuple[Answer, ...]
    genuine: Float32Array
    impostor: Float32Array


def recognize(embedder: Embedder, crops: UInt8Array, location: Path) -> Recognition:
    """Enroll people into a new gallery, and identify the other photographs.

    Args:
        embedder: embedder of the model.
        crops: (40, 10, H, W, 3) uint8 BGR, aligned, by person and number.
        location: location of the gallery, which is created.

    Raises:
        GalleryError: the gallery cannot be created.
    """
    embeddings = embedder.embed(crops.reshape(-1, *crops.shape[2:])).reshape(PEOPLE, PHOTOGRAPHS_EACH, -1)
    with open_own_gallery(location, embedder) as gallery:
        for person, rows in enumerate(embeddings[:ENROLLED_PEOPLE, :ENROLLED_EACH], start=1):
            gallery.enroll(name_of(person), rows)
        best = [found[0] for found in gallery.search(np.stack([embeddings[p - 1, n - 1] for p, n in ASKED]), top=1)]
        people = {name_of(person): person for person in range(1, ENROLLED_PEOPLE + 1)}
        strangers = [
            candidate.similarity for (person, _), candidate in zip(ASKED, best, strict=True) if person > ENROLLED_PEOPLE
        ]
        threshold = _threshold(np.array(strangers))
        _keep(gallery, embedder, threshold)
    answers = tuple(
        Answer(person, number, people[candidate.name], candidate.similarity, candidate.similarity >= threshold)
        for (person, number), candidate in zip(ASKED, best, strict=True)
    )
    enrolled = [answer for answer in answers if not answer.is_stranger]
    genuine, impostor = _pairs(embeddings)
    return Recognition(
        threshold=threshold,
        rank1=float(np.mean([answer.candidate == answer.person for answer in enrolled])),
        identified=float(np.mean([answer.right for answer in enrolled])),
        wrong_names=sum(answer.wrong_name for answer in enrolled),
        false_alarms=sum(answer.named for answer in answers if answer.is_stranger),
        answers=answers,
        genuine=genuine,
        impostor=impostor,
    )


def open_own_gallery(location: Path, embedder: Embedder) -> Gallery:
    """Open the gallery without the people of an earlier run. Whoever the user enrolled stays.

    A file that is no gallery of this network is renamed to ``NAME.before``, ``NAME.before2``, ….
    """
    try:
        gallery = open_gallery(location, embedder, create=True)
    except (FingerprintError, GalleryFormatError):
        _set_aside(location)
        gallery = open_gallery(location, embedder, create=True)
    ours = {name_of(person) for person in range(1, ENROLLED_PEOPLE + 1)}
    found = [identity.name for identity in gallery.identities() if identity.name in ours]
    if found:
        gallery.remove(found)
    return gallery


def _set_aside(location: Path) -> None:
    """Rename a gallery and its companion files, never onto a file that is there."""
    names = (f"{location.name}.before{number}" for number in ("", *range(2, 1000)))
    free = next(name for name in names if not location.with_name(name).exists())
    for suffix in ("", "-wal", "-shm", "-journal", "-matrix"):
        file = location.with_name(f"{location.name}{suffix}")
        if file.exists():
            file.rename(location.with_name(f"{free}{suffix}"))


def _threshold(strangers: Float32Array) -> float:
    """Return the mean of the lowest similarity of an allowed false alarm and the highest of one that is not."""
    falling = np.sort(strangers)[::-1]
    allowed = int(FALSE_ALARM_RATE * len(falling))
    return round(float(falling[allowed - 1 : allowed + 1].mean()), 4)


def _keep(gallery: Gallery, embedder: Embedder, threshold: float) -> None:
    gallery.set_threshold(
        Threshold(
            value=threshold,
            precision=embedder.fingerprint.precision,
            fingerprint=embedder.fingerprint.digest,
            source="reached by 1 of 100 photographs of strangers among the ORL faces",
            far=FALSE_ALARM_RATE,
        )
    )


def _pairs(embeddings: Float32Array) -> tuple[Float32Array, Float32Array]:
    rows = embeddings.reshape(PEOPLE * PHOTOGRAPHS_EACH, -1)
    first, second = np.triu_indices(len(rows), k=1)
    cosines = (rows @ rows.T)[first, second]
    same = first // PHOTOGRAPHS_EACH == second // PHOTOGRAPHS_EACH
    return cosines[same], cosines[~same]
