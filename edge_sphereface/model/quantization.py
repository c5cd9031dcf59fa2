"""Quantization record of a model, and a check of the processor that runs it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from edge_sphereface.cpu import read_cpuinfo
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Cosine, Count, Rate, Record, Sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

Target: TypeAlias = Literal[
    "portable",
    "arm64",
    "x86-vnni",
    "x86-amx",
    "openvino",
    "float16",
    "float16-arm64",
    "float16-large-tiles",
    "weights8",
]
TARGET_PORTABLE: Final = "portable"
TARGET_ARM64: Final = "arm64"
TARGET_X86_VNNI: Final = "x86-vnni"
TARGET_X86_AMX: Final = "x86-amx"
TARGET_OPENVINO: Final = "openvino"
INT8_TARGETS: tuple[Target, ...] = (
    TARGET_PORTABLE,
    TARGET_ARM64,
    TARGET_X86_VNNI,
    TARGET_X86_AMX,
    TARGET_OPENVINO,
)
TARGET_FLOAT16: Final = "float16"
TARGET_FLOAT16_ARM64: Final = "float16-arm64"
TARGET_LARGE_TILES: Final = "float16-large-tiles"
TARGET_WEIGHTS8: Final = "weights8"
WEIGHT_BITS: dict[Target, int] = {
    TARGET_PORTABLE: 7,
    TARGET_ARM64: 8,
    TARGET_X86_VNNI: 8,
    TARGET_X86_AMX: 8,
    TARGET_OPENVINO: 7,
    TARGET_FLOAT16: 16,
    TARGET_FLOAT16_ARM64: 16,
    TARGET_LARGE_TILES: 16,
    TARGET_WEIGHTS8: 8,
}
"""Bits of a weight for each target. 7-bit weights never saturate the 16-bit sums of x86-64 processors without VNNI."""

_VNNI_FLAGS = {"avx512_vnni", "avx_vnni"}
_AMX_FLAGS = {"amx_tile", "amx_int8"}
_ARM_DOT_PRODUCT = "asimddp"
_ARM_FLOAT16 = "asimdhp"
"""Flag in /proc/cpuinfo for float16 arithmetic (Cortex-A76 has it, Cortex-A72 does not)."""
_X86_64 = ("x86_64", "amd64")
_ARM64 = ("aarch64", "arm64")


class ProcessorWarning(UserWarning):
    """A model runs on a kind of processor that it was not made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization(Record):
    """How a model was quantized, and how close its embeddings are to those of the float model.

    Attributes:
        target: kind of processor: ``portable``, ``arm64``, ``x86-vnni`` or ``x86-amx``; ``openvino`` for onnxruntime's
            OpenVINO provider; of a float16 model ``float16`` for GPUs or ``float16-arm64`` for Arm processors with
            float16 arithmetic; ``float16-large-tiles`` for such a model that ncnn filters in tiles of any size;
            ``weights8`` for a float32 model with 8-bit weights of the embedding layer.
        weight_bits: bits of a weight: 7, 8 or 16.
        rules: pairs of a layer and the rule that chose its activation range.
        equalization: strength of the channel equalization, 0 to 1.
        bias_correction: whether the biases compensate for the mean rounding error.
        float_layers: layers that stay in float32.
        calibration_crops: number of crops used for calibration.
        float_sha256: SHA-256 of the float model in hexadecimal.
        proof_crops: number of other crops, on which the following similarities were measured.
        cosine_mean: mean cosine similarity between embeddings of this model and of the float model.
        cosine_p1: first percentile of that similarity.
        cosine_min: minimum of that similarity.
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


def saturates(processor: str, flags: frozenset[str]) -> bool:
    """Whether sums of 8-bit weights saturate on a processor: on x86-64, unless it is known to have VNNI.

    Args:
        processor: name of the processor architecture, as ``platform.machine()`` returns it.
        flags: processor features, as /proc/cpuinfo lists them; empty if unknown.
    """
    return processor.lower() in _X86_64 and not flags & _VNNI_FLAGS


def has_float16_arithmetic(processor: str, flags: frozenset[str]) -> bool:
    """Whether a processor has float16 arithmetic that onnxruntime uses.

    Args:
        processor: name of the processor architecture, as ``platform.machine()`` returns it.
        flags: processor features, as /proc/cpuinfo lists them; empty if unknown.
    """
    return processor.lower() in _ARM64 and _ARM_FLOAT16 in flags


def processor_mismatch(target: str, processor: str, flags: frozenset[str]) -> str:
    """Explain why a model made for a target should not run on a processor by the CPU provider; empty if it should.

    Args:
        target: a target of :data:`WEIGHT_BITS`.
        processor: name of the processor architecture, as ``platform.machine()`` returns it.
        flags: processor features, as /proc/cpuinfo lists them; empty if unknown.
    """
    kind = processor.lower()
    if target == TARGET_OPENVINO:
        return (
            "This model was made for onnxruntime's OpenVINO provider. On the CPU provider its convolutions are in "
            "float, and it takes longer than the float model. Use provider 'openvino', or a model of another target."
        )
    if target in (TARGET_ARM64, TARGET_X86_VNNI, TARGET_X86_AMX) and saturates(processor, flags):
        seen = "has no VNNI" if flags else "does not tell whether it has VNNI"
        return (
            f"This model has 8-bit weights (target {target}), and this x86-64 processor {seen}: without it sums "
            "saturate and the embeddings are wrong. Use a model of target 'portable'."
        )
    if target in (TARGET_X86_VNNI, TARGET_X86_AMX) and kind in _ARM64:
        unit = "AMX" if target == TARGET_X86_AMX else "VNNI"
        return f"This model was made and timed for x86-64 with {unit}, and this processor is {processor}: use 'arm64'."
    if target == TARGET_X86_AMX and kind in _X86_64 and not flags >= _AMX_FLAGS:
        return "This model was made and timed for x86-64 with AMX, which this processor does not have: use 'x86-vnni'."
    if target == TARGET_ARM64 and kind in _X86_64:
        return f"This model was made and timed for arm64, and this processor is {processor}: use 'x86-vnni'."
    return _slow_reason(target, processor, flags)


def _slow_reason(target: str, processor: str, flags: frozenset[str]) -> str:
    """Explain why a model takes longer than its float model on a processor; empty if it should not."""
    half = f", or one of target '{TARGET_FLOAT16_ARM64}'" if has_float16_arithmetic(processor, flags) else ""
    if target == TARGET_FLOAT16:
        return (
            "This float16 model was made for GPUs. On a CPU, onnxruntime converts its values back and forth, and "
            f"it takes longer than the float model. Use the float model{half}."
        )
    if target == TARGET_WEIGHTS8 and processor.lower() in _ARM64 and flags and _ARM_DOT_PRODUCT not in flags:
        return (
            "The embedding layer of this model has 8-bit weights, for which onnxruntime has no fast kernel on this "
            "processor without dot product: it takes longer than the float model. Use the float model."
        )
    if target == TARGET_FLOAT16_ARM64 and not has_float16_arithmetic(processor, flags):
        return (
            "This float16 model was made for Arm processors with float16 arithmetic, and this processor "
            f"({processor}) does not report it: the model takes longer than the float model. Use the float model."
        )
    return ""


def mismatch_here(target: str) -> str:
    """Explain why a model made for a target should not run on this machine's CPU provider; empty if it should."""
    _, flags = read_cpuinfo()
    return processor_mismatch(target, platform.machine(), flags)


def is_for_cpu_provider(target: str) -> bool:
    """Whether a target is an INT8 form for onnxruntime's CPU provider, whose integer sums are exact."""
    return target in INT8_TARGETS and target != TARGET_OPENVINO


def provider_mismatch(target: str, provider: str) -> str:
    """Explain why a model made for a target should not run on another provider than the CPU's; empty if it should.

    Args:
        target: a target of :data:`WEIGHT_BITS`.
        provider: name of the provider.
    """
    if not is_for_cpu_provider(target):
        return ""
    return (
        f"This INT8 model (target {target}) was made for the CPU provider. {provider} rounds in other places, and its "
        "certificate may not hold there. Use provider 'cpu', or a model that was made for this provider."
    )
