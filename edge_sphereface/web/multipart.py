"""Splits a body of type ``multipart/form-data`` in memory.

Libraries for it write large parts to temporary files. These are photographs of people: they stay in memory.

References:
    RFC 7578 (multipart/form-data); RFC 2046, 5.1 (boundaries).
"""

from __future__ import annotations

from email.parser import BytesHeaderParser
from email.policy import HTTP
from typing import NamedTuple

from edge_sphereface.web.messages import RequestError

_MOST_PARTS = 64
_MOST_HEADER_BYTES = 4096


class Part(NamedTuple):
    """A part of a form.

    Attributes:
        field: name of the field.
        file_name: name of the file; empty for none.
        data: content.
    """

    field: str
    file_name: str
    data: bytes


def boundary_of(content_type: str) -> bytes:
    """The boundary that a ``Content-Type`` header names.

    Raises:
        RequestError: it names none, or one that is not valid.
    """
    found = _headers(f"Content-Type: {content_type}\r\n\r\n".encode("utf-8", "replace")).get_boundary()
    if not found or not 1 <= len(found) <= 70 or not found.isascii():
        raise RequestError("Expected multipart/form-data with a boundary of 1 to 70 characters.")
    return bytes(found.encode())


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
    headers = _headers(head.lstrip(b" \t").removeprefix(b"\r\n") + b"\r\n\r\n")
    disposition = headers.get("Content-Disposition", "")
    field = headers.get_param("name", header="Content-Disposition")
    if not disposition.startswith("form-data") or not isinstance(field, str):
        raise RequestError("A part of the form has no name.")
    if headers.get("Content-Transfer-Encoding", "binary").strip().lower() not in ("binary", "8bit", "7bit"):
        raise RequestError("Expected parts of a form as they are, without Content-Transfer-Encoding.")
    return Part(field, headers.get_filename() or "", data)


def _headers(data: bytes):  # type: ignore[no-untyped-def] # noqa: ANN202 -- Message of the parser's policy
    return BytesHeaderParser(policy=HTTP).parsebytes(data)
