"""Processors that can be emulated, and the features that they announce."""

from __future__ import annotations

from dataclasses import dataclass

ARM64, X86_64 = "aarch64", "x86_64"
_ARM_LIMITED = 0x41


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor that can be emulated.

    Attributes:
        name: name in reports.
        qemu: name of the processor in QEMU.
        machine: ``aarch64`` or ``x86_64``.
        part: part number of an Arm core, as in /proc/cpuinfo.
    """

    name: str
    qemu: str
    machine: str = ARM64
    part: int = 0


PROCESSORS = {
    "cortex-a53": Processor(name="Cortex-A53 (Raspberry Pi 3, Zero 2)", qemu="cortex-a53", part=0xD03),
    "cortex-a72": Processor(name="Cortex-A72 (Raspberry Pi 4)", qemu="cortex-a72", part=0xD08),
    "cortex-a76": Processor(name="Cortex-A76 (Raspberry Pi 5)", qemu="cortex-a76", part=0xD0B),
    # QEMU has no Cortex-A78AE; Neoverse N1 has its instructions: Armv8.2-A with dot product and FP16, no I8MM, no SVE
    "neoverse-n1": Processor(name="Neoverse N1 (like Jetson Orin's A78AE)", qemu="neoverse-n1", part=0xD0C),
    # QEMU's own name for it, implementer 0, is none that onnxruntime 1.32 survives: it goes by that of a Neoverse V2
    "max": Processor(name="Armv9 with SVE2, SME, I8MM", qemu="max", part=0xD4F),
    "haswell": Processor(name="x86-64, AVX2 without VNNI", qemu="Haswell", machine=X86_64),
}
"""Processors by their names on the command line."""

_HWCAP = [
    "fp",
    "asimd",
    "evtstrm",
    "aes",
    "pmull",
    "sha1",
    "sha2",
    "crc32",
    "atomics",
    "fphp",
    "asimdhp",
    "cpuid",
    "asimdrdm",
    "jscvt",
    "fcma",
    "lrcpc",
    "dcpop",
    "sha3",
    "sm3",
    "sm4",
    "asimddp",
    "sha512",
    "sve",
    "asimdfhm",
    "dit",
    "uscat",
    "ilrcpc",
    "flagm",
    "ssbs",
    "sb",
    "paca",
    "pacg",
]
_HWCAP2 = [
    "dcpodp",
    "sve2",
    "sveaes",
    "svepmull",
    "svebitperm",
    "svesha3",
    "svesm4",
    "flagm2",
    "frint",
    "svei8mm",
    "svef32mm",
    "svef64mm",
    "svebf16",
    "i8mm",
    "bf16",
    "dgh",
    "rng",
    "bti",
    "mte",
    "ecv",
    "afp",
    "rpres",
    "mte3",
    "sme",
    "smei16i64",
    "smef64f64",
    "smei8i32",
    "smef16f32",
    "smeb16f32",
    "smef32f32",
    "smefa64",
    "wfxt",
]
"""Names of the bits, in order. Source: Linux, arch/arm64/include/uapi/asm/hwcap.h."""


def features(hwcap: int, hwcap2: int) -> list[str]:
    """Return the names of the features that an Arm kernel announces in two words of bits."""
    return [
        name
        for bits, names in ((hwcap, _HWCAP), (hwcap2, _HWCAP2))
        for number, name in enumerate(names)
        if bits >> number & 1
    ]


def cpuinfo(processor: Processor, hwcap: int, hwcap2: int, count: int) -> str:
    """Return the /proc/cpuinfo of an Arm machine, which onnxruntime reads on import and which must be correct.

    Args:
        processor: processor of the machine.
        hwcap: AT_HWCAP of such a core.
        hwcap2: AT_HWCAP2 of such a core.
        count: number of cores. It must match the real /sys, which emulated programs see.
    """
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nFeatures\t: {' '.join(features(hwcap, hwcap2))}\n"
        f"CPU implementer\t: {_ARM_LIMITED:#04x}\nCPU architecture: 8\nCPU variant\t: 0x0\n"
        f"CPU part\t: {processor.part:#05x}\nCPU revision\t: 1\n\n"
        for number in range(count)
    )
