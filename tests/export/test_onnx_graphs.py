"""Graphs of other exporters that are not what they seem: each is refused, or read as onnxruntime computes it."""

import copy
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.inference.embedder import Embedder
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.errors import CheckpointError, TopologyError
from export.inspection import inspect, text
from export.presets import Told
from export.untrained import untrained_parameters

PAIRS, WIDTHS, SIZE = (1, 0, 0, 0), (2, 2, 2, 2), 4


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A graph of convolutions, slopes, a sum, a flattening and a Gemm, without the metadata of this package."""
    folder, random = tmp_path_factory.mktemp("graph"), np.random.default_rng(0)
    parameters = untrained_parameters(pairs=PAIRS, widths=WIDTHS, embedding_size=SIZE, bias=True)
    for name, values in parameters.items():
        if values.ndim == 1:
            parameters[name] = random.uniform(-0.5, 0.5, values.shape).astype(np.float32)
    write_ckpt(folder / "x.ckpt", parameters)
    model = onnx.load(convert(folder / "x.ckpt", folder / "x.onnx", ConversionOptions(reference="numpy")).model)
    del model.metadata_props[:]
    return model


def nodes(graph, kind):
    return [node for node in graph.node if node.op_type == kind]


def weight(graph, node, place=1):
    return next(tensor for tensor in graph.initializer if tensor.name == node.input[place])


def replace(tensor, values):
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def set_attribute(node, name, value):
    for found in [found for found in node.attribute if found.name == name]:
        node.attribute.remove(found)
    if value is not None:
        node.attribute.append(helper.make_attribute(name, value))


def insert_before(graph, node, place, kind, extra=(), **attributes):
    """Insert a node of one input, and of constant ones, before an input of a node."""
    made = helper.make_node(kind, [node.input[place], *extra], [f"{node.input[place]}_{kind}"], **attributes)
    node.input[place] = made.output[0]
    graph.node.insert(list(graph.node).index(node), made)


def convert_changed(base, change, tmp_path, **options):
    model = copy.deepcopy(base)
    change(model.graph)
    onnx.save(model, tmp_path / "x.onnx")
    chosen = ConversionOptions(told=Told(preset="caffe", **options), reference="numpy")
    return model, convert(tmp_path / "x.onnx", tmp_path / "y.onnx", chosen)


def without_output(kind):
    def change(graph):
        del nodes(graph, kind)[0].output[:]

    return change


def cast_to(kind):
    def change(graph):
        node = nodes(graph, "Conv")[1]
        insert_before(graph, node, 0, "Cast", to=kind)
        insert_before(graph, node, 0, "Cast", to=TensorProto.FLOAT)

    return change


def attribute(kind, name, value):
    return lambda graph: set_attribute(nodes(graph, kind)[0], name, value)


def scalar(kind, place):
    return lambda graph: replace(weight(graph, nodes(graph, kind)[0], place), np.float32(0.5).reshape(()))


def foreign_domain(graph):
    nodes(graph, "PRelu")[0].domain = "other"


def repeated_weight(graph):
    graph.initializer.append(copy.deepcopy(graph.initializer[0]))


def shadowed_weight(graph):
    tensor = graph.initializer[0]
    graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))


def other_output(graph):
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(nodes(graph, "Flatten")[0].output[0], TensorProto.FLOAT, None))


def double_weight(graph):
    tensor = weight(graph, nodes(graph, "Conv")[0])
    replace(tensor, numpy_helper.to_array(tensor).astype(np.float64))


def dropout_in_training(graph):
    graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "rate"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "training"))
    insert_before(graph, nodes(graph, "Flatten")[0], 0, "Dropout", ["rate", "training"])


def elsewhere(graph):
    axes = onnx.TensorProto(name="axes", data_type=TensorProto.INT64, data_location=TensorProto.EXTERNAL, dims=[1])
    axes.external_data.add(key="location", value="x.onnx")
    graph.initializer.append(axes)
    insert_before(graph, nodes(graph, "PRelu")[0], 1, "Unsqueeze", ["axes"])


def normalized(*epsilons, **attributes):
    """Add a batch normalization after each of the first convolutions, one for each constant."""

    def change(graph):
        random = np.random.default_rng(0)
        moments = ["gamma", "beta", "mean", "variance"]
        for name in moments:
            graph.initializer.append(numpy_helper.from_array(random.uniform(0.5, 1, 2).astype(np.float32), name))
        for node, epsilon in zip(nodes(graph, "PRelu"), epsilons, strict=False):
            insert_before(graph, node, 0, "BatchNormalization", moments, epsilon=epsilon, **attributes)

    return change


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        *((without_output(kind), CheckpointError, "has no output") for kind in ("Conv", "PRelu", "Add", "Flatten")),
        (scalar("Gemm", 1), TopologyError, r"Expected a matrix.*\(\)"),
        (cast_to(TensorProto.INT32), TopologyError, "found Cast"),
        (cast_to(TensorProto.BOOL), TopologyError, "found Cast"),
        (foreign_domain, TopologyError, "other.PRelu"),
        (attribute("Gemm", "alpha", 0.0), TopologyError, "scales its input"),
        (attribute("Gemm", "beta", 0.0), TopologyError, "scales its input"),
        (attribute("Gemm", "alpha", 1), CheckpointError, "attribute alpha .* no such type"),
        (attribute("Conv", "pads", None), TopologyError, r"pads \[1, 1, 1, 1\], .* \[0, 0, 0, 0\]"),
        (attribute("Flatten", "axis", 2), TopologyError, "flattens"),
        (repeated_weight, CheckpointError, "defines the value .* twice"),
        (shadowed_weight, CheckpointError, "defines the value .* twice"),
        (other_output, TopologyError, "Expected the embedding 'embedding' among the outputs"),
        (double_weight, TopologyError, "onnxruntime refuses the graph"),
        (dropout_in_training, TopologyError, "found Dropout"),
        (elsewhere, CheckpointError, "weights in another file"),
        (normalized(1e-5, training_mode=1), TopologyError, "normalizes by the statistics of its input"),
        (normalized(-0.5), TopologyError, "adds -0.5 to the variance"),
        (normalized(float("nan")), TopologyError, "adds nan to the variance"),
        (normalized(1e-5, 1e-3), TopologyError, "add 1e-05 and 0.001 to the variance"),
    ],
)
def test_graphs_that_compute_something_else(base, tmp_path, change, error, words):
    with pytest.raises(error, match=words):
        convert_changed(base, change, tmp_path)
    assert not (tmp_path / "y.onnx").exists()


def test_what_the_reader_does_not_know_is_found_by_onnxruntime(base, tmp_path):
    """An operator set in which a slope of shape (C, 1, 1) means something else, or an attribute without a reader."""
    with pytest.raises(TopologyError, match="onnxruntime refuses the graph.*INVALID_GRAPH"):
        convert_changed(base, attribute("PRelu", "sharpness", 2), tmp_path)


def test_the_size_of_the_graph_counts(base, tmp_path):
    with pytest.raises(TopologyError, match="takes crops of 112 x 96, not 96 x 112"):
        convert_changed(base, lambda _: None, tmp_path, input_size=(96, 112))


def without_bias(graph):
    del nodes(graph, "Gemm")[0].input[2]


def row_of_biases(graph):
    weight(graph, nodes(graph, "Gemm")[0], 2).dims.insert(0, 1)


def one_slope(graph):
    replace(weight(graph, nodes(graph, "PRelu")[1]), np.full((1, 1, 1), 0.25, np.float32))


def half_weights(graph):
    node = nodes(graph, "Conv")[1]
    tensor = weight(graph, node)
    replace(tensor, numpy_helper.to_array(tensor).astype(np.float16))
    insert_before(graph, node, 1, "Cast", to=TensorProto.FLOAT)


def product_alone(graph):
    node = nodes(graph, "Gemm")[0]
    tensor = weight(graph, node)
    replace(tensor, np.ascontiguousarray(numpy_helper.to_array(tensor).T))
    node.CopyFrom(helper.make_node("MatMul", node.input[:2], node.output))


@pytest.mark.parametrize(
    "change",
    [
        without_bias,
        row_of_biases,
        scalar("Gemm", 2),
        one_slope,
        half_weights,
        product_alone,
        normalized(*[0.25] * 6),
        cast_to(TensorProto.FLOAT),
        lambda graph: insert_before(graph, nodes(graph, "Flatten")[0], 0, "Dropout"),
    ],
)
def test_other_forms_of_the_same_network(base, tmp_path, change):
    import onnxruntime

    model, made = convert_changed(base, change, tmp_path)
    embedder = Embedder(made.model, provider="cpu")
    crops = np.random.default_rng(0).integers(0, 256, (1, *embedder.spec.crop_shape), np.uint8)
    values = ((crops.astype(np.float32) - 127.5) / 128).transpose(0, 3, 1, 2)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": np.ascontiguousarray(values)})[0]
    np.testing.assert_allclose(embedder.forward(crops), expected, atol=1e-5 * np.abs(expected).max())


def test_half_precision_is_told(base, tmp_path, export_cli):
    """What was read from such a graph is compared within wider bounds, which is no secret."""
    model = copy.deepcopy(base)
    cast_to(TensorProto.FLOAT16)(model.graph)
    onnx.save(model, tmp_path / "x.onnx")
    words = ("convert", tmp_path / "x.onnx", "-o", tmp_path / "y.onnx", "--preset", "caffe")
    code, out, _ = export_cli(*words)
    assert code == 0
    assert "computes in half precision" in out
    assert "max abs error 0.02, min cosine 0.9999" in out
    assert json.loads(export_cli(*words, "--json")[1])["source"]["is_half"] is True


def test_the_constant_of_a_graph_is_told(base, tmp_path):
    model = copy.deepcopy(base)
    normalized(*[0.25] * 6)(model.graph)
    onnx.save(model, tmp_path / "x.onnx")
    described = inspect(tmp_path / "x.onnx")
    assert described.network.normalization_epsilon == 0.25
    assert "\nPReLU; batch normalization (eps 0.25)\n" in text(described)


def test_a_graph_of_another_architecture_is_described_with_the_reason(base, tmp_path):
    model = copy.deepcopy(base)
    set_attribute(nodes(model.graph, "Conv")[0], "strides", [1, 1])
    onnx.save(model, tmp_path / "x.onnx")
    described = inspect(tmp_path / "x.onnx")
    assert described.nodes["Conv"] == 6
    assert "another architecture than SphereFace. Expected convolution 1_1 with strides [2, 2]" in described.problem
    assert described.problem.endswith("Its nodes: 6 Conv, 6 PRelu, 1 Add, 1 Flatten, …")
