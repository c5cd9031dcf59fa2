"""Splits a body of type ``multipart/form-data`` in memory, in time that grows with its length alone.

Libraries for it write large parts to temporary files. These are photographs of people: they stay in memory. The parser
of the package ``email`` takes time that grows with the square of a header, or fails: it is made for trusted mail.

References:
    RFC 7578 (multipart/form-data); RFC 2046, 5.1 (boundaries); RFC 6266 (parameters of Content-Disposition).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from edge_sphereface.web.messages import RequestError

_MOST_PARTS = 64
_MOST_HEADER_BYTES, _MOST_HEADERS, _MOST_PARAMETERS = 4096, 16, 8
_BOUNDARY = re.compile(rb"[\x20-\x7e]{0,69}[\x21-\x7e]")
_PARAMETER = re.compile(
    rb';[ \t]*([!#-\'*+.0-9A-Z^-z|~-]{1,64})[ \t]*=[ \t]*(?:"((?:[^"\\\r\n]|\\.)*)"|([^\x00-\x20";\x7f]*))[ \t]*'
)
"""A semicolon, a name, and a value in quotes or without. Each part ends where the next begins: a match is linear."""
_PLAIN_ENCODINGS = (b"binary", b"8bit", b"7bit")


class Part(NamedTuple):
    """A part of a form.

    Attributes:
        field: name of the field.
        data: content.
    """

    field: str
    data: bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary that a ``Content-Type`` header names.

    Raises:
        RequestError: it names none, or one that is not valid.
    """
    _, parameters = _value(content_type.encode("utf-8", "replace"))
    boundary = parameters.get(b"boundary", b"")
    if not _BOUNDARY.fullmatch(boundary):
        raise RequestError("Expected multipart/form-data with a boundary of 1 to 70 characters.")
    return boundary


def parts_of(body: bytes, boundary: bytes) -> list[Part]:
    """The parts of a body, in order.

    Raises:
        RequestError: the body has another form, or too many parts.
    """
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary, _MOST_PARTS + 2)
    if len(pieces) > _MOST_PARTS + 2:
        raise RequestError(f"Expected a form of at most {_MOST_PARTS} parts.")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise RequestError("The form has no end: it is not multipart/form-data with the boundary of its header.")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> Part:
    head, separator, data = piece.partition(b"\r\n\r\n")
    if not separator or len(head) > _MOST_HEADER_BYTES:
        raise RequestError("A part of the form has no headers, or too many.")
    headers = _headers(head)
    kind, parameters = _value(headers.get(b"content-disposition", b""))
    if kind != b"form-data" or b"name" not in parameters:
        raise RequestError("A part of the form has no name.")
    if headers.get(b"content-transfer-encoding", b"binary").lower() not in _PLAIN_ENCODINGS:
        raise RequestError("Expected parts of a form as they are, without Content-Transfer-Encoding.")
    return Part(parameters[b"name"].decode("utf-8", "replace"), data)


def _headers(head: bytes) -> dict[bytes, bytes]:
    """The headers of a part by their names in lower case."""
    padding, *lines = head.split(b"\r\n", _MOST_HEADERS + 1)
    if padding.strip(b" \t") or len(lines) > _MOST_HEADERS:
        raise RequestError(f"Expected at most {_MOST_HEADERS} headers on lines of their own in each part of a form.")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or name in headers or name.strip() != name:
            raise RequestError("A part of the form has a header that is not of the form name: value, or has one twice.")
        headers[name] = value.strip(b" \t")
    return headers


def _value(header: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The value of a header in lower case, and its parameters by their names in lower case.

    Raises:
        RequestError: the parameters have another form, or are too many.
    """
    kind, semicolon, _ = header.partition(b";")
    at, parameters = len(kind), dict[bytes, bytes]()
    for _ in range(_MOST_PARAMETERS):
        found = _PARAMETER.match(header, at)
        if found is None:
            break
        name, quoted, plain = found.groups()
        if name.lower() in parameters:
            raise RequestError("A header of the form has a parameter twice.")
        parameters[name.lower()] = plain if quoted is None else re.sub(rb"\\(.)", rb"\1", quoted)
        at = found.end()
    if semicolon and header[at:].strip(b" \t;"):
        raise RequestError(
            f"Expected headers of a form with at most {_MOST_PARAMETERS} parameters, each of the form name=value."
        )
    return kind.strip(b" \t").lower(), parameters
