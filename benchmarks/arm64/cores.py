"""Arm cores whose caches and costs are modelled, each as it is on a board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.arm64.instructions import Cache

if TYPE_CHECKING:
    from collections.abc import Mapping

_KIB = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A core on a board.

    Attributes:
        board: name of the board.
        ghz: clock of the core in GHz.
        caches: data caches from the first level to the last; a shared one counts as a whole.
        vector_per_cycle: vector operations of 128 bits that start in one cycle.
        has_half: whether the core computes in half precision.
        memory_gb_s: 10^9 bytes that the board moves to and from memory in a second, as published; None if it is to be
            fitted.
    """

    board: str
    ghz: float
    caches: tuple[Cache, ...]
    vector_per_cycle: float
    has_half: bool = False
    memory_gb_s: float | None = None


CORES: Mapping[str, Core] = {
    "cortex-a53": Core(
        board="Raspberry Pi 3 B+",
        ghz=1.4,
        caches=(Cache(bytes=32 * _KIB, ways=4), Cache(bytes=512 * _KIB, ways=16)),
        vector_per_cycle=1,
    ),
    "cortex-a72": Core(
        board="Raspberry Pi 4",
        ghz=1.8,
        caches=(Cache(bytes=32 * _KIB, ways=2), Cache(bytes=1024 * _KIB, ways=16)),
        vector_per_cycle=1,
    ),
    "cortex-a76": Core(
        board="Raspberry Pi 5",
        ghz=2.4,
        caches=(
            Cache(bytes=64 * _KIB, ways=4),
            Cache(bytes=512 * _KIB, ways=8),
            Cache(bytes=2048 * _KIB, ways=16),
        ),
        vector_per_cycle=2,
        has_half=True,
        memory_gb_s=2 * 5.2732,
    ),
    "neoverse-n1": Core(
        board="Jetson Orin Nano",
        ghz=1.5,
        caches=(
            Cache(bytes=64 * _KIB, ways=4),
            Cache(bytes=256 * _KIB, ways=8),
            Cache(bytes=2048 * _KIB, ways=16),
        ),
        vector_per_cycle=2,
        has_half=True,
    ),
}
"""Cores by their names in ``PROCESSORS``. Neoverse N1 stands for the Cortex-A78AE of Jetson Orin, with the caches of
that one.

Sizes and clocks are those commonly published for the boards, and the rates follow from the published peaks of single
precision: 8 operations per cycle of Cortex-A53 and A72, 16 of Cortex-A76 and later. None was compared with the manuals
of Arm or of the boards' makers.

Source of ``memory_gb_s``: ThomasKaiser/sbc-bench, results/Au3jaA.txt, a Raspberry Pi 5 at 2.4 GHz on 27 January 2024:
libc's memcpy copies 5273.2 MB/s, and each byte is read and written.
"""
