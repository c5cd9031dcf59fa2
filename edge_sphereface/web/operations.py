"""Every operation of the HTTP interface: paths, scopes, parameters, bodies and answers.

Routes are made of these records, and so is the OpenAPI document (``scripts/openapi.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_sphereface.gallery.records import Enrollment, Identity
from edge_sphereface.web.api_messages import (
    CameraChanged,
    CameraList,
    CameraName,
    IgnoreRequest,
    InterfaceHealth,
    MergeRequest,
    PeoplePage,
    RenameRequest,
)
from edge_sphereface.web.messages import RemoveAnswer, RemoveRequest
from edge_sphereface.web.picture_service import (
    DetectedPicture,
    EmbeddedPicture,
    EnrolledPictures,
    IdentifiedPicture,
    VerifiedPictures,
)
from edge_sphereface.web.stranger_desk import ForgottenStranger, StrangerAnswer, StrangerList, StrangerName
from edge_sphereface.web.tokens import Scope  # noqa: TC001 -- read with the annotations

MOST_PEOPLE = 1000
"""Identities of one page at most."""

PictureBody: TypeAlias = Literal["picture", "pictures", "pair"]
"""One picture, raw or as a form; one or more; or the two of a form with the fields ``first`` and ``second``."""
Content: TypeAlias = Literal["jpeg", "events", "openapi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a request.

    Attributes:
        name: its name.
        description: what it means.
        kind: type of its value.
        required: whether it must be given.
        least: smallest number; None for no bound.
        most: largest number; None for no bound.
        choices: permitted texts; empty for any.
        place: where the value stands in a request.
    """

    name: str
    description: str
    kind: Literal["string", "integer", "number"] = "string"
    required: bool = False
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    place: Literal["query", "path"] = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation.

    Attributes:
        name: name of the operation, and of the method that does it.
        method: HTTP method.
        path: path below ``/api``.
        scope: what a token needs for it; None for any token.
        summary: what it does.
        parameters: of the path and of the query.
        body: kind of the pictures in its body, or record of its JSON, or ``camera`` for a table of settings.
        answer: record of its answer, or kind of its content.
    """

    name: str
    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    scope: Scope | None
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: PictureBody | Literal["camera"] | type | None = None
    answer: type | Content


_THRESHOLD = (
    "cosine similarity from which a face counts as a person; the threshold of the settings, or else the gallery's, if "
    "it is left out, or if it is lower and the token lacks the scope read"
)

_STRANGER = Parameter(name="stranger", place="path", required=True, description="ID of the stranger, such as s-3fa2c1")

OPERATIONS = (
    Operation(
        name="health", method="GET", path="/health", scope="read", summary="Whether the program works",
        answer=InterfaceHealth,
    ),
    Operation(
        name="openapi", method="GET", path="/openapi.json", scope=None, summary="This document", answer="openapi",
    ),
    Operation(
        name="detect", method="POST", path="/detect", scope="identify", summary="Find the faces of a picture",
        body="picture", answer=DetectedPicture,
    ),
    Operation(
        name="embed", method="POST", path="/embed", scope="embed", summary="Embed the faces of a picture",
        body="picture", answer=EmbeddedPicture,
    ),
    Operation(
        name="verify", method="POST", path="/verify", scope="identify",
        summary="Decide whether two pictures show one person: their largest faces are compared",
        parameters=(
            Parameter(
                name="threshold", kind="number", least=-1.0, most=1.0,
                description="cosine similarity from which two faces count as one person; if it is left out, the "
                "threshold of the settings, or else the gallery's, or else the model's",
            ),
        ),
        body="pair", answer=VerifiedPictures,
    ),
    Operation(
        name="identify", method="POST", path="/identify", scope="identify",
        summary="Look the faces of a picture up in the gallery",
        parameters=(
            Parameter(
                name="top", kind="integer", least=1, most=100, description="number of candidates of each face (5)"
            ),
            Parameter(name="threshold", kind="number", least=-1.0, most=1.0, description=_THRESHOLD),
            Parameter(
                name="margin", kind="number", least=0.0, most=2.0,
                description="lead of the best candidate over the second that a name needs (0)",
            ),
        ),
        body="picture", answer=IdentifiedPicture,
    ),
    Operation(
        name="people", method="GET", path="/people", scope="read", summary="List the enrolled identities by name",
        parameters=(
            Parameter(name="after", description="begin after this name: the field `next` of the page before"),
            Parameter(
                name="limit", kind="integer", least=1, most=MOST_PEOPLE, description="identities of a page (100)"
            ),
        ),
        answer=PeoplePage,
    ),
    Operation(
        name="enroll", method="POST", path="/people", scope="enroll",
        summary="Enroll a person, or add pictures to one; all pictures are taken, or none",
        parameters=(
            Parameter(name="name", required=True, description="name of the person, in any script"),
            Parameter(
                name="select", choices=("only", "largest"),
                description="which face of a picture: refuse several (only), or take the largest",
            ),
        ),
        body="pictures", answer=EnrolledPictures,
    ),
    Operation(
        name="rename", method="POST", path="/people/rename", scope="enroll", summary="Give a person another name",
        body=RenameRequest, answer=Identity,
    ),
    Operation(
        name="merge", method="POST", path="/people/merge", scope="enroll",
        summary="Add the embeddings of a person to another one, and remove the first", body=MergeRequest,
        answer=Identity,
    ),
    Operation(
        name="remove", method="POST", path="/people/remove", scope="enroll",
        summary="Remove a person permanently: no bytes remain in the gallery", body=RemoveRequest, answer=RemoveAnswer,
    ),
    Operation(
        name="ignore", method="POST", path="/people/ignore", scope="enroll",
        summary="Recognize a person without reporting them, or report them again", body=IgnoreRequest, answer=Identity,
    ),
    Operation(
        name="strangers", method="GET", path="/strangers", scope="read",
        summary="List people without a name, those seen most often first",
        parameters=(
            Parameter(
                name="least", kind="integer", least=1, most=1_000_000, description="those seen as often or more (1)"
            ),
        ),
        answer=StrangerList,
    ),
    Operation(
        name="stranger", method="GET", path="/strangers/{stranger}", scope="read",
        summary="How often, when and where a stranger was seen", parameters=(_STRANGER,), answer=StrangerAnswer,
    ),
    Operation(
        name="forget_stranger", method="DELETE", path="/strangers/{stranger}", scope="enroll",
        summary="Remove the sightings of a stranger permanently", parameters=(_STRANGER,), answer=ForgottenStranger,
    ),
    Operation(
        name="stranger_crop", method="GET", path="/strangers/{stranger}/crop", scope="read",
        summary="The best picture of a stranger's face", parameters=(_STRANGER,), answer="jpeg",
    ),
    Operation(
        name="name_stranger", method="POST", path="/strangers/{stranger}/name", scope="enroll",
        summary="Enroll a stranger, or add the sightings to an enrolled person", parameters=(_STRANGER,),
        body=StrangerName, answer=Enrollment,
    ),
    Operation(
        name="ignore_stranger", method="POST", path="/strangers/{stranger}/ignore", scope="enroll",
        summary="Enroll a stranger who is never reported", parameters=(_STRANGER,), body=StrangerName,
        answer=Enrollment,
    ),
    Operation(
        name="cameras", method="GET", path="/cameras", scope="read", summary="List the cameras", answer=CameraList,
    ),
    Operation(
        name="add_camera", method="POST", path="/cameras", scope="admin",
        summary="Add a camera and start it; the body is that of a `[[camera]]` table", body="camera",
        answer=CameraChanged,
    ),
    Operation(
        name="change_camera", method="PUT", path="/cameras", scope="admin",
        summary="Replace the camera of that name, and start it anew", body="camera", answer=CameraChanged,
    ),
    Operation(
        name="remove_camera", method="POST", path="/cameras/remove", scope="admin",
        summary="Stop and remove a camera", body=CameraName, answer=CameraChanged,
    ),
    Operation(
        name="snapshot", method="GET", path="/cameras/snapshot", scope="read", summary="The newest picture of a camera",
        parameters=(Parameter(name="name", required=True, description="name of the camera"),), answer="jpeg",
    ),
    Operation(
        name="events", method="GET", path="/events", scope="read",
        summary="Follow the events of all streams as they come (server-sent events); `Last-Event-ID` resumes",
        parameters=(
            Parameter(name="stream", description="events of this stream or camera only"),
            Parameter(name="kind", description="kinds of events, separated by commas, such as identified,unknown"),
        ),
        answer="events",
    ),
)  # fmt: skip
"""All operations, in the order of the documentation."""
