"""What viewers and clients do with strangers: look at them, name them, ignore them, forget them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.strangers.records import KeptSighting, Stranger  # noqa: TC001 -- read for the JSON Schema
from edge_sphereface.web.messages import Request

if TYPE_CHECKING:
    from edge_sphereface.gallery import Enrollment, Gallery
    from edge_sphereface.strangers import StrangerKeeper

_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerList:
    """Strangers.

    Attributes:
        strangers: those seen most often first.
        total: number of all strangers, also of those that were seen less often than asked.
    """

    strangers: tuple[Stranger, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerAnswer:
    """A stranger.

    Attributes:
        stranger: how often, when and where.
        sightings: each of the sightings, the best crop first.
    """

    stranger: Stranger
    sightings: tuple[KeptSighting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StrangerName(Request):
    """Say who a stranger is.

    Attributes:
        name: name of the person, who may be enrolled already.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenStranger:
    """A stranger was forgotten.

    Attributes:
        sightings: number of sightings that were removed.
    """

    sightings: int


class StrangerDesk:
    """Access to the strangers that a keeper keeps, for other threads. Every method opens the file for itself.

    Args:
        keeper: of the streams.
        gallery: where strangers are enrolled.

    Every method raises ``StrangerNotFoundError`` where there is no such stranger, and other errors of the store.
    """

    def __init__(self, keeper: StrangerKeeper, gallery: Gallery) -> None:
        self._keeper, self._gallery = keeper, gallery

    def list(self, least: int) -> StrangerList:
        """The strangers that were seen at least as often."""
        with self._keeper.open_store() as store:
            found = store.strangers()
        return StrangerList(
            strangers=tuple(stranger for stranger in found if stranger.sightings >= least), total=len(found)
        )

    def show(self, stranger: str) -> StrangerAnswer:
        """One stranger with the sightings."""
        with self._keeper.open_store() as store:
            return StrangerAnswer(stranger=store.get(stranger), sightings=store.sightings(stranger))

    def crop(self, stranger: str) -> bytes:
        """The best crop as a JPEG file."""
        import cv2

        with self._keeper.open_store() as store:
            crop = store.best_crop(stranger)
        return cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()

    def enroll(self, stranger: str, name: str, *, ignored: bool) -> Enrollment:
        """Enroll a stranger, as an ignored person if asked; a person who is ignored already stays so."""
        from edge_sphereface.strangers import enroll_stranger

        with self._keeper.open_store() as store:
            enrollment = enroll_stranger(store, stranger, name, self._gallery, ignored=True if ignored else None)
        self._keeper.reconsider()
        return enrollment

    def forget(self, stranger: str) -> int:
        """Remove the sightings of a stranger; returns their number."""
        with self._keeper.open_store() as store:
            count = store.forget(stranger)
        self._keeper.reconsider()
        return count
