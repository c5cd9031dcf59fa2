"""What kind of file ``watch`` made of a path that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def is_queue(place: Path) -> bool:
    """Whether a file that was named is a database: then it is no event file. Opening it refuses one of others."""
    from edge_sphereface.stream.outputs.events.outbox import is_database

    return is_database(place)


def is_strangers(place: Path) -> bool:
    """Whether a file that was named is a store of strangers."""
    from edge_sphereface.strangers.store import is_store

    return is_store(place)
