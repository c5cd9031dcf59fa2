"""Reads what a request brings: its body, its pictures and its parameters."""

from __future__ import annotations

from contextlib import suppress
from difflib import get_close_matches
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from edge_sphereface.web.messages import RequestError, TooLargeError
from edge_sphereface.web.multipart import Part, boundary_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Self

    from starlette.requests import Request

    from edge_sphereface.image import ImageFile
    from edge_sphereface.web.operations import Parameter
    from edge_sphereface.web.picture_service import PictureService

JSON_BYTES = 64 << 10
"""Largest body of JSON."""

_REQUEST_FILES = 4
"""Bytes of all pictures of a request, in sizes of the largest picture."""
_FORM_BYTES = 64 << 10
"""What a form adds to its pictures at most."""
_DISCARDED_BYTES = 64 << 20
_RAW_TYPES = ("image/", "application/octet-stream")


class PictureBody:
    """The pictures in the body of a request.

    Args:
        request: the request.
        room: a context that counts bytes while they are read and their work waits.
    """

    def __init__(self, request: Request, room: Callable[[int], AbstractContextManager[None]]) -> None:
        self._request, self._make_room = request, room
        self._room: AbstractContextManager[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._room is not None:
            self._room.__exit__(kind, error, trace)

    async def picture(self, service: PictureService) -> ImageFile:
        """The only picture.

        Raises:
            RequestError: there are several, or none.
        """
        files = await self.pictures(service, most=1)
        return files[0][1]

    async def pictures(self, service: PictureService, *, most: int = 16) -> list[tuple[str, ImageFile]]:
        """The pictures with names for messages: a raw body, or the parts of a form.

        Raises:
            RequestError: there are none, or too many.
        """
        parts = await self._parts(service, most)
        if not 1 <= len(parts) <= most:
            raise RequestError(f"Expected {'one picture' if most == 1 else f'1 to {most} pictures'}, got {len(parts)}.")
        return [_file(service, part, place) for place, part in enumerate(parts, start=1)]

    async def pair(self, service: PictureService) -> tuple[ImageFile, ImageFile]:
        """The pictures of the fields ``first`` and ``second`` of a form.

        Raises:
            RequestError: there are others.
        """
        parts = {part.field: part for part in await self._parts(service, 2)}
        if set(parts) != {"first", "second"}:
            raise RequestError("Expected a form with the pictures first and second.", hint="send multipart/form-data")
        first, second = (_file(service, parts[name], place)[1] for place, name in ((1, "first"), (2, "second")))
        return first, second

    async def _parts(self, service: PictureService, most: int) -> list[Part]:
        limit = service.limits.file_bytes * min(most, _REQUEST_FILES) + _FORM_BYTES
        kind = self._request.headers.get("content-type", "")
        is_form = kind.lower().startswith("multipart/form-data")
        if not is_form and not kind.lower().startswith(_RAW_TYPES):
            raise RequestError(
                f"Expected a picture of a content type image/…, or multipart/form-data, got {kind or 'none'!r:.80}.",
                hint="set the header Content-Type to image/jpeg",
            )
        announced = self._request.headers.get("content-length", "")
        size = int(announced) if announced.isascii() and announced.isdigit() and len(announced) < 19 else limit
        if size > limit:
            raise _too_large(limit)
        self._room = self._make_room(size)
        self._room.__enter__()
        data = await read_body(self._request, limit)
        return parts_of(data, boundary_of(kind)) if is_form else [Part("picture", data)]


def _file(service: PictureService, part: Part, place: int) -> tuple[str, ImageFile]:
    name = f"picture {place}"
    if len(part.data) > service.limits.file_bytes:
        raise _too_large(service.limits.file_bytes)
    return name, service.file(part.data, name)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"Expected at most {limit} bytes.", hint="scale pictures down; a face needs 100 pixels")


async def read_body(request: Request, limit: int) -> bytes:
    """Read the body of a request.

    Raises:
        TooLargeError: it has more bytes than the limit.
        RequestError: the client left before its end.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise RequestError("The client left before the end of the request.") from error
    return b"".join(chunks)


async def discard_body(request: Request) -> None:
    """Take the rest of a refused request: a client that still sends would not see why it was refused."""
    left = _DISCARDED_BYTES
    if "expect" in request.headers:  # the client waits with its body
        return
    with suppress(ClientDisconnect, RuntimeError):  # RuntimeError: all of it was read
        async for chunk in request.stream():
            left -= len(chunk)
            if left < 0:
                return


def unknown_parameter(name: str, known: Sequence[str]) -> RequestError:
    """The error of a parameter that an operation does not know."""
    near = get_close_matches(name[:60], known, n=1)
    meant = f"do you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}" if known else "it takes none"
    return RequestError(f"There is no parameter {name!r:.60}.", hint=meant)


def value_of(request: Request, parameter: Parameter) -> str | int | float | None:
    """The value of a parameter; None if it is left out.

    Raises:
        RequestError: it is missing, or not valid.
    """
    values = request.query_params if parameter.place == "query" else request.path_params
    text = values.get(parameter.name)
    if text is None:
        if parameter.required:
            raise RequestError(f"Expected the parameter {parameter.name}: {parameter.description}.")
        return None
    if parameter.kind == "string":
        if parameter.choices and text not in parameter.choices:
            raise RequestError(f"Expected {parameter.name} as one of {', '.join(parameter.choices)}, got {text!r:.60}.")
        return text
    try:
        number = int(text[:20]) if parameter.kind == "integer" else float(text[:60])
    except ValueError:
        number = float("nan")
    low, high = parameter.least, parameter.most
    if number != number or (low is not None and number < low) or (high is not None and number > high):  # noqa: PLR0124
        raise RequestError(f"Expected {parameter.name} from {low:g} to {high:g}, got {text!r:.60}.")
    return number
