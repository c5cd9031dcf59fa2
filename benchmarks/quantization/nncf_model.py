"""Quantize an ONNX file by NNCF, in the environment of NNCF.

Usage: ``python -m benchmarks.quantization.nncf_model MODEL.onnx BATCHES.npy TARGET.xml``
"""

from __future__ import annotations

import sys

import numpy as np


def main(model: str, batches: str, target: str) -> None:
    """Quantize with NNCF's defaults."""
    import nncf
    import openvino

    network = openvino.Core().read_model(model)
    shape = network.inputs[0].partial_shape
    shape[0] = 1
    network.reshape({network.inputs[0].any_name: shape})
    inputs = [row[None] for row in np.load(batches)]
    quantized = nncf.quantize(network, nncf.Dataset(inputs), subset_size=len(inputs))
    openvino.save_model(quantized, target, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
