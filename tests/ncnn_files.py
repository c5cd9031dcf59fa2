"""Models for ncnn as pnnx makes them, made without pnnx."""

import hashlib
import io
import json
from collections import Counter
from dataclasses import replace

import onnx
from onnx import numpy_helper

from edge_sphereface.model.ncnn_file import REWRITE, write_ncnn_model
from edge_sphereface.model.spec import METADATA_KEY, ModelSpec
from export.graph import change_layout


def ncnn_parts(path, precision="float32"):
    """The specification, the description and the weights of a plain ONNX file for ncnn."""
    model = onnx.load(path)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    spec = replace(
        ModelSpec.from_json(properties[METADATA_KEY]), input_layout="nchw", rewrites=(REWRITE,), precision=precision
    )
    graph = change_layout(model, spec).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    names, layers, weights, made = {graph.input[0].name: ["in0"]}, [("Input", "in0", [], ["in0"], "")], [], 1

    def tagged(values):
        data = values.astype("<f2" if precision == "float16" else "<f4").tobytes()
        weights.append((b"Gk0\x01" if precision == "float16" else bytes(4)) + data + bytes(-len(data) % 4))

    for node in graph.node:
        inputs = [names[name].pop() for name in node.input if name not in arrays]
        values = [arrays[name] for name in node.input if name in arrays]
        output = "out0" if node.output[0] == graph.output[0].name else str(made)
        made += 1
        if node.op_type == "Conv":
            stride = next(one.ints[0] for one in node.attribute if one.name == "strides")
            kind, given = "Convolution", f"0={len(values[0])} 1=3 11=3 12=1 13={stride} 14=1 2=1 3={stride} 4=1"
            given = f"{given} 5={len(values) - 1} 6={values[0].size}"
            tagged(values[0])
            weights.extend(value.tobytes() for value in values[1:])
        elif node.op_type == "Gemm":
            kind, given = "InnerProduct", f"0={len(values[0])} 1=1 2={values[0].size}"
            tagged(values[0])
            weights.append(values[1].tobytes())
        elif node.op_type == "PRelu":
            kind, given = "PReLU", f"0={values[0].size}"
            weights.append(values[0].tobytes())
        else:
            kind, given = {"Add": ("BinaryOp", "0=0"), "Flatten": ("Flatten", ""), "Relu": ("ReLU", "")}[node.op_type]
        layers.append((kind, node.name, inputs, [output], given))
        names[node.output[0]] = [output]
        if uses[node.output[0]] > 1:
            names[node.output[0]] = copies = [f"{output}_{number}" for number in range(uses[node.output[0]])]
            layers.append(("Split", f"split{made}", [output], list(copies), ""))
    lines = [
        f"{kind:<24} {name:<24} {len(inputs)} {len(outputs)} {' '.join((*inputs, *outputs, given))}".rstrip()
        for kind, name, inputs, outputs, given in layers
    ]
    blobs = sum(len(outputs) for _, _, _, outputs, _ in layers)
    return spec, "\n".join(["7767517", f"{len(layers)} {blobs}", *lines, ""]), b"".join(weights)


def write_ncnn(path, output, precision="float32"):
    """Write a plain ONNX file as a model for ncnn."""
    spec, network, weights = ncnn_parts(path, precision)
    with output.open("wb") as stream:
        write_ncnn_model(stream, spec, network, io.BytesIO(weights))
    return output


def resealed(path, *, network=None, weights=None, header=None):
    """Content of a model for ncnn with other parts and a header that fits them, as somebody would forge it."""
    content = path.read_bytes()
    count = int.from_bytes(content[-16:-8], "little")
    record = json.loads(content[-48 - count : -48])
    parts = [
        content[: record["weights_bytes"]] if weights is None else weights,
        content[record["weights_bytes"] : -48 - count] if network is None else network,
    ]
    for name, part in zip(("weights", "network"), parts, strict=True):
        record |= {f"{name}_bytes": len(part), f"{name}_sha256": hashlib.sha256(part).hexdigest()}
    text = json.dumps({**record, **(header or {})}).encode()
    return b"".join(parts) + text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + b"ESFNCNN1"
