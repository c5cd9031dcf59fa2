"""A model holds its weights itself: none is read from another file, or from an address in memory."""

import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sphereface.cli.__main__ import main
from edge_sphereface.detection.yunet import YuNet
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig, open_session
from edge_sphereface.model import external_data
from edge_sphereface.model.external_data import refuse_external_data


def external(name="w", location="secret.bin"):
    """Four numbers that lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def graph(nodes, initializers=(), name="g"):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    return helper.make_graph(nodes, name, values[:1], values[1:], initializer=initializers)


def saved(path, made, **options):
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    onnx.save(helper.make_model(made, opset_imports=opsets, ir_version=8, **options), path)
    return path


def constant(tensor):
    return helper.make_node("Constant", [], ["c"], value=tensor)


ADD = helper.make_node("Add", ["x", "c"], ["y"])
TRUE = helper.make_node("Constant", [], ["t"], value=helper.make_tensor("t", TensorProto.BOOL, [], [True]))


def in_initializer(path):
    return saved(path, graph([helper.make_node("Add", ["x", "w"], ["y"])], [external()]))


def in_memory(path):
    made = graph([helper.make_node("Add", ["x", "w"], ["y"])], [external(location="*/_ORT_MEM_ADDR_/*")])
    return saved(path, made)


def in_attribute(path):
    return saved(path, graph([constant(external()), ADD]))


def in_branch(path):
    result = helper.make_tensor_value_info("c", TensorProto.FLOAT, [4])
    branch = helper.make_graph([constant(external())], "branch", [], [result])
    choice = helper.make_node("If", ["t"], ["c"], then_branch=branch, else_branch=branch)
    return saved(path, graph([TRUE, choice, ADD]))


def in_function(path):
    nodes = [constant(external()), ADD]
    function = helper.make_function("own", "F", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])
    return saved(path, graph([helper.make_node("F", ["x"], ["y"], domain="own")]), functions=[function])


def in_sparse(path):
    made = graph([helper.make_node("Add", ["x", "w"], ["y"])])
    indices = numpy_helper.from_array(np.arange(4, dtype=np.int64))
    made.sparse_initializer.add(values=external(), indices=indices, dims=[4])
    return saved(path, made)


@pytest.mark.parametrize("make", [in_initializer, in_memory, in_attribute, in_branch, in_function, in_sparse])
def test_weights_in_other_files_are_refused(tmp_path, make):
    (tmp_path / "secret.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    model = make(tmp_path / "m.onnx")
    for opened in (lambda: open_session(model, SessionConfig(provider="cpu")), lambda: Embedder(model)):
        with pytest.raises(ModelFormatError, match=r"holds all its weights, and .*m\.onnx .*external data"):
            opened()
    with pytest.raises(ModelFormatError, match="external data"):
        YuNet(model)


def test_the_command_says_so(tmp_path, capsys):
    assert main(["verify-model", str(in_initializer(tmp_path / "m.onnx"))]) == 2
    assert "external data" in capsys.readouterr().err


def test_the_same_model_with_its_weights_inside_runs(tmp_path):
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    weight.data_location = TensorProto.DEFAULT
    model = saved(tmp_path / "m.onnx", graph([helper.make_node("Add", ["x", "w"], ["y"])], [weight]))
    session, _ = open_session(model, SessionConfig(provider="cpu"))
    assert session.run(None, {"x": np.ones(4, np.float32)})[0].tolist() == [1, 2, 3, 4]


def test_the_weights_are_not_read(tmp_path):
    weight = numpy_helper.from_array(np.zeros(4 << 20, np.float32), "w")
    model = saved(tmp_path / "m.onnx", graph([helper.make_node("Identity", ["x"], ["y"])], [weight]))
    tracemalloc.start()
    refuse_external_data(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x3a\x05\x0b",  # a group, which this format no longer has
        b"\xba\x80\x80\x80\x10\x00",  # a graph to those who read 32 bits of its key alone
        b"\x38\x01" * 11,
    ],
    ids=["empty", "group", "key", "fields"],
)
def test_what_another_reader_might_understand_otherwise_is_refused(tmp_path, content, monkeypatch):
    monkeypatch.setattr(external_data, "_MOST_FIELDS", 10)
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match="is not an ONNX file"):
        refuse_external_data(path)
