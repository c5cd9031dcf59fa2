"""Asks a camera in the network whether it answers, before OpenCV opens it.

OpenCV opens one stream of FFmpeg at a time: it holds a mutex until the camera has answered, or its time-out has passed.
A camera that is switched off without refusing connections would keep all others from being opened for that time. Here,
each waits for its own.

References:
    OpenCV's modules/videoio/src/cap_ffmpeg_impl.hpp, ``CvCapture_FFMPEG::open``.
"""

from __future__ import annotations

import os
import socket
from contextlib import closing
from urllib.parse import urlsplit

from edge_sphereface.errors import SourceError

_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "http": 80, "https": 443}
_ELSEWHERE = ("OPENCV_FFMPEG_CAPTURE_OPTIONS", "http_proxy")
"""Variables by which FFmpeg may reach a camera by another way than its address."""
_REQUEST = "OPTIONS rtsp://{place}/ RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: edge-sphereface\r\n\r\n"


def require_answer(address: str, timeout_s: float) -> None:
    """Connect to a camera, and let one of RTSP answer a request that needs no password.

    Addresses of other schemes are left to FFmpeg.

    Args:
        address: URL of the camera.
        timeout_s: limit for each step, in seconds.

    Raises:
        SourceError: the camera refuses, or does not answer in time. The message does not contain the address.
    """
    try:
        parts = urlsplit(address)
        host, port, scheme = parts.hostname, parts.port, parts.scheme.lower()
    except ValueError:
        return
    if host is None or scheme not in _PORTS or any(name in os.environ for name in _ELSEWHERE):
        return
    port = port or _PORTS[scheme]
    try:
        with closing(socket.create_connection((host, port), timeout_s)) as connection:
            if scheme == "rtsp":
                place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                connection.sendall(_REQUEST.format(place=place).encode())
                if not connection.recv(1):
                    raise ConnectionResetError("it closed the connection")
    except TimeoutError as error:
        raise SourceError(f"no answer within {timeout_s:g} s") from error
    except (OSError, UnicodeError) as error:
        raise SourceError(str(getattr(error, "strerror", None) or error)) from error
