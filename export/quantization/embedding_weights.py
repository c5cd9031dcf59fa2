"""Store the weights of the embedding layer in 8 bits, and compute everything else in float32.

The layer reads each of its weights once for a face: half of a plain float file of full width, for a hundredth of the
products. Memory bandwidth limits it, and only fewer bytes help.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from export.layers import EMBEDDING
from export.rewrite.weights import read_weights, rebuild

_BLOCK = 128
"""Weights with a common scale. Larger blocks are hardly faster."""
_BITS, _ZERO, _LARGEST = 8, 128, 127
_INTEGER_PRODUCTS = 4
"""Value of ``accuracy_level`` with which the kernel rounds its input to 8 bits as well, one scale for each block.
Without it, onnxruntime's kernels on Arm and x86-64 convert all weights to float first, which is slower."""
_DOMAIN = "com.microsoft"


def with_embedding_weights_in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the embedding layer by ``MatMulNBits``, an operator of onnxruntime.

    Args:
        model: float32 model, plain or rewritten; it is not modified.
    """
    weights = read_weights(model)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name != EMBEDDING:
            nodes.append(node)
            continue
        matrix, biased = weights[node.input[1]], len(node.input) > 2
        names = [f"{EMBEDDING}.weight.blocks", f"{EMBEDDING}.weight.scales"]
        weights.update(zip(names, quantize_blocks(matrix), strict=True))
        product = f"{EMBEDDING}.product" if biased else node.output[0]
        nodes.append(
            helper.make_node(
                "MatMulNBits",
                [node.input[0], *names],
                [product],
                name=EMBEDDING,
                domain=_DOMAIN,
                N=matrix.shape[0],
                K=matrix.shape[1],
                bits=_BITS,
                block_size=_BLOCK,
                accuracy_level=_INTEGER_PRODUCTS,
            )
        )
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{EMBEDDING}.bias"))
    source = onnx.ModelProto()
    source.CopyFrom(model)
    source.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return rebuild(source, nodes, weights)


def quantize_blocks(
    matrix: np.ndarray[tuple[int, int], np.dtype[np.float32]],
) -> tuple[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]], np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """Round blocks of weights to 8 bits.

    Args:
        matrix: (N, K) float32 weights.

    Returns:
        (N, B, 128) uint8 values with the zero point 128, and (N, B) float32 scales, of B blocks for each row. The last
        block is filled with zeros.
    """
    rows, columns = matrix.shape
    blocks = -(-columns // _BLOCK)
    padded = np.zeros((rows, blocks * _BLOCK), np.float32)
    padded[:, :columns] = matrix
    parts = padded.reshape(rows, blocks, _BLOCK)
    scales = np.abs(parts).max(axis=2) / np.float32(_LARGEST)
    scales[scales < np.finfo(np.float32).tiny] = 1
    return (np.rint(parts / scales[:, :, None]) + _ZERO).astype(np.uint8), scales
