"""Convert weights and arithmetic to float16, for GPUs."""

from __future__ import annotations

import onnx

from edge_sphereface.inference.telemetry import import_onnxruntime


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
