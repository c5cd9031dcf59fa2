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
        emulated_as: name in ``PROCESSORS`` of the core that executes in its place; empty for the core itself.
    """

    board: str
    ghz: float
    caches: tuple[Cache, ...]
    vector_per_cycle: float
    has_half: bool = False
    memory_gb_s: float | None = None
    emulated_as: str = ""


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
    "cortex-a78ae": Core(
        board="Jetson Orin Nano",
        ghz=1.5,
        caches=(
            Cache(bytes=64 * _KIB, ways=4),
            Cache(bytes=256 * _KIB, ways=8),
            Cache(bytes=2048 * _KIB, ways=16),
            Cache(bytes=4096 * _KIB, ways=16),
        ),
        vector_per_cycle=2,
        has_half=True,
        emulated_as="neoverse-n1",
    ),
}
"""Cores by name: a name in ``PROCESSORS`` where QEMU has the core.

QEMU has no Cortex-A78. The Neoverse N1 that executes in place of the Cortex-A78AE is of the same architecture, Armv8.2
with half precision and dot product and without SVE, I8MM and BF16, from which the runtimes choose their kernels. The
sizes of its caches are those of NVIDIA's data sheet of Jetson Orin Nano: 128 KB of first level, half of it for data,
and 256 KB for each core, 2 MB for each cluster, 4 MB for all. The numbers of ways are assumed.

Other sizes and clocks are those commonly published for the boards, and the rates follow from the published peaks of
single precision: 8 operations per cycle of Cortex-A53 and A72, 16 of Cortex-A76 and later. None of these was compared
with the manuals of Arm or of the boards' makers.

Source of ``memory_gb_s``: ThomasKaiser/sbc-bench, results/Au3jaA.txt, a Raspberry Pi 5 at 2.4 GHz on 27 January 2024:
libc's memcpy copies 5273.2 MB/s, and each byte is read and written.
"""
