"""Requests and answers of the HTTP interface that are not those of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.web.messages import Request

if TYPE_CHECKING:
    from edge_sphereface.gallery import Identity
    from edge_sphereface.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class RenameRequest(Request):
    """Give an identity another name.

    Attributes:
        name: its name.
        to: its new name.
    """

    name: str
    to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest(Request):
    """Add what belongs to an identity to another one, and remove the first.

    Attributes:
        name: name of the identity that is removed.
        into: name of the identity that stays.
    """

    name: str
    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IgnoreRequest(Request):
    """Recognize a person without reporting them, or report them again.

    Attributes:
        name: name of the identity.
        ignored: whether the person is never reported.
    """

    name: str
    ignored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraName(Request):
    """Name of a camera.

    Attributes:
        name: its name.
    """

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PeoplePage:
    """A page of the enrolled identities.

    Attributes:
        people: identities, sorted by name.
        total: number of all identities.
        next: value of ``after`` for the next page; None on the last page.
    """

    people: tuple[Identity, ...]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraList:
    """The cameras.

    Attributes:
        cameras: state of each camera, in order of their names.
    """

    cameras: tuple[JsonObject, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraChanged:
    """A camera was added, changed or removed.

    Attributes:
        camera: its name.
        stored: whether the change outlasts the program. It is in no file, so it counts until the settings are read
            again, or the program ends.
    """

    camera: str
    stored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue of pictures.

    Attributes:
        waiting: number of requests that wait.
        work_ms: mean work on a picture, in milliseconds; an assumption before the first.
        done: number of requests that were answered.
        refused: number of requests that were refused, because they would have waited too long.
    """

    waiting: int
    work_ms: float
    done: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceHealth:
    """Whether the program works.

    Attributes:
        healthy: whether it does; False while the streams beside the interface deliver nothing.
        version: version of the program.
        people: number of identities; None without a gallery.
        pictures: the queue of pictures; None where no pictures are taken.
        cameras: number of cameras; None without a group of cameras.
    """

    healthy: bool
    version: str
    people: int | None
    pictures: QueueState | None
    cameras: int | None
