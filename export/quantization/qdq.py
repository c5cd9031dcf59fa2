"""Build the quantized graph: QuantizeLinear and DequantizeLinear around each operator that runs in integers.

Activations are uint8 with one scale and zero point per tensor. Weights are int8 with one scale per channel and zero
point 0. Biases are int32. The embedding is float32. onnxruntime fuses each group into an integer kernel. Other kernels
need another form, see :class:`export.quantization.kernels.Kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from edge_sphereface.model.spec import LAYOUT_IMAGE
from export.graph import INPUT_NAME
from export.layers import layer_of
from export.quantization.prefix import EMPTY, Prefix, quantized_name
from export.rewrite.weights import rebuild

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx
    from numpy.typing import NDArray

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array
    from export.quantization.kernels import Kernels
    from export.quantization.ranges import Range

WEIGHT_LIMIT = {7: 64, 8: 127}
"""Largest quantized weight by bits. 255 * 64 * 2 fits into 16 bits, in which AVX2 without VNNI adds two products."""
_FIRST_LAYER = "conv1_1"
_BIAS_LIMIT = 2.0**30


@dataclass(frozen=True, slots=True)
class WeightCache:
    """What quantizing computed from the weights of a float network, for models that differ from it in biases only.

    Attributes:
        arrays: float weights by name, all that are no vectors.
        largest: largest absolute value of each row, by name of the layer.
        whole: quantized weights by name of the layer and bytes of their scales.
    """

    arrays: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    largest: dict[str, Float32Array] = field(default_factory=dict)
    whole: dict[tuple[str, bytes], NDArray[np.int8]] = field(default_factory=dict)

    def read(self, model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
        """Return all initializers by name as read-only arrays; weights are copied from a model only once."""
        vectors = {}
        for tensor in model.graph.initializer:
            if len(tensor.dims) < 2:
                vectors[tensor.name] = numpy_helper.to_array(tensor)
            elif tensor.name not in self.arrays:
                self.arrays[tensor.name] = numpy_helper.to_array(tensor)
        return {**self.arrays, **vectors}


def quantize_graph(
    model: onnx.ModelProto,
    spec: ModelSpec,
    ranges: Mapping[str, Range],
    *,
    kernels: Kernels,
    float_layers: Collection[str] = (),
    prefix: Prefix = EMPTY,
    weights: WeightCache | None = None,
) -> onnx.ModelProto:
    """Quantize a float network.

    Args:
        model: model made by :func:`export.graph.build_graph`, rewritten without PRelu unless the kernels fuse it; it is
            not modified.
        spec: specification of the model.
        ranges: range of each inner tensor, by name.
        kernels: integer kernels that run the result.
        float_layers: names of the layers that remain in float32.
        prefix: first layers, which are left out; what they computed becomes the input.
        weights: what earlier calls computed from the same weights; extended by what this call computes.

    Returns:
        The quantized model with the metadata of the float model. ``onnx.checker`` has checked it if it is complete.
    """
    writer = _Writer(
        model,
        spec,
        ranges,
        kernels,
        frozenset(float_layers),
        prefix,
        weights or WeightCache(),
    )
    for node in model.graph.node:
        writer.add(node)
    return rebuild(model, writer.nodes, writer.weights, inputs=prefix.inputs or None, check=not prefix.layers)


class _Writer:
    """Copies nodes and inserts QuantizeLinear and DequantizeLinear around them."""

    def __init__(
        self,
        model: onnx.ModelProto,
        spec: ModelSpec,
        ranges: Mapping[str, Range],
        kernels: Kernels,
        float_layers: frozenset[str],
        prefix: Prefix,
        cache: WeightCache,
    ) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights = cache.read(model)
        self._spec = spec
        self._ranges = dict(ranges)
        self._kernels = kernels
        self._weight_limit = WEIGHT_LIMIT[kernels.weight_bits]
        self._float_layers = float_layers
        self._prefix = prefix
        self._cache = cache
        self._scales: dict[str, Float32Array] = {}
        self._renamed: dict[str, str] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._layer_of_tensor = {node.output[0]: layer_of(node.name) for node in model.graph.node}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def add(self, node: onnx.NodeProto) -> None:
        layer = layer_of(node.name)
        if self._prefix.layers and (layer is None or layer in self._prefix.layers):
            return
        if layer is None and not self._is_float(_FIRST_LAYER):
            return  # normalization is folded into the scale of the input
        if layer is None or self._is_float(layer):
            inputs = [self._read_float(name) for name in node.input]
            self._copy(node, inputs, node.output[0])
        elif node.op_type == "Relu" and not self._kernels.is_symmetric:
            return  # the range of what it writes begins at 0, so quantizing is what cuts off
        elif node.op_type in ("Conv", "Gemm"):
            self._add_weighted(node)
        elif node.op_type in ("PRelu", "Relu"):
            self._copy(node, list(node.input), node.output[0])  # the kernel applies it to its float sums
        else:
            self._copy(node, [self._read(name) for name in node.input], self._written_by(node))
            if node.op_type == "Flatten":
                self._ranges[node.output[0]] = self._ranges[node.input[0]]

    def _is_float(self, layer: str | None) -> bool:
        return layer in self._float_layers

    def _copy(self, node: onnx.NodeProto, inputs: list[str], output: str) -> None:
        made = type(node)()
        made.CopyFrom(node)
        del made.input[:]
        made.input.extend(inputs)
        made.output[0] = output
        self.nodes.append(made)

    def _add_weighted(self, node: onnx.NodeProto) -> None:
        """Add a Conv or Gemm."""
        weight = self.weights[node.input[1]]
        bias = np.zeros(len(weight))
        if len(node.input) > 2:
            bias = np.asarray(self.weights[node.input[2]], dtype=np.float64)
        if node.name == _FIRST_LAYER:
            source, scale, offset = self._read_pixels()
            bias = bias - offset * weight.reshape(len(weight), -1).sum(axis=1, dtype=np.float64)
        else:
            source = self._read(node.input[0])
            scale = self._scales[node.input[0]]
        inputs = [source, *self._add_weights(node, weight, bias, float(scale))]
        self._copy(node, inputs, self._written_by(node))

    def _written_by(self, node: onnx.NodeProto) -> str:
        """Name of the tensor that a node writes: if only Relu reads it, and is left out, the output of that Relu."""
        if self._kernels.is_symmetric:
            return str(node.output[0])
        readers = self._readers.get(node.output[0], [])
        writer = readers[0] if [reader.op_type for reader in readers] == ["Relu"] else node
        return str(writer.output[0])

    def _add_weights(
        self, node: onnx.NodeProto, weight: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], scale: float
    ) -> list[str]:
        name, rows, cache = node.name, weight.reshape(len(weight), -1), self._cache
        if name not in cache.largest:
            cache.largest[name] = np.maximum(rows.max(axis=1), -rows.min(axis=1))
        exact = cache.largest[name].astype(np.float64) / self._weight_limit
        exact = np.maximum(exact, np.abs(bias) / (scale * _BIAS_LIMIT))  # a bias must fit into int32
        scales = np.where(exact > np.finfo(np.float32).tiny, exact, 1.0).astype(np.float32)
        key = (name, scales.tobytes())
        if key not in cache.whole:
            whole = np.rint(rows.astype(np.float64) / scales[:, None])
            cache.whole[key] = np.clip(whole, -self._weight_limit, self._weight_limit).astype(np.int8)
        zero = self._kernels.weight_zero(node.op_type, weight.shape)
        self._add_constant(f"{name}.weight", cache.whole[key].reshape(weight.shape), scales, zero)
        if not bias.any():
            return [f"{name}.weight.dq"]
        if self._kernels.fuses_prelu:
            self.weights[f"{name}.bias"] = bias.astype(np.float32)
            return [f"{name}.weight.dq", f"{name}.bias"]
        bias_scales = np.float32(scale) * scales
        self._add_constant(f"{name}.bias", np.rint(bias / bias_scales).astype(np.int32), bias_scales)
        return [f"{name}.weight.dq", f"{name}.bias.dq"]

    def _add_constant(self, name: str, values: np.ndarray[Any, Any], scales: Float32Array, zero: int = 0) -> None:
        self.weights[f"{name}.q"] = values + values.dtype.type(zero) if zero else values
        self.weights[f"{name}.scale"] = scales
        self.weights[f"{name}.zero"] = np.full(len(scales), zero, dtype=values.dtype)
        inputs = [f"{name}.q", f"{name}.scale", f"{name}.zero"]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}.dq"], name=f"{name}.dq", axis=0))

    def _read_float(self, name: str) -> str:
        """Input of a float layer: dequantized if the writer is an integer layer, so that the writer stays fused."""
        if name in self._ranges and not self._is_float(self._layer_of_tensor.get(name)):
            return self._read(name)
        return name

    def _read(self, name: str) -> str:
        """Input of an integer layer: the dequantized tensor."""
        if name not in self._renamed:
            low, high = self._ranges[name]
            low, high = min(low, 0.0), max(high, 0.0)
            is_symmetric = self._kernels.is_symmetric
            scale = np.float32(max(-low, high) / 127 if is_symmetric else (high - low) / 255)
            if not scale > np.finfo(np.float32).tiny:  # nothing but zeros was seen
                scale = np.float32(1)
            whole = quantized_name(name)
            source = whole if whole in self._prefix.tensors else name
            self._round(source, name, scale, np.int8(0) if is_symmetric else _unsigned(round(-low / float(scale))))
        return self._renamed[name]

    def _round(self, source: str, name: str, scale: np.float32, zero: np.uint8 | np.int8) -> None:
        self.weights[f"{name}.scale"] = np.asarray(scale)
        self.weights[f"{name}.zero"] = np.asarray(zero)
        rule = [f"{name}.scale", f"{name}.zero"]
        whole = quantized_name(name)
        if source != whole:
            self.nodes.append(helper.make_node("QuantizeLinear", [source, *rule], [whole], name=whole))
        self.nodes.append(helper.make_node("DequantizeLinear", [whole, *rule], [f"{name}.dq"], name=f"{name}.dq"))
        self._scales[name] = np.asarray(scale)
        self._renamed[name] = f"{name}.dq"

    def _read_pixels(self) -> tuple[str, Float32Array, float]:
        """Quantize the input to the original pixels, which is lossless.

        Returns:
            Name, scale and offset. Each value exceeds the normalized pixel by the offset, since the zero point is an
            integer and the pixel mean may not be. Zero padding therefore stands for a normalized pixel of -offset.
        """
        name, spec = INPUT_NAME[self._spec.input_layout], self._spec
        scale, zero = np.float32(spec.pixel_scale), int(np.clip(np.floor(spec.pixel_mean), 0, 255))
        offset = (spec.pixel_mean - zero) * float(scale)
        if spec.input_layout == LAYOUT_IMAGE:
            whole = quantized_name("pixels")
            self.nodes.append(helper.make_node("Transpose", [name], [whole], name="to_nchw", perm=[0, 3, 1, 2]))
            self._round(whole, "pixels", scale, _unsigned(zero))
        else:
            self.weights["pixels.offset"] = np.asarray(offset, dtype=np.float32)
            self.nodes.append(helper.make_node("Add", [name, "pixels.offset"], ["pixels"], name="to_pixels"))
            self._round("pixels", "pixels", scale, _unsigned(zero))
        return self._renamed["pixels"], np.asarray(scale), offset


def _unsigned(zero: int) -> np.uint8:
    return np.uint8(np.clip(zero, 0, 255))
