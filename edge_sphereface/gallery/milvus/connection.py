"""Connects to Milvus, and translates its errors.

References:
    https://milvus.io/docs/milvus_lite.md and https://milvus.io/docs/authenticate.md
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edge_sphereface.errors import (
    EdgeSphereFaceError,
    ExtraError,
    GalleryBusyError,
    GalleryError,
    GalleryFormatError,
    GalleryNotFoundError,
)
from edge_sphereface.extras import install_command
from edge_sphereface.gallery.milvus import MILVUS_LITE
from edge_sphereface.gallery.missing import no_gallery
from edge_sphereface.storage.files import ensure_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_VARIABLE = "EDGE_SPHEREFACE_MILVUS_TOKEN"  # noqa: S105 -- the name of the variable
"""Environment variable with ``user:password`` or an API key for a cluster, which never belongs on a command line."""

DEFAULT_PREFIX = "edge_sphereface"


def reach(location: str, *, create: bool, timeout_s: float) -> tuple[Any, str, bool]:
    """Connect to Milvus Lite or a cluster.

    Args:
        location: ``milvus:PATH.db``, or a URI whose path names the gallery within the cluster.
        create: create the folder of Milvus Lite if it does not exist.
        timeout_s: timeout of the connection in seconds.

    Returns:
        The client, the prefix of the gallery's collections, and whether it is Milvus Lite.

    Raises:
        ExtraError: pymilvus is not installed.
        GalleryNotFoundError: the folder does not exist, or no server answers.
        GalleryFormatError: the path is a file or another folder.
        GalleryBusyError: another process has the folder open.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # read when gRPC is first imported; gRPC would write to stderr
    try:
        from pymilvus import MilvusClient
    except ImportError as error:
        raise ExtraError(
            "Galleries in Milvus need the package pymilvus, which is not installed.",
            hint=install_command("milvus"),
        ) from error
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # errors are reported by exceptions
    if not location.startswith(MILVUS_LITE):
        return _cluster(MilvusClient, location, timeout_s)
    logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
    folder = lite_folder(location)
    if folder.is_file():
        raise GalleryFormatError(f"Expected a folder of Milvus Lite at {folder}, got a file.", hint="name a folder")
    if not folder.is_dir():
        if not create:
            raise no_gallery(location)
        ensure_folder(folder, mode=0o700)  # Milvus Lite would let others read
    elif any(folder.iterdir()) and not (folder / "collections").is_dir():
        raise GalleryFormatError(f"{folder} is a folder, but not one of Milvus Lite.", hint="name another folder")
    try:
        return MilvusClient(str(folder)), DEFAULT_PREFIX, True
    except Exception as error:
        raise GalleryBusyError(
            f"Milvus Lite cannot open {folder}; it admits one process at a time.",
            hint="is it open elsewhere? close it there, or use a gallery file or a cluster",
        ) from error


def lite_folder(location: str) -> Path:
    """Folder of the location ``milvus:PATH``.

    Raises:
        GalleryError: the name does not end in ``.db``, by which pymilvus distinguishes a folder from a host.
    """
    folder = Path(location.removeprefix(MILVUS_LITE)).absolute()
    if folder.suffix != ".db":
        raise GalleryError(
            f"Expected a folder whose name ends in .db for Milvus Lite, got {location}.", hint=f"{location}.db"
        )
    return folder


def release(location: str) -> None:
    """Stop the server that Milvus Lite runs in this process, so that another process may open the folder."""
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(str(lite_folder(location)))


def _cluster(client: Any, location: str, timeout_s: float) -> tuple[Any, str, bool]:
    parts = urlsplit(location)
    if parts.username is not None or parts.password is not None:  # a location is printed and logged
        raise GalleryError(
            f"Expected the address of a Milvus cluster without a user or password, got one with: {parts.hostname}.",
            hint=f"put user:password into the variable {TOKEN_VARIABLE}",
        )
    prefix = parts.path.strip("/") or DEFAULT_PREFIX
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", prefix, re.ASCII):
        raise GalleryError(f"Expected the gallery's name in {location} as letters, digits and _, got {prefix!r}.")
    uri = f"{parts.scheme}://{parts.netloc}"
    try:
        return client(uri=uri, token=os.environ.get(TOKEN_VARIABLE, ""), timeout=timeout_s), prefix, False
    except Exception as error:
        raise GalleryNotFoundError(
            f"No Milvus server answers at {parts.scheme}://{parts.hostname}:{parts.port}: {_first_line(error)}.",
            hint=f"is it running, and is {TOKEN_VARIABLE} right?",
        ) from error


@contextmanager
def explained(location: str) -> Iterator[None]:
    """Translate errors of Milvus into this package's errors.

    Raises:
        GalleryError: Milvus failed.
    """
    try:
        yield
    except (EdgeSphereFaceError, ValueError, TypeError, KeyboardInterrupt):
        raise
    except Exception as error:
        from pymilvus import MilvusException

        if not isinstance(error, MilvusException):
            raise
        raise GalleryError(
            f"Milvus failed at {location}: {_first_line(error)}.", hint="is it running, and does its disk have space?"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
