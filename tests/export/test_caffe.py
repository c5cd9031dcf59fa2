"""Caffe models, written as Caffe writes them: read bit for bit, and embedded as OpenCV embeds them."""

import struct

import cv2
import numpy as np
import pytest

from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.storage.protobuf_wire import bytes_field, varint_field
from export.checkpoint import open_checkpoint
from export.convert import convert
from export.errors import CheckpointError, TopologyError
from export.source import open_network
from export.untrained import untrained_parameters

PAIRS, WIDTHS, SIZE = (1, 2, 0, 1), (4, 6, 8, 10), 16
FORMS = ("shape", "four dimensions", "V1", "double")


def trained(pairs=PAIRS, **options):
    """Parameters with a bias for every convolution, as in the authors' file, and slopes of their own."""
    random = np.random.default_rng(0)
    parameters = untrained_parameters(pairs=pairs, widths=WIDTHS, embedding_size=SIZE, bias=True, **options)
    for name, values in parameters.items():
        if values.ndim == 1:
            parameters[name] = random.uniform(-0.5, 0.5, values.shape).astype(np.float32)
    return parameters


def blob(values, form):
    if form == "double":
        content = bytes_field(8, values.astype("<f8").tobytes())
    else:
        content = bytes_field(5, values.astype("<f4").tobytes())
    if form in ("shape", "double"):
        return content + bytes_field(7, bytes_field(1, bytes(_varints(values.shape))))
    sides = (1,) * (4 - values.ndim) + values.shape
    return b"".join(varint_field(number, side) for number, side in enumerate(sides, start=1)) + content


def _varints(numbers):
    return b"".join(varint_field(0, number)[1:] for number in numbers)


def caffemodel(parameters, form="shape", extra=()):
    """A ``NetParameter`` with these layers and, as in every file of Caffe, layers without blobs between them."""
    layers = {}
    for name, values in parameters.items():
        layer, _, kind = name.partition(".")
        layers.setdefault(layer, {})[kind] = values
    content = bytes_field(1, "SpherefaceNet-20")
    for name, blobs in [("data", {}), *layers.items(), *extra]:
        kind = {"conv": "Convolution", "relu": "PReLU", "fc5": "InnerProduct"}.get(name[:4].rstrip("_1234"), "Input")
        written = [blob(values, form) for values in blobs.values()]
        if form == "V1":
            number = {"Convolution": 4, "InnerProduct": 14, "Input": 12}.get(kind, 40)
            layer = bytes_field(4, name) + varint_field(5, number) + b"".join(bytes_field(6, one) for one in written)
            content += bytes_field(2, layer)
        else:
            layer = bytes_field(1, name) + bytes_field(2, kind) + b"".join(bytes_field(7, one) for one in written)
            content += bytes_field(100, layer)
    return content


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_bit_for_bit(tmp_path, form):
    parameters = trained()
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(parameters, form))
    with open_network(tmp_path / "x.caffemodel") as network:
        assert (network.checkpoint.format, network.preset.name, network.topology.pairs) == (
            "Caffe model",
            "caffe",
            PAIRS,
        )
        assert set(network.topology.parameters) == set(parameters)
        for name, stored in network.topology.parameters.items():
            read = network.checkpoint.read(stored)
            assert read.shape == parameters[name].shape
            assert read.astype(np.float32).tobytes() == parameters[name].tobytes()


def test_the_training_head_is_left_out(tmp_path):
    head = [("fc6", {"weight": np.zeros((30, SIZE), np.float32)}), ("softmax_loss", {})]
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(trained(), extra=head))
    with open_network(tmp_path / "x.caffemodel") as network:
        assert network.topology.skipped == ("fc6.weight",)


PROTOTXT_HEAD = 'name: "s" input: "data" input_dim: 1 input_dim: 3 input_dim: 112 input_dim: 96\n'


def prototxt(pairs=PAIRS):
    """The network in the words of the authors' sphereface_deploy.prototxt."""

    def layer(name, kind, bottom, top, parameters=""):
        bottoms = " ".join(f'bottom: "{one}"' for one in bottom)
        return f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {parameters} }}\n'

    def unit(number, before, width, stride):
        convolution = f"convolution_param {{ num_output: {width} kernel_size: 3 stride: {stride} pad: 1 }}"
        name = f"conv{number}"
        return layer(name, "Convolution", [before], name, convolution) + layer(f"relu{number}", "PReLU", [name], name)

    text, before = PROTOTXT_HEAD, "data"
    for stage, (count, width) in enumerate(zip(pairs, WIDTHS, strict=True), start=1):
        text += unit(f"{stage}_1", before, width, 2)
        before = f"conv{stage}_1"
        for pair in range(1, count + 1):
            first, second = f"{stage}_{2 * pair}", f"{stage}_{2 * pair + 1}"
            text += unit(first, before, width, 1) + unit(second, f"conv{first}", width, 1)
            text += layer(
                f"res{second}", "Eltwise", [before, f"conv{second}"], f"res{second}", "eltwise_param { operation: 1 }"
            )
            before = f"res{second}"
    return text + layer("fc5", "InnerProduct", [before], "fc5", f"inner_product_param {{ num_output: {SIZE} }}")


