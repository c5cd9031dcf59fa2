"""Downloads files: a pinned one, resuming an interrupted transfer, or a small one into memory."""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import ChecksumError, DownloadError, EdgeSphereFaceError, OfflineError, OutputError
from edge_sphereface.storage.cache import OFFLINE_VARIABLE, is_offline
from edge_sphereface.storage.files import SHARED, atomic_write, open_private, set_mode, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

    from edge_sphereface.errors import Remedy

    Progress = Callable[[int, int], None]

_BLOCK = 1 << 16
_TIMEOUT_S = 30.0
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416
_MISSING = (403, 404, 410)
"""Answers of servers that have no such file; object stores answer 403."""
_MOST_DIGITS = 18
_USER_AGENT = {"User-Agent": "edge-sphereface"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """A public file with a pinned digest.

    Attributes:
        name: file name.
        url: URL of the file.
        sha256: SHA-256 of the file in hexadecimal.
        max_bytes: size at which a download is aborted.
        license: license of the file; empty if unknown.
        remedy: what installs a copy from another machine.
    """

    name: str
    url: str
    sha256: str
    max_bytes: int
    license: str = ""
    remedy: Remedy = "bring-file"

    def matches(self, path: Path) -> bool:
        """Whether ``path`` is exactly this file; False if it cannot be read."""
        try:
            return path.is_file() and path.stat().st_size <= self.max_bytes and sha256_of(path) == self.sha256
        except OSError:
            return False


def install(file: PinnedFile, source: Path, target: Path) -> Path:
    """Copy a local file to its target, if it is the pinned file.

    Raises:
        ChecksumError: the file has another digest.
        DownloadError: the file does not exist or cannot be read.
        OutputError: the target cannot be written.
    """
    try:
        if not source.is_file():
            raise DownloadError(f"There is no file {source}.", hint=f"download {file.name} from {file.url}")
        if not file.matches(source):
            raise ChecksumError(
                f"{source} is not {file.name}: expected SHA-256 {file.sha256}, got {sha256_of(source)}.",
                hint=f"get it again from {file.url}",
            )
        with source.open("rb") as stream, atomic_write(target, mode=SHARED) as output:
            while block := stream.read(_BLOCK):
                output.write(block)
    except EdgeSphereFaceError:  # some are errors of the operating system, too
        raise
    except OSError as error:
        raise DownloadError(
            f"Cannot copy {source}: {error.strerror or error}.", hint="it must be readable for this user"
        ) from error
    return target


def fetch(file: PinnedFile, target: Path, *, progress: Progress | None = None) -> Path:
    """Download ``file`` to ``target``, unless it exists there.

    If the connection breaks, the received part stays in ``target`` + ``.part``, and the next call resumes it.
    ``target`` itself appears only after its SHA-256 was verified.

    Args:
        file: file to download.
        target: path of the downloaded file.
        progress: called with the bytes received so far and in total (0 if the server does not say).

    Raises:
        OfflineError: ``EDGE_SPHEREFACE_OFFLINE`` forbids downloads.
        DownloadError: the connection failed or broke, or the server did not return the file.
        ChecksumError: the downloaded file has another digest; it was deleted.
        OutputError: the disk is full or the folder is read-only.
    """
    if file.matches(target):
        return target
    if is_offline():
        raise OfflineError(
            f"{file.name} is not in {target.parent}, and {OFFLINE_VARIABLE} forbids downloads.",
            hint=f"download {file.url} on another machine and copy it here",
            remedy=file.remedy,
        )
    part = target.with_name(target.name + ".part")
    _receive(file, part, progress)
    digest = sha256_of(part)
    if digest != file.sha256:
        part.unlink()
        raise ChecksumError(
            f"The file from {file.url} is not {file.name}: expected SHA-256 {file.sha256}, got {digest}. "
            "It was deleted.",
            hint="try again; if it fails again, the file was replaced at its source",
        )
    set_mode(part, SHARED, part.chmod)
    return part.replace(target)


def read_url(url: str, *, limit: int, remedy: Remedy) -> bytes | None:
    """Download a small file into memory. A redirection from https to another protocol is refused.

    Args:
        url: URL of the file.
        limit: largest size in bytes.
        remedy: what helps where there is no network.

    Returns:
        The content; None if the server has no such file.

    Raises:
        OfflineError: ``EDGE_SPHEREFACE_OFFLINE`` forbids downloads.
        DownloadError: the connection failed or broke, or the server sends something else or too much.
    """
    hint = "try again, or download it on another machine and copy it here"
    if is_offline():
        raise OfflineError(f"{OFFLINE_VARIABLE} forbids to download {url}.", hint=hint, remedy=remedy)
    try:
        request = urllib.request.Request(url, headers=_USER_AGENT)
        with urllib.request.build_opener(_SecureRedirects).open(request, timeout=_TIMEOUT_S) as response:
            announced = _announced(response)
            content: bytes = response.read(limit + 1)
        if len(content) <= limit and len(content) < announced:
            raise ConnectionError(f"the connection ended after {len(content)} of {announced} bytes")
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in _MISSING:
            return None
        reason = f"the server answered {error.code} {error.reason}"
        raise DownloadError(f"Cannot download {url}: {reason}.", hint=hint, remedy=remedy) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a URL that names no host
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        raise DownloadError(f"Cannot download {url}: {reason}.", hint=hint, remedy=remedy) from error
    if len(content) > limit:
        raise DownloadError(
            f"{url} sends more than {limit} bytes.", hint="check the address: another file or a page answers there"
        )
    return content


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses to leave https, where anybody on the way could answer."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            raise urllib.error.HTTPError(newurl, code, "and redirects to an address without https", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _receive(file: PinnedFile, part: Path, progress: Progress | None) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(file.url, headers=_USER_AGENT)
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            if response.status != _PARTIAL_CONTENT:
                have = 0  # the server sends the whole file again
            _save(file, response, part, have, progress)
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:
            return  # the part is complete; the digest decides
        raise _failed(file, part, f"the server answered {error.code} {error.reason}") from error
    except EdgeSphereFaceError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: redirected to what is no URL
        raise _failed(file, part, str(getattr(error, "reason", error)) or type(error).__name__) from error


def _save(
    file: PinnedFile, response: http.client.HTTPResponse, part: Path, have: int, progress: Progress | None
) -> None:
    announced = _announced(response)
    total = have + announced if announced else 0
    try:
        # Unbuffered, so that only bytes on disk are counted.
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if have else os.O_TRUNC)
        output = os.fdopen(open_private(part, flags), "ab" if have else "wb", buffering=0)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"Cannot write {part}: {error.strerror}.", hint="check the folder's permissions") from error
    with output:
        while have <= file.max_bytes and (block := response.read(_BLOCK)):
            try:
                output.write(block)
            except OSError as error:
                raise OutputError(f"Cannot write {part}: {error.strerror}.", hint="free some space") from error
            have += len(block)
            if progress is not None:
                progress(have, total)
    if have > file.max_bytes:
        part.unlink()
        raise DownloadError(
            f"{file.url} sends more than the {file.max_bytes} bytes that {file.name} may have.",
            hint="the file was replaced at its source, or a proxy answers in its place",
        )
    if total > have:
        raise ConnectionError(f"the connection ended after {have} of {total} bytes")


def _announced(response: http.client.HTTPResponse) -> int:
    """The length that a server states; 0 if it states none, or none that a file can have."""
    length = response.headers.get("Content-Length") or ""
    return int(length) if length.isdecimal() and len(length) <= _MOST_DIGITS else 0


def _failed(file: PinnedFile, part: Path, reason: str) -> DownloadError:
    kept = f"{part.stat().st_size} bytes are kept, and the next attempt resumes there" if part.exists() else ""
    return DownloadError(
        f"Cannot download {file.name} from {file.url}: {reason}." + (f" {kept.capitalize()}." if kept else ""),
        hint="try again, or download it on another machine and copy it here",
        remedy=file.remedy,
    )
