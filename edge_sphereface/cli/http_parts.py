"""Builds the HTTP interface from options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import UsageError

if TYPE_CHECKING:
    from edge_sphereface.http_server.certificate import Certificate
    from edge_sphereface.web.settings import HttpSettings
    from edge_sphereface.web.tokens import TokenBook


def make_book(settings: HttpSettings) -> TokenBook | None:
    """The tokens that were named.

    Raises:
        TokenError: their file cannot be used.
    """
    from edge_sphereface.web.tokens import TokenBook

    return None if settings.tokens is None else TokenBook(settings.tokens)


def make_certificate(settings: HttpSettings) -> Certificate | None:
    """The certificate that was named.

    Raises:
        UsageError: its key is missing, or a key has no certificate.
        SinkError: it cannot be used.
    """
    if settings.tls_certificate is None and settings.tls_key is None:
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise UsageError("A certificate needs its key.", hint="give both --tls-certificate and --tls-key, or neither")
    from edge_sphereface.http_server.certificate import Certificate

    certificate = Certificate(file=settings.tls_certificate, key=settings.tls_key)
    certificate.require()
    return certificate
