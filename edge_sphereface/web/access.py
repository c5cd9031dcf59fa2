"""Restricts the page and the HTTP interface to this machine, or to those with a token.

References:
    OWASP, DNS rebinding and cross-site request forgery: a page of another site, open in the same browser, must neither
    read the picture nor enroll anyone.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from edge_sphereface.errors import TokenError
from edge_sphereface.web.loopback import is_loopback
from edge_sphereface.web.tokens import LOCAL, PAGE, TokenHolder, digest_of

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from edge_sphereface.gallery import Candidate, Enrollment
    from edge_sphereface.web.tokens import TokenBook

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_COOKIE_S = 30 * 24 * 3600
_FORM_TYPES = ("", "text/plain", "application/x-www-form-urlencoded")
HOLDER = "edge_sphereface.holder"
"""Key of a request's scope with the :class:`~edge_sphereface.web.tokens.TokenHolder` who makes it."""
_MANY = 1_000_000
_LOCAL = TokenHolder(name=LOCAL, scopes=frozenset({"read", "identify", "enroll"}), per_second=_MANY, burst=_MANY)
"""Whoever uses this machine, where no tokens were set. Embeddings, and changes of cameras, need a token."""
_PAGE = TokenHolder(name=PAGE, scopes=frozenset({"admin"}), per_second=_MANY, burst=_MANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The tokens that a server accepts.

    Attributes:
        token: one with all scopes; None for none.
        book: tokens of a file; None for none.
    """

    token: str | None = None
    book: TokenBook | None = None

    @property
    def are_required(self) -> bool:
        """Whether requests need a token."""
        return self.token is not None or self.book is not None

    def holder(self, text: str) -> TokenHolder | None:
        """Whose token this is; None if it is nobody's.

        Raises:
            TokenError: the file of tokens cannot be used any more.
        """
        is_page = self.token is not None and hmac.compare_digest(digest_of(text), digest_of(self.token))
        found = None if self.book is None else self.book.holder(text)
        return _PAGE if is_page else found


class Access:
    """Middleware that refuses requests of those who may not make them.

    Args:
        app: the application behind it.
        credentials: one is required, as ``?token=`` once and by the cookie that it sets afterwards, or as a bearer
            token. Without any, requests for a loopback name are accepted, which only this machine can make.
        is_secure: whether the server speaks TLS, and browsers may send the cookie over nothing else.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials, *, is_secure: bool = False) -> None:
        self._app, self._credentials, self._is_secure = app, credentials, is_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._refusal(Request(scope))
        await (self._app if answer is None else answer)(scope, receive, with_headers)

    def _refusal(self, request: Request) -> Response | None:  # noqa: PLR0911 -- one return for each reason
        """The answer to a request that is refused; None for one that is accepted, whose holder is then known."""
        host = request.headers.get("host", "")
        place = _place(f"//{host}")
        if place is None:
            return _refused(request, 400, "Expected a Host header of the form name:port.")
        if not self._credentials.are_required and not is_loopback(place.hostname or ""):
            return _refused(request, 403, "Open this as http://localhost: other names need a token, and none was set.")
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("origin")
            asked_from = None if origin is None else _place(origin)
            is_foreign = origin is not None and (asked_from is None or asked_from.netloc != host)
            if is_foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return _refused(request, 403, "Requests from pages of another origin are refused.")
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            # What a form of a page elsewhere could send, and no client needs
            if request.method == "POST" and kind in _FORM_TYPES:
                words = "Expected the content type application/json, image/… or multipart/form-data."
                return _refused(request, 415, words)
        if not self._credentials.are_required:
            request.scope[HOLDER] = _LOCAL
            return None
        try:
            return self._check_token(request, place.port or 80)
        except TokenError as error:
            return _refused(request, 503, error.message, code=error.code)

    def _check_token(self, request: Request, port: int) -> Response | None:
        cookie = f"edge_sphereface_{port}"  # browsers store cookies by host, not by port
        shown = request.query_params.get("token")
        if shown is not None and request.method == "GET" and self._credentials.holder(shown) is not None:
            # A redirection removes it from the address and the history
            answer = RedirectResponse(f"/{request.scope['path'].lstrip('/')}", status_code=303)
            answer.set_cookie(cookie, shown, max_age=_COOKIE_S, httponly=True, samesite="lax", secure=self._is_secure)
            return answer
        bearer = request.headers.get("authorization", "")
        text = bearer.removeprefix("Bearer").strip() if bearer else request.cookies.get(cookie, "")
        holder = self._credentials.holder(text) if text else None
        if holder is not None:
            request.scope[HOLDER] = holder
            return None
        if text or shown:
            return _refused(
                request, 401, "Expected a token that the server knows: this one was removed, or is not its own."
            )
        return _refused(
            request,
            401,
            "Expected a token: open the complete address that the program printed, or send "
            "the header Authorization: Bearer TOKEN.",
        )


def lookalikes_for(holder: TokenHolder, enrollment: Enrollment) -> tuple[Candidate, ...]:
    """Whom the holder of a token may be told to resemble an enrolled person: that is an identification."""
    if not holder.may("identify"):
        return ()
    return tuple(found for found in enrollment.lookalikes if not found.ignored or holder.may("read"))


def _place(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is malformed."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- reading it checks it
    except ValueError:
        return None
    return parts


def _refused(request: Request, status: int, text: str, *, code: str = "access") -> Response:
    if request.scope["path"].startswith("/api/"):
        headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
        return JSONResponse({"error": {"code": code, "message": text}}, status_code=status, headers=headers)
    return PlainTextResponse(text, status_code=status)
