"""Strangers: people without a name who are seen again, kept on request and for a limited time.

``store`` keeps the sightings in one file, ``grouping`` finds out which of them show one person, ``numbering`` keeps
the IDs, and ``keeper`` does all this beside a stream, in a thread of its own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sphereface.strangers.grouping import group_faces
    from edge_sphereface.strangers.keeper import StrangerKeeper
    from edge_sphereface.strangers.known import KnownStrangers
    from edge_sphereface.strangers.naming import enroll_stranger
    from edge_sphereface.strangers.records import KeptSighting, Sighting, Stranger
    from edge_sphereface.strangers.store import StrangerStore

__all__ = [
    "KeptSighting",
    "KnownStrangers",
    "Sighting",
    "Stranger",
    "StrangerKeeper",
    "StrangerStore",
    "enroll_stranger",
    "group_faces",
]

_HOME = {
    "KeptSighting": "records",
    "KnownStrangers": "known",
    "Sighting": "records",
    "Stranger": "records",
    "StrangerKeeper": "keeper",
    "StrangerStore": "store",
    "enroll_stranger": "naming",
    "group_faces": "grouping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
