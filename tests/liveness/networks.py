"""MiniFASNets with random weights: parameters by name, and the same network in PyTorch; a model with a known answer."""

import numpy as np

from edge_sphereface.liveness import LivenessSpec
from edge_sphereface.liveness.spec import METADATA_KEY

WIDTHS_V2 = (32, 103, 64, (13, 13, 13, 13), 231, 128, (231, 52, 26, 77, 26, 26), 308, 128, (26, 26), 512)
"""Source: minivision-ai/Silent-Face-Anti-Spoofing, src/model_lib/MiniFASNet.py, ``1.8M_``."""
WIDTHS_V1SE = (32, 103, 64, (13, 26, 13, 52), 231, 128, (154, 52, 26, 52, 26, 26), 308, 128, (26, 26), 512)
SMALL = (4, 6, 4, (3, 5, 3, 4), 6, 8, (5, 3, 4, 3, 3, 4), 7, 8, (3, 4), 16)


def shapes(widths, *, gated=False, kernel=5, classes=3, embedding=None):
    """Shapes of the parameters, by name."""
    first, wide3, out3, inner3, wide4, out4, inner4, wide5, out5, inner5, last = widths
    found = {}

    def layer(conv, normalization, shape, slopes=None):
        found[f"{conv}.weight"] = shape
        for moment in ("weight", "bias", "running_mean", "running_var"):
            found[f"{normalization}.{moment}"] = (shape[0],)
        found[f"{normalization}.num_batches_tracked"] = ()
        if slopes:
            found[slopes] = (shape[0],)

    def block(name, shape, *, linear=False):
        layer(f"{name}.conv", f"{name}.bn", shape, None if linear else f"{name}.prelu.weight")

    def depthwise(name, before, inner, after):
        block(f"{name}.conv", (inner, before, 1, 1))
        block(f"{name}.conv_dw", (inner, 1, 3, 3))
        block(f"{name}.project", (after, inner, 1, 1), linear=True)

    block("conv1", (first, 3, 3, 3))
    block("conv2_dw", (first, 1, 3, 3))
    before = first
    for halving, group, wide, after, inner in (
        ("conv_23", "conv_3", wide3, out3, inner3),
        ("conv_34", "conv_4", wide4, out4, inner4),
        ("conv_45", "conv_5", wide5, out5, inner5),
    ):
        depthwise(halving, before, wide, after)
        for number, channels in enumerate(inner):
            name = f"{group}.model.{number}"
            depthwise(name, after, channels, after)
            if gated and number == len(inner) - 1:
                gate = f"{name}.se_module"
                layer(f"{gate}.fc1", f"{gate}.bn1", (after // 4, after, 1, 1))
                layer(f"{gate}.fc2", f"{gate}.bn2", (after, after // 4, 1, 1))
        before = after
    block("conv_6_sep", (last, before, 1, 1))
    block("conv_6_dw", (last, 1, kernel, kernel), linear=True)
    embedding = embedding or last // 4
    found["linear.weight"] = (embedding, last)
    for moment in ("weight", "bias", "running_mean", "running_var"):
        found[f"bn.{moment}"] = (embedding,)
    found["bn.num_batches_tracked"] = ()
    found["prob.weight"] = (classes, embedding)
    return found


def parameters(widths=SMALL, *, seed=0, **options):
    """Random parameters whose values neither vanish nor grow from layer to layer."""
    rng = np.random.default_rng(seed)
    values = {}
    for name, shape in shapes(widths, **options).items():
        if name.endswith("num_batches_tracked"):
            values[name] = np.array(7, dtype=np.int64)
        elif name.endswith("running_var"):
            values[name] = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        elif len(shape) > 1:
            fan = np.prod(shape[1:])
            scale = 1 / 128 if name == "conv1.conv.weight" else 1
            values[name] = (rng.standard_normal(shape) * scale / np.sqrt(fan)).astype(np.float32)
        elif "prelu" in name:
            values[name] = rng.uniform(0.1, 0.4, shape).astype(np.float32)
        elif name.endswith(".weight"):
            values[name] = rng.uniform(0.7, 1.2, shape).astype(np.float32)
        else:
            values[name] = rng.normal(0, 0.1, shape).astype(np.float32)
    return values


def write_safetensors(path, values):
    """Write parameters as a safetensors file."""
    from safetensors.numpy import save_file

    save_file(values, path)
    return path


def torch_logits(torch, values, crops):
    """The network in PyTorch, from the description of its source: values before the softmax of uint8 BGR crops."""
    functional = torch.nn.functional
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in values.items()}

    def normalize(value, name):
        moments = (tensors[f"{name}.{moment}"] for moment in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(value, *moments)

    def block(value, name, **options):
        value = normalize(functional.conv2d(value, tensors[f"{name}.conv.weight"], **options), f"{name}.bn")
        slopes = tensors.get(f"{name}.prelu.weight")
        return value if slopes is None else functional.prelu(value, slopes)

    def depthwise(value, name, stride):
        value = block(value, f"{name}.conv")
        value = block(value, f"{name}.conv_dw", stride=stride, padding=1, groups=value.shape[1])
        return block(value, f"{name}.project")

    with torch.no_grad():
        value = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32))
        value = block(value, "conv1", stride=2, padding=1)
        value = block(value, "conv2_dw", padding=1, groups=value.shape[1])
        for halving, group, count in (("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2)):
            value = depthwise(value, halving, 2)
            for number in range(count):
                name = f"{group}.model.{number}"
                inner = depthwise(value, name, 1)
                if f"{name}.se_module.fc1.weight" in tensors:
                    gate = functional.adaptive_avg_pool2d(inner, 1)
                    gate = functional.conv2d(gate, tensors[f"{name}.se_module.fc1.weight"])
                    gate = functional.relu(normalize(gate, f"{name}.se_module.bn1"))
                    gate = functional.conv2d(gate, tensors[f"{name}.se_module.fc2.weight"])
                    inner = inner * torch.sigmoid(normalize(gate, f"{name}.se_module.bn2"))
                value = value + inner
        value = block(value, "conv_6_sep")
        value = block(value, "conv_6_dw", groups=value.shape[1])
        value = functional.linear(value.flatten(1), tensors["linear.weight"])
        return functional.linear(normalize(value, "bn"), tensors["prob.weight"]).numpy()


def brightness_model(path):
    """Write a liveness model with a known answer: the mean brightness of the crop, from 0 to 1, is its probability."""
    import onnx
    from onnx import TensorProto, helper

    spec = LivenessSpec(
        architecture="brightness", side=80, crop_scale=1.0, live_class=1, classes=2, source_file="none",
        source_sha256="0" * 64, exporter_version="0",
    )  # fmt: skip
    nodes = [
        helper.make_node("Cast", ["crops"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Div", ["mean", "white"], ["flat"]),
        helper.make_node("Unsqueeze", ["flat", "last"], ["live"]),
        helper.make_node("Sub", ["one", "live"], ["spoof"]),
        helper.make_node("Concat", ["spoof", "live"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 80, 80, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_tensor("white", TensorProto.FLOAT, [], [255.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("last", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    onnx.save(model, str(path))
    return path
