"""What is kept of strangers, and what is told about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- read for the JSON Schema
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_sphereface.types import Float32Array, UInt8Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """A track that ended without a name.

    Attributes:
        camera: name of the stream.
        start: first detection.
        end: last detection.
        quality: quality of the crop, 0 to 1.
        embedding: (D,) float32 of length one, the mean of the track's embeddings.
        crop: (H, W, 3) uint8 BGR, the best aligned crop of the track.
    """

    camera: str
    start: datetime
    end: datetime
    quality: float
    embedding: Float32Array
    crop: UInt8Array


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSighting:
    """A sighting in a store, without its embedding and its crop.

    Attributes:
        number: number of the sighting in its store.
        camera: name of the stream.
        start: first detection.
        end: last detection.
        quality: quality of its crop, 0 to 1.
    """

    number: int
    camera: str
    start: datetime
    end: datetime
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger:
    """Somebody without a name, seen once or more often.

    Attributes:
        id: stays while sightings come, expire, and turn out to be of one person or of two.
        sightings: number of kept sightings.
        days: number of different days of these, by the local calendar.
        first: start of the first of them.
        last: end of the last of them.
        cameras: names of the streams, sorted.
    """

    id: str
    sightings: int
    days: int
    first: datetime
    last: datetime
    cameras: tuple[str, ...]
