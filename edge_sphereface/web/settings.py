"""Settings of the HTTP interface, from which options and keys of files are derived."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_sphereface.setting import nested, setting
from edge_sphereface.web.picture_limits import PictureLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How a server of the page or the HTTP interface is reached, and by whom. The fields' help describes them."""

    tokens: Path | None = setting(
        None, read=Path, metavar="FILE", help="tokens that are accepted, each for its scopes (mode 0600)"
    )
    tls_certificate: Path | None = setting(
        None, read=Path, metavar="FILE.pem", help="serve HTTPS with this certificate, followed by those of its issuers"
    )
    tls_key: Path | None = setting(None, read=Path, metavar="FILE.pem", help="key of the certificate")
    pictures: PictureLimits = nested(PictureLimits)
