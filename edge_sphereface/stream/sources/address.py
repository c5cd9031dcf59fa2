"""What a source is called, and what of that may be printed."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from edge_sphereface.errors import SourceError

NETWORK_SCHEMES = frozenset({"http", "https", "rtmp", "rtsp", "rtsps", "srt", "tcp", "udp"})

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']*@")
_SECRET_VALUE = re.compile(
    r"(?i)\b([\w-]*(?:user|username|user-id|user-pw|login|password|passwd|passphrase|pwd|secret|token|key|auth))"
    r"(\s*=\s*)(\"[^\"]*\"|'[^']*'|[^\s&!;,\"']+)"
)
_HIDDEN = "***"


class SourceKind(Enum):
    """How a source is read."""

    CAMERA = "camera"
    NETWORK = "network"
    PIPELINE = "GStreamer pipeline"
    FILE = "video file"
    FOLDER = "folder of frames"


def kind_of(address: str) -> SourceKind:
    """Tell a source by its address.

    Raises:
        SourceError: it is empty, or a scheme that nothing here reads.
    """
    text = address.strip()
    if not text:
        raise SourceError("Expected a source, got nothing.", hint=_EXPECTED)
    if text.isdecimal() or text.startswith("/dev/video"):
        return SourceKind.CAMERA
    if re.search(r"\s!\s", text):
        return SourceKind.PIPELINE
    scheme, separator, _ = text.partition("://")
    if separator:
        if scheme.lower() in NETWORK_SCHEMES:
            return SourceKind.NETWORK
        raise SourceError(f"No source is read by {scheme}://.", hint=_EXPECTED)
    return SourceKind.FOLDER if Path(text).is_dir() else SourceKind.FILE


def printable(address: str) -> str:
    """The same address without user, password or token."""
    text = address.strip()
    if kind_of(text) is SourceKind.NETWORK:
        try:
            parts = urlsplit(text)
            host = parts.netloc.rpartition("@")[2]
        except ValueError:
            return f"{text.partition('://')[0]}://{_HIDDEN}"
        return urlunsplit((parts.scheme, host, parts.path, _HIDDEN if parts.query else "", ""))
    return redact(text)


def redact(text: str) -> str:
    """Text of others, such as a program's error message, without what looks like credentials."""
    return _SECRET_VALUE.sub(rf"\1\2{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", text))


def has_credentials(address: str) -> bool:
    """Whether something would be hidden."""
    return redact(address) != address


_EXPECTED = (
    "a camera's number or /dev/video0, a URL (rtsp, http, …), a GStreamer pipeline (with ' ! '), a video file, "
    "or a folder of pictures"
)
