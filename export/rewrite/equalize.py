"""Equalize the ranges of channels, so that one scale for a whole tensor uses its 256 steps better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx


_KEEPS_CHANNELS = ("PRelu", "Relu", "Add", "Flatten")
_SMALLEST_SHARE = 2.0**-10
"""Least range of a channel relative to the widest one. It bounds the factor of channels that are nearly always zero."""


class _Group(NamedTuple):
    """Tensors that must share one factor per channel, and the nodes that write and read them."""

    tensors: set[str]
    writers: list[onnx.NodeProto]
    readers: list[onnx.NodeProto]


def equalize_channels(
    model: onnx.ModelProto, maxima: Mapping[str, np.ndarray[Any, Any]], strength: float
) -> onnx.ModelProto:
    """Multiply channels by factors, and divide the weights that read them by the same factors.

    PRelu, Relu and Add commute with a positive factor per channel. A factor can therefore move into the weights that
    write a group of tensors (a residual trunk, or the inside of a residual pair) and out of the weights that read it.
    The result equals the input up to rounding.

    Cases:

    1. A group written by convolutions and read by convolutions or, through Flatten, by Gemm is equalized.
    2. A group that contains an input or output of the graph, or that another operator uses, is not changed.

    Args:
        model: model whose PRelu are not decomposed; it is not modified.
        maxima: largest absolute value of each channel, (C,), by name of each output of Conv, PRelu, Relu and Add.
        strength: 0 changes nothing; 1 gives every channel the range of the widest one.

    References:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019. Here the ranges
        are those of activations, since weights already have a scale per channel.
    """
    weights = read_weights(model)
    for group in _groups(model):
        widest = np.max([maxima[name] for name in group.tensors if name in maxima], axis=0)
        share = np.maximum(widest / max(float(widest.max()), np.finfo(np.float32).tiny), _SMALLEST_SHARE)
        factors = (share**-strength).astype(np.float32)
        for node in group.writers:
            for name in node.input[1:]:
                weights[name] = weights[name] * factors.reshape(-1, *[1] * (weights[name].ndim - 1))
        for node in group.readers:
            weights[node.input[1]] = _divided(weights[node.input[1]], factors)
    return rebuild(model, model.graph.node, weights)


def _divided(weight: np.ndarray[Any, Any], factors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Divide weights by factors of their input channels: (out, C, h, w) of Conv, or (out, C * cells) of Gemm."""
    by_channel = weight.reshape(len(weight), len(factors), -1)
    divided: np.ndarray[Any, Any] = by_channel / factors[:, None]
    return divided.reshape(weight.shape)


def _groups(model: onnx.ModelProto) -> list[_Group]:
    """Return the groups that can be equalized."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    for node in model.graph.node:
        if node.op_type in _KEEPS_CHANNELS:
            for name in node.input if node.op_type == "Add" else node.input[:1]:
                leader[find(name)] = find(node.output[0])
    groups: dict[str, _Group] = {}
    excluded = {find(value.name) for value in (*model.graph.input, *model.graph.output)}
    for node in model.graph.node:
        source, target = find(node.input[0]), find(node.output[0])
        for name in (source, target):
            groups.setdefault(name, _Group(set(), [], []))
        groups[source].tensors.add(node.input[0])
        groups[target].tensors.add(node.output[0])
        if node.op_type in ("Conv", "Gemm") and _is_plain(node, model):
            groups[source].readers.append(node)
            groups[target].writers.append(node)
        elif node.op_type not in _KEEPS_CHANNELS:
            excluded |= {source, target}
    return [group for name, group in groups.items() if name not in excluded and group.writers and group.readers]


def _is_plain(node: onnx.NodeProto, model: onnx.ModelProto) -> bool:
    """Whether all weights are initializers in the usual layout: one output channel per row, no groups."""
    known = {tensor.name for tensor in model.graph.initializer}
    settings = {attribute.name: attribute.i for attribute in node.attribute}
    layout = settings.get("group", 1) == 1 if node.op_type == "Conv" else settings.get("transB", 0) == 1
    return layout and all(name in known for name in node.input[1:])
