"""How long files with faces and names are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.setting import setting

if TYPE_CHECKING:
    from edge_sphereface.retention.folder_index import HeldFile

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEAST_S, _MOST_S = 60, 36500 * 86400


def duration(text: str) -> float:
    """Read a time such as ``8h``, ``90m`` or ``30d``, in seconds.

    Raises:
        ValueError: the text is no such time, or one below a minute or above a century.
    """
    form = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhd])", text)
    seconds = float(form[1]) * _UNITS_S[form[2]] if form else 0.0
    if not _LEAST_S <= seconds <= _MOST_S:
        raise ValueError(f"expected a time such as 90m, 8h or 30d, of at least 1m, got {text!r:.40}")
    return seconds


def _limit(help: str) -> float | None:  # noqa: A002 -- the word of argparse
    return setting(None, read=duration, metavar="TIME", group="retention", help=help)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionLimits:
    """How long files are kept, in seconds; None for no limit.

    Attributes:
        keep_known: snapshots and recordings in which everybody has a name.
        keep_unknown: those that show somebody without a name, also beside people who have one: then the shorter of the
            two counts.
        keep_strangers: sightings of strangers.
        keep_events: events in files and in queues for brokers.
    """

    keep_known: float | None = _limit(
        "delete snapshots and recordings of identified people after this time, such as 168h"
    )
    keep_unknown: float | None = _limit(
        "delete those that show somebody unknown after this time, such as 8h; where both times apply, the "
        "shorter counts"
    )
    keep_strangers: float | None = _limit("delete sightings of strangers after this time, such as 168h")
    keep_events: float | None = _limit("delete events from files and queues after this time, such as 30d")

    @property
    def shortest_s(self) -> float | None:
        """The shortest limit; None if there is none."""
        limits = (self.keep_known, self.keep_unknown, self.keep_strangers, self.keep_events)
        return min(filter(None, limits), default=None)

    def limit_s(self, file: HeldFile) -> float | None:
        """How long a picture or a recording is kept; None for no limit."""
        applying = [self.keep_unknown if file.has_unknown else None, self.keep_known if file.names else None]
        return min(filter(None, applying), default=None)
