"""Settings of the entities for Home Assistant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_sphereface.setting import Range, check, setting

DEFAULT_PREFIX = "homeassistant"
_PREFIX_BYTES = 128
MOST_PEOPLE = 10_000


def discovery_prefix(text: str) -> str:
    """Read the prefix of discovery topics.

    Raises:
        ValueError: it is no MQTT topic.
    """
    prefix = text.strip("/")
    if not prefix or len(prefix.encode()) > _PREFIX_BYTES or set("+#\0") & set(prefix) or not prefix.isprintable():
        raise ValueError(f"expected an MQTT topic without + and #, of at most {_PREFIX_BYTES} bytes, got {text!r:.40}")
    return prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAssistantSettings:
    """What Home Assistant is told.

    Attributes:
        home_assistant: prefix of the discovery topics; None to announce nothing.
        presence_window: seconds for which a person still counts as in sight after the last face.
        home_assistant_people: largest number of people that are announced, those enrolled first.
        home_assistant_images: whether the image of each decided face is published.
        home_assistant_state: file that keeps identifiers, sightings and counts over a restart; None for one in the
            cache.
    """

    home_assistant: str | None = setting(
        None,
        read=discovery_prefix,
        bare=DEFAULT_PREFIX,
        metavar="PREFIX",
        group="home assistant",
        help="announce cameras and enrolled people to Home Assistant by MQTT discovery, over the connection for "
        f"events (default prefix: {DEFAULT_PREFIX})",
    )
    presence_window: float = setting(
        30.0,
        permitted=Range(least=0, most=86_400),
        metavar="S",
        group="home assistant",
        help="a person counts as in sight until S seconds after the last face",
    )
    home_assistant_people: int = setting(
        500,
        permitted=Range(least=0, most=MOST_PEOPLE, is_whole=True),
        metavar="N",
        group="home assistant",
        help="announce at most N people, those enrolled first",
    )
    home_assistant_images: bool = setting(
        False,
        read=None,
        group="home assistant",
        help="publish an image of each identified or unknown face to the broker",
    )
    home_assistant_state: Path | None = setting(
        None,
        read=Path,
        metavar="FILE.json",
        group="home assistant",
        help="keep identifiers, sightings and counts here (default: in the cache)",
    )

    def __post_init__(self) -> None:
        """Refuse values that are not permitted."""
        check(self)
