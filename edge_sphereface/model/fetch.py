"""Takes models from where they are published: an address or a folder with a manifest, or one model.

Every file is verified by its SHA-256 before it is used. The manifest, or the model without one, is verified only if the
caller knows its SHA-256 from the publisher.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from edge_sphereface.errors import ChecksumError, DownloadError, OutputError
from edge_sphereface.model.certificate import Certificate, certificate_path
from edge_sphereface.model.manifest import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    ListedFile,
    files_of_form,
    is_file_name,
    is_model,
    read_manifest,
)
from edge_sphereface.storage.bounded_json import shortened
from edge_sphereface.storage.download import PinnedFile, fetch, install, read_url
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder, may_write, try_lock
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_sphereface.errors import Remedy
    from edge_sphereface.storage.download import Progress

_MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's limit."""
_MAX_OTHER_BYTES = Certificate.record_bytes
_REMEDY: Remedy = "bring-models"
_INCOMING = ".incoming"
"""Folder of what has arrived, until everything is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedModels:
    """Models that were taken into a folder.

    Attributes:
        models: paths of the models.
        files: paths of all files: models, certificates, reports, the manifest.
        sha256: SHA-256 of the manifest, or of the model if it has none, in hexadecimal.
        is_verified: whether the caller knew that SHA-256.
        left_out: names in the manifest of other files.
    """

    models: tuple[Path, ...]
    files: tuple[Path, ...]
    sha256: str
    is_verified: bool
    left_out: tuple[str, ...]


def fetch_models(
    place: str,
    folder: Path,
    *,
    sha256: str | None = None,
    form: str | None = None,
    overwrite: bool = False,
    reporter: Callable[[str], Progress],
) -> FetchedModels:
    """Download or copy models into a folder, with their certificates.

    Files are placed only when every file has arrived and has the SHA-256 that it must have. Whether the models run is
    not tried. An interrupted download continues where it stopped.

    Args:
        place: ``https`` URL or path of a folder with a manifest, or of one model.
        folder: target; created if missing.
        sha256: SHA-256 of the manifest or of the model, in hexadecimal. An ``http`` URL requires it.
        form: form to take, such as ``int8``; None for all forms.
        overwrite: replace files of the folder that have these names and another content.
        reporter: returns a progress function for a file's name.

    Raises:
        DownloadError: the files are missing there, cannot be downloaded, or are not models.
        ChecksumError: a file has another SHA-256.
        OfflineError: ``EDGE_SPHEREFACE_OFFLINE`` forbids downloads.
        OutputError: the folder cannot be written, holds another file of one of the names, or is that of another run.
    """
    origin, model = _origin(place, is_pinned=sha256 is not None)
    left_out: list[str] = []
    own = MANIFEST if model is None else certificate_path(Path(model)).name
    content = origin.read(own, MAX_MANIFEST_BYTES if model is None else _MAX_OTHER_BYTES)
    if model is not None:
        digest = sha256 or _certified(content, origin.named(own))
        files = [ListedFile(name=model, sha256=digest)]
    elif content is None:
        raise DownloadError(
            f"There is no {origin.named(MANIFEST)}.", hint="name a folder of models that holds one, or one model"
        )
    else:
        digest = hashlib.sha256(content).hexdigest()
        if sha256 not in (None, digest):
            raise ChecksumError(
                f"{origin.named(MANIFEST)} has SHA-256 {digest}, expected {sha256}.",
                hint="ask the publisher for the present SHA-256; the files were replaced",
            )
        files, left_out = read_manifest(content, place=origin.named(MANIFEST))
        files = files if form is None else files_of_form(files, form)
    pinned = [_pinned(origin, file.name, file.sha256) for file in files]
    listing = [] if content is None else [_pinned(origin, own, hashlib.sha256(content).hexdigest())]
    with _sole_run(ensure_folder(folder)):
        missing = [file for file in pinned if not file.matches(folder / file.name)]
        changed = [file for file in listing if not file.matches(folder / file.name)]
        _require_free([file.name for file in (*missing, *changed)], folder, overwrite=overwrite)
        if missing:
            incoming = ensure_folder(folder / _INCOMING / digest[:16])  # a resumed file is of the same manifest
            for file in missing:
                origin.bring(file, incoming / file.name, reporter(file.name))
            _move([file.name for file in missing], incoming, folder)
        if content is not None and changed:
            with atomic_write(folder / own, mode=SHARED) as stream:
                stream.write(content)
    return FetchedModels(
        models=tuple(folder / file.name for file in files if is_model(file.name)),
        files=(*(folder / file.name for file in files), *([] if content is None else [folder / own])),
        sha256=digest,
        is_verified=sha256 is not None,
        left_out=tuple(left_out),
    )


def _certified(certificate: bytes | None, named: str) -> str:
    """SHA-256 of a model by its certificate."""
    if certificate is None:
        raise DownloadError(
            f"There is no {named}, and the SHA-256 of the model is not known: it could not be verified.",
            hint="ask the publisher for the certificate or the SHA-256",
        )
    return Certificate.from_json(certificate, name=f"The certificate {named}").onnx.sha256


def _pinned(origin: _Remote | _Local, name: str, sha256: str) -> PinnedFile:
    return PinnedFile(
        name=name,
        url=origin.named(name),
        sha256=sha256,
        max_bytes=_MAX_MODEL_BYTES if is_model(name) else _MAX_OTHER_BYTES,
        remedy=_REMEDY,
    )


@contextmanager
def _sole_run(folder: Path) -> Iterator[None]:
    """Refuse a second run into the same folder."""
    if os.name != "posix":  # folders cannot be opened
        yield
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"Cannot read {folder}: {error.strerror}.", hint="name another folder") from error
    try:
        if not try_lock(descriptor):
            raise OutputError(f"Another process fetches models into {folder}.", hint="wait, or name another folder")
        yield
    finally:
        os.close(descriptor)


def _require_free(names: list[str], folder: Path, *, overwrite: bool) -> None:
    """Check that files can be placed, before any is brought."""
    if names and not may_write(folder):
        raise OutputError(f"This user may not write into {folder}.", hint="name another folder")
    for name in names:
        path = folder / name
        if os.path.isdir(path):  # noqa: PTH112 -- False where the path cannot be looked at
            raise OutputError(f"Cannot write {path}: it is a folder.", hint="name another folder")
        if os.path.lexists(path) and not overwrite:
            raise OutputError(
                f"{path} exists already, and is another file or cannot be read.",
                hint="name another folder, or allow files to be replaced",
                remedy="overwrite",
            )


def _move(names: list[str], incoming: Path, folder: Path) -> None:
    for name in names:
        try:
            (incoming / name).replace(folder / name)
        except OSError as error:
            raise OutputError(f"Cannot write {folder / name}: {error.strerror}.", hint="name another folder") from error
    shutil.rmtree(incoming, ignore_errors=True)
    with suppress(OSError):  # it may hold an interrupted download of other files
        incoming.parent.rmdir()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"Cannot read {path}: {error.strerror or error}.", hint="it must be readable for this user"
        ) from error


@dataclass(frozen=True, slots=True)
class _Local:
    """A folder of this machine."""

    folder: Path

    def named(self, name: str) -> str:
        return str(self.folder / name)

    def read(self, name: str, limit: int) -> bytes | None:
        path = self.folder / name
        with _readable(path):
            if not path.exists():
                return None
        return RegularFile(what="file", limit=limit, error=DownloadError).read(path)

    def bring(self, file: PinnedFile, target: Path, progress: Progress) -> None:  # noqa: ARG002 -- copying is quick
        source = self.folder / file.name
        with _readable(source):
            is_there = source.is_file()
        if not is_there:
            raise DownloadError(f"{self.folder} lists {file.name}, and there is no such file.", hint="copy all of them")
        install(file, source, target)


@dataclass(frozen=True, slots=True)
class _Remote:
    """A folder at an address.

    Attributes:
        parts: scheme, host, path with a slash at its end, and query, which may authorize the reader.
    """

    parts: tuple[str, str, str, str]

    def named(self, name: str) -> str:
        scheme, host, path, query = self.parts
        return urlunsplit((scheme, host, f"{path}{quote(name)}", query, ""))

    def read(self, name: str, limit: int) -> bytes | None:
        return read_url(self.named(name), limit=limit, remedy=_REMEDY)

    def bring(self, file: PinnedFile, target: Path, progress: Progress) -> None:
        fetch(file, target, progress=progress)


def _origin(place: str, *, is_pinned: bool) -> tuple[_Remote | _Local, str | None]:
    """Where the files are, and the name of the model if one was named."""
    if "://" not in place:
        return _local(Path(place))
    try:
        parts = urlsplit(place)
        has_user = parts.username is not None or parts.password is not None
        host = parts.hostname
    except ValueError as error:
        raise DownloadError(f"{place} is not a URL: {error}.", hint="check the address") from error
    if parts.scheme == "file":
        if parts.netloc.lower() not in ("", "localhost"):
            raise DownloadError(
                f"{place} names another machine.", hint="name a path on this machine, as in file:///media/usb/models"
            )
        return _local(Path(url2pathname(parts.path)))
    if parts.scheme not in ("https", "http") or not host:
        raise DownloadError(f"Expected an https address, got {place}.", hint="a path on this machine is taken, too")
    if has_user:
        raise DownloadError(
            f"{place} holds a user name or a password, and none is sent.", hint="download the files by other means"
        )
    if parts.scheme == "http" and not is_pinned:
        raise DownloadError(
            f"Anybody on the way can replace what comes from {place}.",
            hint="take an https address, or give the SHA-256 that the publisher states",
        )
    parent, _, last = parts.path.rpartition("/")
    name = unquote(last)
    is_file = name == MANIFEST or is_model(name)
    path = parent if is_file else parts.path.rstrip("/")
    origin = _Remote((parts.scheme, parts.netloc, f"{quote(path, safe='/%')}/", parts.query))
    return origin, _model_name(name) if is_file else None


def _local(path: Path) -> tuple[_Local, str | None]:
    with _readable(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_folder:
        return _Local(path), None
    if not is_file:
        raise DownloadError(
            f"There is no folder or model {path}.", hint="check the path; an address begins with https://"
        )
    return _Local(path.parent), _model_name(path.name)


def _model_name(name: str) -> str | None:
    """Name of a model file, as it was named; None for the manifest."""
    if name == MANIFEST:
        return None
    if not (is_model(name) and is_file_name(name)):
        raise DownloadError(
            f"Expected a model with a name such as m.int8.onnx, got {shortened(name)!r}.",
            hint="name a folder of models, or one .onnx or .ncnn file",
        )
    return name
