"""Bounds of requests with pictures."""

from __future__ import annotations

from dataclasses import dataclass

from edge_sphereface.setting import Range, check, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """Bounds of requests with pictures. The fields' help describes them."""

    picture_mib: float = setting(
        16.0,
        permitted=Range(least=0.01, most=256),
        metavar="MIB",
        help="largest size of a picture's file, in MiB",
    )
    picture_megapixels: float = setting(
        64.0,
        permitted=Range(least=0.01, most=128),
        metavar="N",
        help="most pixels of a picture, in millions; checked before it is decoded",
    )
    picture_deadline_s: float = setting(
        10.0,
        permitted=Range(least=0, is_open=True, most=600),
        metavar="S",
        help="longest time until an answer, in seconds",
    )
    picture_patience_s: float = setting(
        1.0,
        permitted=Range(least=0, most=600),
        metavar="S",
        help="longest wait of a picture in a burst, in seconds; more are refused",
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def file_bytes(self) -> int:
        """Largest size of a picture's file, in bytes."""
        return round(self.picture_mib * (1 << 20))

    @property
    def pixels(self) -> int:
        """Largest number of pixels of a picture."""
        return round(self.picture_megapixels * 1e6)
