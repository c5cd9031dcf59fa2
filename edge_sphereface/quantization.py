"""What a model of reduced precision says of itself, and whether a processor runs it as it was meant."""

from __future__ import annotations

import math
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.cpu import read_cpuinfo
from edge_sphereface.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET_PORTABLE, TARGET_ARM64, TARGET_X86_VNNI = "portable", "arm64", "x86-vnni"
INT8_TARGETS = (TARGET_PORTABLE, TARGET_ARM64, TARGET_X86_VNNI)
TARGET_FLOAT16 = "float16"
WEIGHT_BITS = {TARGET_PORTABLE: 7, TARGET_ARM64: 8, TARGET_X86_VNNI: 8, TARGET_FLOAT16: 16}
"""Weights of 7 bits never saturate in the 16-bit sums of x86-64 processors without VNNI."""

_VNNI_FLAGS = {"avx512_vnni", "avx_vnni"}
_X86_64 = ("x86_64", "amd64")
_ARM64 = ("aarch64", "arm64")


class ProcessorWarning(UserWarning):
    """A model runs on another kind of processor than it was made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
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

    target: str
    weight_bits: int
    rules: tuple[tuple[str, str], ...]
    equalization: float
    bias_correction: bool
    float_layers: tuple[str, ...]
    calibration_crops: int
    float_sha256: str
    proof_crops: int
    cosine_mean: float
    cosine_p1: float
    cosine_min: float

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ModelFormatError(f"The model's record of its quantization is not valid: {'; '.join(problems)}.")


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


def _problems(record: Quantization) -> Iterator[str]:
    if record.target not in WEIGHT_BITS or record.weight_bits != WEIGHT_BITS[record.target]:
        yield f"target and weight_bits must be one of {WEIGHT_BITS}, not {record.target!r} and {record.weight_bits!r}"
    if not isinstance(record.float_sha256, str):
        yield f"float_sha256 must be text, not {record.float_sha256!r}"
    if not isinstance(record.bias_correction, bool):
        yield f"bias_correction must be true or false, not {record.bias_correction!r}"
    if not isinstance(record.rules, tuple) or not all(_are_texts(rule) and len(rule) == 2 for rule in record.rules):
        yield f"rules must be pairs of layer and rule, not {record.rules!r}"
    if not _are_texts(record.float_layers):
        yield f"float_layers must be names, not {record.float_layers!r}"
    for name in ("calibration_crops", "proof_crops"):
        if type(getattr(record, name)) is not int or getattr(record, name) < 0:
            yield f"{name} must be a count, not {getattr(record, name)!r}"
    for name in ("equalization", "cosine_mean", "cosine_p1", "cosine_min"):
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            yield f"{name} must be a finite number, not {value!r}"


def _are_texts(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, str) for value in values)
