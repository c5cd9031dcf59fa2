"""Restricts the page to this machine, or to viewers with the token.

References:
    OWASP, DNS rebinding and cross-site request forgery: a page of another site, open in the same browser, must neither
    read the picture nor enroll anyone.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse

from edge_sphereface.web.loopback import is_loopback

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_COOKIE_S = 30 * 24 * 3600


class Access:
    """Middleware that refuses requests of viewers who may not see the page.

    Args:
        app: the application behind it.
        token: required, as ``?token=`` once and by the cookie that it sets afterwards, or as a bearer token; None
            accepts requests for a loopback name, which only this machine can make.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

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

    def _refusal(self, request: Request) -> Response | None:
        """The answer to a request that is refused; None for one that is accepted."""
        host = request.headers.get("host", "")
        place = _place(f"//{host}")
        if place is None:
            return _refused(request, 400, "Expected a Host header of the form name:port.")
        if self._token is None and not is_loopback(place.hostname or ""):
            return _refused(
                request, 403, "Open this page as http://localhost: other names need a token, and none was set."
            )
        if request.method not in ("GET", "HEAD"):
            origin = request.headers.get("origin")
            asked_from = None if origin is None else _place(origin)
            if origin is not None and (asked_from is None or asked_from.netloc != host):
                return _refused(request, 403, "Requests from pages of another origin are refused.")
            is_json = request.headers.get("content-type", "").partition(";")[0] == "application/json"
            if request.method == "POST" and not is_json:
                return _refused(request, 415, "Expected the content type application/json.")
        return None if self._token is None else self._check_token(request, self._token, place.port or 80)

    def _check_token(self, request: Request, token: str, port: int) -> Response | None:
        cookie = f"edge_sphereface_{port}"  # browsers store cookies by host, not by port
        shown = request.query_params.get("token")
        if shown is not None and _same(shown, token) and request.method == "GET":
            answer = RedirectResponse(
                f"/{request.scope['path'].lstrip('/')}", status_code=303
            )  # removes it from the address and the history
            answer.set_cookie(cookie, token, max_age=_COOKIE_S, httponly=True, samesite="lax")
            return answer
        bearer = request.headers.get("authorization", "")
        if _same(request.cookies.get(cookie, ""), token) or _same(bearer.removeprefix("Bearer "), token):
            return None
        return _refused(request, 401, "Open the complete address that the program printed, with its token.")


def _place(url: str) -> SplitResult | None:
    """The parts of a URL; None if it is malformed."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 -- reading it checks it
    except ValueError:
        return None
    return parts


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def _refused(request: Request, status: int, text: str) -> Response:
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": {"code": "access", "message": text}}, status_code=status)
    return PlainTextResponse(text, status_code=status)
