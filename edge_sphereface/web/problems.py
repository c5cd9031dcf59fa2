"""Errors as answers: a JSON record with code, message and hint, and the status of HTTP."""

from __future__ import annotations

import asyncio
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from edge_sphereface.errors import (
    CameraNotFoundError,
    EdgeSphereFaceError,
    GalleryBusyError,
    IdentityNotFoundError,
    ImageError,
    NoFaceError,
    OutputError,
    SeveralFacesError,
    StrangerNotFoundError,
    TokenError,
)
from edge_sphereface.http_server.answer import ALLOWED
from edge_sphereface.json_output import json_text
from edge_sphereface.redaction import redact
from edge_sphereface.web.access import HOLDER
from edge_sphereface.web.messages import Problem, ProblemAnswer, RequestError, TooLargeError
from edge_sphereface.web.tokens import LOCAL
from edge_sphereface.web.work_queue import BusyError, DeadlineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from edge_sphereface.errors import Remedy
    from edge_sphereface.json_output import Dataclass
    from edge_sphereface.web.tokens import Scope, TokenHolder

Advise: TypeAlias = "Callable[[str, Remedy, str], str]"
"""Gives a hint, the name of its remedy and what that applies to as a hint that says what to type."""

_STATUSES: tuple[tuple[type[EdgeSphereFaceError], HTTPStatus], ...] = (
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (RequestError, HTTPStatus.BAD_REQUEST),
    (BusyError, HTTPStatus.TOO_MANY_REQUESTS),
    (DeadlineError, HTTPStatus.SERVICE_UNAVAILABLE),
    (ImageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (NoFaceError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SeveralFacesError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (IdentityNotFoundError, HTTPStatus.NOT_FOUND),
    (CameraNotFoundError, HTTPStatus.NOT_FOUND),
    (StrangerNotFoundError, HTTPStatus.NOT_FOUND),
    (GalleryBusyError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TokenError, HTTPStatus.SERVICE_UNAVAILABLE),
    (OutputError, HTTPStatus.SERVICE_UNAVAILABLE),
)
"""Status of each kind of error, the first that matches; 409 for others: the program is not in a state to do it."""


def json_response(answer: Dataclass, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Response:
    """A record as an answer."""
    return Response(json_text(answer), status_code=status, headers=headers, media_type="application/json")


def problem(
    status: int, code: str, message: str, *, hint: str = "", headers: Mapping[str, str] | None = None
) -> Response:
    """An error as an answer, without credentials."""
    told = Problem(code=code, message=redact(message), hint=redact(hint) or None)
    return json_response(ProblemAnswer(error=told), status, headers=headers)


def lacks_scope(holder: TokenHolder, scope: Scope, advise: Advise | None = None) -> Response:
    """The answer to a request that needs a scope which its holder does not have.

    Args:
        holder: who makes the request.
        scope: what it needs.
        advise: adds to a hint what to type for a remedy; None to add nothing.
    """
    if holder.name == LOCAL:
        message = f"Programs of this machine may not do this without a token of scope {scope!r}."
        start = "start the server with a file of tokens"
        start = start if advise is None else advise(start, "use-tokens", "")
        hint = f"{start}; send one with this scope"
    else:
        message = f"The token {holder.name!r} has no scope {scope!r}."
        hint = "add a token with this scope"
    return problem(403, "access", message, hint=hint if advise is None else advise(hint, "add-token", scope))


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to try again, in whole seconds."""
    return {"Retry-After": str(max(math.ceil(seconds), 1))}


async def _of_package(request: Request, error: Exception) -> Response:
    if not isinstance(error, EdgeSphereFaceError):  # Starlette gives no others
        raise error
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.CONFLICT)
    headers = retry_after(error.retry_s) if isinstance(error, BusyError) else None
    names_others = isinstance(error, IdentityNotFoundError) and not request.scope[HOLDER].may("read")
    return problem(status, error.code, error.message, hint="" if names_others else error.hint, headers=headers)


async def _late(_: Request, __: Exception) -> Response:
    return problem(503, "busy", "The request was not answered in time.", hint="try again later")


def exception_handlers(
    *, hint: str, routes: Sequence[BaseRoute] = ()
) -> Mapping[Any, Callable[[Request, Exception], Any]]:
    """Answers to what handlers raise.

    Args:
        hint: for requests of a path below ``/api/`` where there is nothing.
        routes: what there is below ``/api``.
    """

    async def not_allowed(request: Request, _: Exception) -> Response:
        # files of the page have paths like those of the interface
        is_api, below = request.url.path.partition("/api/")[1:]
        known = routes if is_api else ()
        here = [route for route in known if isinstance(route, Route) and route.path_regex.match(f"/{below}")]
        # Starlette names those of one route, and none for files
        allowed = ", ".join(sorted({method for route in here for method in route.methods or ()})) or ALLOWED
        message = f"Expected the method {allowed}, got {request.method:.20}."
        return problem(HTTPStatus.METHOD_NOT_ALLOWED, "usage", message, headers={"Allow": allowed})

    async def not_found(request: Request, _: Exception) -> Response:
        if not request.url.path.startswith("/api/"):
            return PlainTextResponse("Not Found", HTTPStatus.NOT_FOUND)
        return problem(HTTPStatus.NOT_FOUND, "usage", f"There is nothing at {request.url.path:.80}.", hint=hint)

    return {
        EdgeSphereFaceError: _of_package,
        asyncio.TimeoutError: _late,
        HTTPStatus.METHOD_NOT_ALLOWED: not_allowed,
        HTTPStatus.NOT_FOUND: not_found,
    }
