"""Topology: read off names and shapes alone, and everything that is wrong named at once."""

import numpy as np
import pytest

from export.checkpoint import TensorInfo
from export.errors import TopologyError
from export.topology import RESIDUAL_PAIRS, infer_topology
from export.untrained import untrained_parameters


def entries(parameters):
    return {name: TensorInfo("Float32", values.shape, ((0, values.nbytes),)) for name, values in parameters.items()}


@pytest.mark.parametrize("depth", RESIDUAL_PAIRS)
@pytest.mark.parametrize("bias", [False, True])
def test_every_depth(depth, bias):
    parameters = untrained_parameters(depth=depth, widths=(4, 6, 8, 10), embedding_size=5, bias=bias)
    topology = infer_topology(entries(parameters))
    assert (topology.name, topology.widths, topology.embedding_size) == (f"SphereFace-{depth}", (4, 6, 8, 10), 5)
    assert (topology.input_height, topology.input_width) == (112, 96)
    assert list(topology.parameters) == sorted(parameters, key=lambda name: (name.startswith("fc"), *_key(name)))
    assert len(topology.layers) == depth
    assert topology.skipped == ()


def _key(name):
    numbers = [int(digit) for digit in name.split(".")[0] if digit.isdigit()]
    return (numbers[0], int(name.split("_")[1].split(".")[0]) if "_" in name else 0, name)


def test_what_training_left_is_skipped():
    network = {f"network.{name}": value for name, value in untrained_parameters(widths=(4, 4, 4, 4)).items()}
    training = {f"moments.{name}": value for name, value in network.items()}
    training |= {"network.fc6.weight": np.zeros((512, 10574)), "learning_rate": np.zeros(()), "momentum": np.zeros(1)}
    topology = infer_topology(entries({**network, **training}))
    assert set(topology.skipped) == set(training)
    assert topology.parameters["conv1_1.weight"] == "network.conv1_1.weight"


@pytest.mark.parametrize(
    ("size", "chosen"),
    [((112, 96), None), ((112, 112), None), ((112, 96), (112, 96)), ((96, 112), (96, 112)), ((224, 48), (224, 48))],
)
def test_input_size(size, chosen):
    topology = infer_topology(
        entries(untrained_parameters(depth=4, widths=(4, 4, 4, 4), input_size=size)), input_size=chosen
    )
    assert (topology.input_height, topology.input_width) == size


@pytest.mark.parametrize("chosen", [(112, 112), (100, 96), (0, 0)])
def test_an_input_size_that_does_not_fit(chosen):
    with pytest.raises(TopologyError, match="does not give the 42 cells"):
        infer_topology(entries(untrained_parameters(depth=4, widths=(4, 4, 4, 4))), input_size=chosen)


def broken(change, **options):
    parameters = untrained_parameters(**{"widths": (4, 4, 4, 4), "embedding_size": 8, **options})
    change(parameters)
    with pytest.raises(TopologyError) as caught:
        infer_topology(entries(parameters))
    return str(caught.value)


def test_everything_is_named_at_once():
    def change(parameters):
        del parameters["conv2_3.weight"], parameters["relu3_9.w"], parameters["fc5.bias"]
        parameters["conv4_2.weight"] = np.zeros((4, 4, 5, 5))
        parameters["relu1_1.w"] = np.zeros(3)
        parameters["bn1.gamma"] = np.zeros(4)

    message = broken(change)
    for words in (
        "nearest: SphereFace-20",
        "conv2_3.weight is missing",
        "relu3_9.w is missing",
        "fc5.bias is missing",
        "conv4_2.weight has shape (4, 4, 5, 5), not (4, 4, 3, 3)",
        "relu1_1.w has shape (3,), not (4,)",
        "bn1.gamma is unknown",
    ):
        assert words in message


def test_half_a_pair_is_named():
    def change(parameters):
        for name in ("conv3_9.weight", "relu3_9.w"):
            del parameters[name]

    message = broken(change)
    assert "conv3_9.weight is missing" in message
    assert "relu3_9.w is missing" in message


@pytest.mark.parametrize(
    ("pairs", "name"), [((3, 7, 16, 3), "SphereFace-62 (3-7-16-3)"), ((0, 0, 0, 1), "SphereFace-6 (0-0-0-1)")]
)
def test_the_file_tells_how_many_pairs(pairs, name):
    topology = infer_topology(entries(untrained_parameters(pairs=pairs, widths=(4, 4, 4, 4), embedding_size=8)))
    assert (topology.pairs, topology.name) == (pairs, name)


def test_a_message_stays_short():
    message = broken(lambda parameters: parameters.update({"conv4_900.weight": np.zeros((4, 4, 3, 3))}))
    assert "and 1775 more" in message
    assert len(message) < 1000


@pytest.mark.parametrize("name", ["conv1_9999.weight", "conv9_1.weight", "conv1_1.weights", "conv1_99999.weight"])
def test_an_unknown_convolution(name):
    assert f"{name} is unknown" in broken(lambda parameters: parameters.update({name: np.zeros((4, 4, 3, 3))}))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("fc5.weight", (8, 43), "multiple of 4"),
        ("fc5.weight", (8,), "multiple of 4"),
        ("fc5.weight", (0, 168), "embedding size"),
        ("fc5.bias", (9,), "fc5.bias has shape"),
        ("conv1_1.weight", (0, 3, 3, 3), "conv1_1"),
        ("conv1_1.weight", (4, 1, 3, 3), "not (4, 3, 3, 3)"),
    ],
)
def test_wrong_shapes(name, shape, words):
    assert words in broken(lambda parameters: parameters.update({name: np.zeros(shape)}))


def resnet():
    """Names of torchvision's ResNet-18: those of its blocks are opensphere's, and none of opensphere's is missing."""

    def unit(number, *shape, place=""):
        moments = ("weight", "bias", "running_mean", "running_var")
        return {f"{place}conv{number}.weight": np.zeros(shape)} | {
            f"{place}bn{number}.{m}": np.zeros(8) for m in moments
        }

    named = unit(1, 8, 3, 7, 7)
    for stage in range(1, 5):
        for block in range(2):
            named |= unit(1, 8, 8, 3, 3, place=f"layer{stage}.{block}.")
            named |= unit(2, 8, 8, 3, 3, place=f"layer{stage}.{block}.")
        if stage > 1:
            named[f"layer{stage}.0.downsample.0.weight"] = np.zeros((8, 8, 1, 1))
    return {**named, "fc.weight": np.zeros((1000, 8)), "fc.bias": np.zeros(1000)}


def test_another_architecture():
    with pytest.raises(TopologyError) as caught:
        infer_topology(entries(resnet()))
    assert "another architecture, whose names are those of a ResNet. Expected a SphereFace" in caught.value.message
    assert "28 of 90 parameters are unknown: conv1.weight, bn1.weight" in caught.value.message
    assert "and 22 more" in caught.value.message
    assert "nearest" not in caught.value.message


def test_nothing():
    with pytest.raises(TopologyError, match="fc5.weight is missing"):
        infer_topology({})


def test_integers_are_no_weights():
    wrong = entries(untrained_parameters(depth=4, widths=(4, 4, 4, 4)))
    wrong["conv1_1.weight"] = wrong["conv1_1.weight"]._replace(dtype="Int32")
    with pytest.raises(TopologyError, match="conv1_1.weight has type Int32"):
        infer_topology(wrong)


def test_a_name_with_and_without_prefix():
    assert "fc5.bias occurs twice, as fc5.bias and as network.fc5.bias" in broken(
        lambda parameters: parameters.update({"network.fc5.bias": np.zeros(8)})
    )
