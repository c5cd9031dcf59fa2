"""Signs what a webhook sends, so that its receiver can tell who sent it and when.

References:
    Standard Webhooks: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    (symmetric signatures, v1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from edge_sphereface.errors import SinkError
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET_VARIABLE = "EDGE_SPHEREFACE_WEBHOOK_SECRET"  # noqa: S105 -- a name, and no secret
_PREFIX = "whsec_"
"""In front of a secret in base64. Source: Standard Webhooks."""
_LEAST_BYTES = 16
_HINT = "openssl rand -hex 32 makes one"
_FILE = RegularFile(what="file of a secret", limit=1024, error=SinkError, hint=_HINT, pipes=True)


def read_secret(path: Path | None, environment: Mapping[str, str]) -> bytes:
    """The secret in a file, or in the environment if no file is given.

    Text is taken as it is, without white space around it; after ``whsec_`` it is base64.

    Raises:
        SinkError: there is none, it is too short, or others may read the file.
    """
    if path is None:
        text, where = environment.get(SECRET_VARIABLE, ""), f"in the variable {SECRET_VARIABLE}"
    else:
        with _FILE.open(path) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text, where = stream.read(_FILE.limit).decode(errors="replace"), f"in {path}"
        if os.name == "posix" and mode & 0o077:
            raise SinkError(
                f"Expected a secret that its owner alone may read; {path} has mode {mode & 0o777:04o}.",
                hint=f"chmod 600 {path}",
            )
    secret = _decoded(text.strip())
    if len(secret) < _LEAST_BYTES:
        raise SinkError(f"Expected a secret of at least {_LEAST_BYTES} bytes {where}, got {len(secret)}.", hint=_HINT)
    return secret


def signed_headers(body: bytes, *, secret: bytes, unix_time: float) -> dict[str, str]:
    """Headers that name a message, its time, and the signature of both with the body.

    Args:
        body: of the request.
        secret: see :func:`read_secret`.
        unix_time: of this attempt, in seconds since 1970.

    Returns:
        ``webhook-id``, the same for each attempt; ``webhook-timestamp``, in seconds; ``webhook-signature``: ``v1,`` and
        the HMAC-SHA256 of ``ID.TIMESTAMP.BODY`` in base64.
    """
    name = hashlib.sha256(body).hexdigest()[:32]
    timestamp = str(int(unix_time))
    mac = hmac.new(secret, f"{name}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": name,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }


def _decoded(text: str) -> bytes:
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text[len(_PREFIX) :], validate=True)
    except (binascii.Error, ValueError):
        return b""
