"""The cache folder for downloaded files and models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from edge_sphereface.errors import CacheError, OutputError
from edge_sphereface.storage.files import ensure_folder

HOME_VARIABLE = "EDGE_SPHEREFACE_HOME"
OFFLINE_VARIABLE = "EDGE_SPHEREFACE_OFFLINE"


def is_offline() -> bool:
    """Whether ``EDGE_SPHEREFACE_OFFLINE`` forbids downloads."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def cache_folder() -> Path:
    """Path of the cache: ``$EDGE_SPHEREFACE_HOME``, else ``edge_sphereface`` in the platform's cache folder.

    The platform's folder is never one for temporary files, so cached files survive a restart.

    Raises:
        CacheError: the user has no home folder, and the variable is not set.
    """
    chosen = os.environ.get(HOME_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    try:
        return _platform_cache() / "edge_sphereface"
    except RuntimeError as error:
        raise CacheError(
            "This user has no home folder, so there is no place for a cache.", hint=f"set {HOME_VARIABLE} to a folder"
        ) from error


def _platform_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification requires relative paths to be ignored.
    return Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".cache"


def cache_file(*parts: str) -> Path:
    """Path of a file in the cache. Its folder is created.

    Raises:
        CacheError: the folder cannot be created.
    """
    path = cache_folder().joinpath(*parts)
    try:
        ensure_folder(path.parent, mode=0o700)
    except OutputError as error:
        raise CacheError(
            f"The cache folder cannot be used: {error.message}", hint=f"set {HOME_VARIABLE} to a folder"
        ) from error
    return path
