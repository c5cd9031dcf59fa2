"""Convert weights and arithmetic to float16, for GPUs and Arm processors with float16 arithmetic."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import onnx

from edge_sphereface.cpu import read_cpuinfo
from edge_sphereface.inference.session import CPU
from edge_sphereface.inference.telemetry import import_onnxruntime

if TYPE_CHECKING:
    from edge_sphereface.inference.embedder import Embedder

_ARM_FLOAT16 = "asimdhp"
"""Flag in /proc/cpuinfo for float16 arithmetic (Cortex-A76 has it, Cortex-A72 does not)."""


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a network to float16. Inputs and outputs keep their types.

    Args:
        model: float32 model; it is not modified.
    """
    convert = import_onnxruntime("transformers.float16").convert_float_to_float16
    wrap = import_onnxruntime("transformers.onnx_model").OnnxModel
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    made: onnx.ModelProto = convert(copy, keep_io_types=True, op_block_list=[])
    wrap(made).topological_sort()  # the converter puts its casts at the end
    onnx.checker.check_model(made)
    return made


def has_float16_arithmetic(machine: str, flags: frozenset[str]) -> bool:
    """Whether a processor has float16 arithmetic that onnxruntime uses.

    Args:
        machine: architecture, as ``platform.machine`` returns it.
        flags: features of the processor, as /proc/cpuinfo names them.
    """
    return machine.lower() in ("aarch64", "arm64") and _ARM_FLOAT16 in flags


def no_float16_reason(embedder: Embedder) -> str:
    """Reason why float16 is slow for an execution provider on this machine; empty if it is not."""
    if embedder.provider.active[0] != CPU:
        return ""
    _, flags = read_cpuinfo()
    if has_float16_arithmetic(platform.machine(), flags):
        return ""
    return f"this processor ({platform.machine()}) has no float16 arithmetic that onnxruntime uses"