@pytest.mark.skipif(
    not hasattr(cv2.dnn, "readNetFromCaffe"), reason="OpenCV 5 reads no Caffe; scripts/test-wheel --oldest has OpenCV 4"
)
def test_embeddings_of_opencv(tmp_path):
    source = tmp_path / "x.caffemodel"
    source.write_bytes(caffemodel(trained(), "four dimensions"))
    (tmp_path / "x.prototxt").write_text(prototxt())
    made = convert(source, tmp_path / "x.onnx")
    embedder = Embedder(made.model, provider="cpu")
    crops = np.random.default_rng(1).integers(0, 256, (3, *embedder.spec.crop_shape), np.uint8)
    network = cv2.dnn.readNetFromCaffe(str(tmp_path / "x.prototxt"), str(source))
    expected = []
    for crop in crops:
        network.setInput(cv2.dnn.blobFromImage(crop, 1 / 128, mean=(127.5,) * 3))
        expected.append(network.forward().reshape(-1))
    assert agreement(np.stack(expected), embedder.forward(crops)).max_abs_error <= 1e-5


def refused(path, content, words, error=CheckpointError):
    path.write_bytes(content)
    with pytest.raises(error, match=words), open_network(path):
        pass


def test_other_networks_and_damaged_files(tmp_path):
    path, whole = tmp_path / "x.caffemodel", caffemodel(trained())
    relu = {name: values for name, values in trained().items() if not name.startswith("relu3_1")}
    refused(path, caffemodel(relu), r"relu3_1\.w is missing", TopologyError)
    refused(
        path,
        caffemodel({"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}),
        "another architecture.* unknown: conv1.weight",
        TopologyError,
    )
    refused(path, whole[: len(whole) // 2], "not an intact Caffe model.*announced")
    refused(path, bytes_field(100, bytes_field(1, "data")), "no layer with weights")
    refused(path, caffemodel(trained()) + caffemodel(trained()), "occurs twice")
    refused(path, bytes_field(100, bytes_field(1, b"\xff") + bytes_field(7, b"")), "not text")
    many = bytes_field(7, bytes_field(7, bytes_field(1, bytes([1] * 9))))
    refused(path, bytes_field(100, bytes_field(1, "a") + many), "more than 8 dimensions")


def test_what_takes_time_and_no_bytes_is_bounded(tmp_path):
    path, blobs = tmp_path / "x.caffemodel", bytes_field(7, b"") * 100
    refused(path, bytes_field(100, b"") * 100_000, "has more than 2048 layers")
    refused(path, bytes_field(100, varint_field(10, 0) * 100_000), "message at byte .* has more than 256 fields")
    refused(path, bytes_field(100, bytes_field(7, varint_field(9, 0) * 100_000)), "has more than 256 fields")
    refused(path, b"".join(bytes_field(100, bytes_field(1, f"a{n}") + blobs) for n in range(100)), "than 2048 blobs")


SLOPE = bytes_field(7, blob(np.ones(4, np.float32), "shape"))
CONVOLUTION = bytes_field(2, "Convolution")


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (bytes_field(1, "relu1_1") + bytes_field(2, "TanH") + SLOPE, "'relu1_1'.*'TanH', and PReLU is expected"),
        (bytes_field(1, "relu1_1") + bytes_field(2, "ReLU"), "'ReLU', and PReLU"),
        (bytes_field(1, "scale") + bytes_field(2, "Scale") + SLOPE, "'scale'.*'Scale', and none is expected"),
        (bytes_field(1, "bn1_1") + bytes_field(2, "BatchNorm") + SLOPE, "'BatchNorm', and none"),
        (bytes_field(1, "conv2_1") + CONVOLUTION + bytes_field(106, varint_field(3, 1)), r"stride 2, .*\[1\]"),
        (
            bytes_field(1, "conv2_2") + CONVOLUTION + bytes_field(106, varint_field(3, 1) + varint_field(6, 2)),
            r"stride 1, .*\[2\]",
        ),
        (bytes_field(1, "conv2_2") + CONVOLUTION + bytes_field(106, b""), r"padding 1, .*\[0\]"),
        (
            bytes_field(1, "conv2_2") + CONVOLUTION + bytes_field(106, varint_field(3, 1) + varint_field(5, 2)),
            "groups 1",
        ),
        (bytes_field(1, "fc5") + bytes_field(2, "InnerProduct") + bytes_field(117, varint_field(6, 1)), "transpose 0"),
        (bytes_field(1, "res") + bytes_field(2, "Eltwise") + bytes_field(110, varint_field(1, 2)), "operation 1"),
    ],
)
def test_layers_that_compute_something_else(tmp_path, layer, words):
    refused(tmp_path / "x.caffemodel", bytes_field(100, layer) + caffemodel(trained()), words, TopologyError)


def test_layers_behind_the_embedding_belong_to_training(tmp_path):
    head = bytes_field(100, bytes_field(1, "norm") + bytes_field(2, "Normalize"))
    (tmp_path / "x.caffemodel").write_bytes(caffemodel(trained()) + head)
    with open_network(tmp_path / "x.caffemodel") as network:
        assert network.topology.pairs == PAIRS


def test_values_in_fields_of_their_own(tmp_path):
    unpacked = bytes_field(7, b"\x2d" + struct.pack("<f", 1) + bytes_field(7, bytes_field(1, b"\x01")))
    refused(
        tmp_path / "x.caffemodel",
        bytes_field(100, bytes_field(1, "conv1_1") + unpacked),
        "blob at byte .* in a field of its own.*write it again, which packs them",
    )


def test_a_blob_without_its_values(tmp_path):
    """A shape is no reason to take memory."""
    shape = bytes_field(7, bytes_field(1, bytes(_varints((1 << 40, 3, 3, 3)))))
    huge = bytes_field(7, shape + bytes_field(5, struct.pack("<f", 1)))
    content = bytes_field(100, bytes_field(1, "conv9_1") + huge)
    (tmp_path / "x.caffemodel").write_bytes(content)
    with open_checkpoint(tmp_path / "x.caffemodel") as checkpoint:
        with pytest.raises(CheckpointError, match="needs .* bytes, but the file has 4"):
            checkpoint.read("conv9_1.weight")
