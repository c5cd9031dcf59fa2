"""Quantization metadata of a model, and whether this processor runs it as intended."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from edge_sphereface.cpu import read_cpuinfo
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Cosine, Count, Rate, Record, Sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

Target: TypeAlias = Literal["portable", "arm64", "x86-vnni", "float16"]
TARGET_PORTABLE: Final = "portable"
TARGET_ARM64: Final = "arm64"
TARGET_X86_VNNI: Final = "x86-vnni"
INT8_TARGETS: tuple[Target, ...] = (TARGET_PORTABLE, TARGET_ARM64, TARGET_X86_VNNI)
TARGET_FLOAT16: Final = "float16"
WEIGHT_BITS: dict[Target, int] = {TARGET_PORTABLE: 7, TARGET_ARM64: 8, TARGET_X86_VNNI: 8, TARGET_FLOAT16: 16}
"""Weights of 7 bits never saturate in the 16-bit sums of x86-64 processors without VNNI."""

_VNNI_FLAGS = {"avx512_vnni", "avx_vnni"}
_X86_64 = ("x86_64", "amd64")
_ARM64 = ("aarch64", "arm64")


class ProcessorWarning(UserWarning):
    """A model runs on another kind of processor than it was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization(Record):
    """How a model came to its precision, and what that cost.

    Attributes:
        target: kind of processor: ``portable``, ``arm64``, ``x86-vnni``; ``float16`` for a model of that precision.
        weight_bits: 7, 8 or 16.
        rules: layer and the rule that its ranges follow.
        equalization: strength with which channels were brought to one range, 0 to 1.
        bias_correction: whether biases undo the mean error of rounding.
        float_layers: layers that stayed in float32.
        calibration_crops: crops that the choices above rest on.
        float_sha256: of the float model, in hexadecimal.
        proof_crops: other crops, on which the following was measured.
        cosine_mean: between embeddings of this model and of the float model.
        cosine_p1: 1 of 100 is lower.
        cosine_min: the lowest.
    """

    record_name = "The model's record of its quantization"
    record_error = ModelFormatError
    record_hint = "quantize the float model again"
    record_remedy = "quantize-model"

    target: Target
    weight_bits: int
    rules: tuple[tuple[str, str], ...]
    equalization: Rate
    bias_correction: bool
    float_layers: tuple[str, ...]
    calibration_crops: Count
    float_sha256: Sha256
    proof_crops: Count
    cosine_mean: Cosine
    cosine_p1: Cosine
    cosine_min: Cosine

    def _faults(self) -> Iterator[str]:
        if self.weight_bits != WEIGHT_BITS[self.target]:
            yield f"weight_bits must be {WEIGHT_BITS[self.target]} for target {self.target!r}, not {self.weight_bits}"


def processor_mismatch(target: str, processor: str, flags: frozenset[str]) -> str:
    """Why a model made for a target should not run on a processor; empty if it may.

    Args:
        target: one of ``INT8_TARGETS`` or ``TARGET_FLOAT16``.
        processor: as ``platform.machine()`` names it.
        flags: features, as /proc/cpuinfo names them; empty if unknown.
    """
    kind = processor.lower()
    has_vnni = bool(flags & _VNNI_FLAGS)
    if target in (TARGET_ARM64, TARGET_X86_VNNI) and kind in _X86_64 and not has_vnni:
        seen = "has no VNNI" if flags else "does not tell whether it has VNNI"
        return (
            f"This model has 8-bit weights (target {target}), and this x86-64 processor {seen}: without it sums "
            "saturate and the embeddings are wrong. Use a model of target 'portable'."
        )
    if target == TARGET_X86_VNNI and kind in _ARM64:
        return f"This model was made and timed for x86-64 with VNNI, and this processor is {processor}: use 'arm64'."
    if target == TARGET_ARM64 and kind in _X86_64:
        return f"This model was made and timed for arm64, and this processor is {processor}: use 'x86-vnni'."
    return ""


def mismatch_here(target: str) -> str:
    """The same for the processor of this machine."""
    _, flags = read_cpuinfo()
    return processor_mismatch(target, platform.machine(), flags)
