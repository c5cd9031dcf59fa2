"""The name of a source, with its credentials removed."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from edge_sphereface.errors import SourceError
from edge_sphereface.redaction import redact, redact_pipeline, redact_url

NETWORK_SCHEMES = frozenset({"http", "https", "rtmp", "rtsp", "rtsps", "srt", "tcp", "udp"})


class SourceKind(Enum):
    """How a source is read: its kind."""

    CAMERA = "camera"
    NETWORK = "network"
    PIPELINE = "GStreamer pipeline"
    FILE = "video file"
    FOLDER = "folder of frames"
    STDIN = "standard input"


def kind_of(address: str) -> SourceKind:
    """The kind of a source, from its address.

    Raises:
        SourceError: the address is empty, or its scheme is not supported.
    """
    text = address.strip()
    if not text:
        raise SourceError("Expected a source, got nothing.", hint=_EXPECTED)
    if text == "-":
        return SourceKind.STDIN
    if text.isdecimal() or text.startswith("/dev/video"):
        return SourceKind.CAMERA
    if re.search(r"\s!\s", text):
        return SourceKind.PIPELINE
    scheme, separator, _ = text.partition("://")
    if separator:
        if scheme.lower() in NETWORK_SCHEMES:
            return SourceKind.NETWORK
        raise SourceError(f"The scheme {scheme}:// is not supported.", hint=_EXPECTED)
    return SourceKind.FOLDER if Path(text).is_dir() else SourceKind.FILE


def printable(address: str) -> str:
    """An address without user, password and token; what is not text is replaced."""
    text = address.strip().encode(errors="replace").decode()
    kind = kind_of(text)
    if kind is SourceKind.NETWORK:
        return redact_url(text)
    return redact_pipeline(text) if kind is SourceKind.PIPELINE else redact(text)


_EXPECTED = (
    "a camera's number or /dev/video0, a URL (rtsp, http, …), a GStreamer pipeline (with ' ! '), a video file, "
    "a folder of pictures, or - for standard input"
)
