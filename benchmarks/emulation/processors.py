"""Processors that can be emulated, and what they tell of themselves."""

from __future__ import annotations

from dataclasses import dataclass

_ARM_CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part}
CPU revision\t: 1
"""
_V8_0 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_V8_2 = f"{_V8_0} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """One processor.

    Attributes:
        name: for people.
        qemu: the emulator's name for it.
        machine: ``aarch64`` or ``x86_64``.
        cpuinfo: its /proc/cpuinfo, which onnxruntime reads on Arm and must match; empty on x86-64.
    """

    name: str
    qemu: str
    machine: str
    cpuinfo: str = ""


PROCESSORS = {
    "cortex-a72": Processor(
        name="Cortex-A72 (Raspberry Pi 4)",
        qemu="cortex-a72",
        machine="aarch64",
        cpuinfo=_ARM_CPUINFO.format(features=_V8_0, part="0xd08"),
    ),
    "cortex-a76": Processor(
        name="Cortex-A76 (Raspberry Pi 5)",
        qemu="cortex-a76",
        machine="aarch64",
        cpuinfo=_ARM_CPUINFO.format(features=_V8_2, part="0xd0b"),
    ),
    "haswell": Processor(name="x86-64, AVX2 without VNNI", qemu="Haswell", machine="x86_64"),
}
"""By the name on the command line."""
