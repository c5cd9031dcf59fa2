"""MiniFASNet's weights become an ONNX graph that computes the same, or a clear error."""

import json
from importlib.util import find_spec

import numpy as np
import onnxruntime
import pytest

from edge_sphereface.errors import OutputError
from edge_sphereface.liveness import LivenessSpec
from edge_sphereface.liveness.spec import METADATA_KEY
from export.checkpoint import open_checkpoint
from export.errors import CheckpointError, TopologyError
from export.liveness.convert import convert
from export.liveness.network import read_network
from export.liveness.reference import NumpyReference
from tests.liveness.networks import SMALL, WIDTHS_V1SE, WIDTHS_V2, parameters, torch_logits, write_safetensors

PUBLISHED = {"v2": (WIDTHS_V2, {}), "v1se": (WIDTHS_V1SE, {"gated": True})}


def crops(count, side=80):
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.pytorch
@pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch: make test installs it")
@pytest.mark.parametrize("variant", PUBLISHED)
def test_networks_of_the_published_structure_equal_pytorch(tmp_path, variant):
    """Files in PyTorch's old format, with DataParallel's prefix, as the publisher saved them."""
    import torch

    widths, options = PUBLISHED[variant]
    values = parameters(widths, embedding=128, **options)
    path = tmp_path / "net.pth"
    torch.save(
        {f"module.{name}": torch.from_numpy(np.array(array)) for name, array in values.items()},
        path,
        _use_new_zipfile_serialization=False,
    )
    result = convert(path, tmp_path / "net.onnx", crop_scale=4.0)
    assert result.spec.side == 80
    assert result.spec.architecture == ("MiniFASNetSE" if options else "MiniFASNet")
    batch = crops(3)
    expected = torch_logits(torch, values, batch).astype(np.float64)
    with open_checkpoint(path) as checkpoint:
        reference = NumpyReference(read_network(checkpoint)).logits(batch)
    assert np.abs(reference - expected).max() < 1e-5 * np.abs(expected).max()
    got = onnxruntime.InferenceSession(result.model).run(None, {"crops": batch})[0]
    exponentials = np.exp(expected - expected.max(axis=1, keepdims=True))
    assert np.abs(got - exponentials / exponentials.sum(axis=1, keepdims=True)).max() < 1e-5
    assert np.ptp(expected, axis=0).min() > 1e-3, "the crops must differ for the comparison to mean something"


def test_a_conversion_is_deterministic_and_describes_itself(weights, model, tmp_path):
    again = convert(weights, tmp_path / "again.onnx", crop_scale=2.7)
    assert again.model.read_bytes() == model.read_bytes()
    assert again.skipped_parameters
    assert not again.is_published
    assert len(again.cases) == 4
    assert all(again.bounds.holds(case.measured) for case in again.cases)
    metadata = onnxruntime.InferenceSession(model).get_modelmeta().custom_metadata_map
    assert LivenessSpec.from_json(metadata[METADATA_KEY]) == again.spec
    assert json.loads(metadata[METADATA_KEY])["crop_scale"] == 2.7


def changed(**changes):
    return {**parameters(), **changes}


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        ({"a": np.zeros(3, np.float32)}, TopologyError, "has none of them"),
        (changed(extra=np.zeros(3, np.float32)), TopologyError, "'extra'"),
        ({k: v for k, v in parameters().items() if k != "bn.bias"}, TopologyError, "bn.bias of shape any|bn.bias of"),
        (changed(**{"conv1.conv.weight": np.zeros((4, 1, 3, 3), np.float32)}), TopologyError, "any x 3 x 3 x 3"),
        (
            changed(**{"conv_6_dw.conv.weight": np.zeros((SMALL[-1], 1, 5, 4), np.float32)}),
            TopologyError,
            "as high as wide",
        ),
        (changed(**{"prob.weight": np.full((3, 4), np.nan, np.float32)}), CheckpointError, "not finite"),
        (changed(**{"bn.running_var": np.full(4, -1, np.float32)}), CheckpointError, "variances"),
    ],
)
def test_other_parameters_are_refused(tmp_path, values, error, says):
    path = write_safetensors(tmp_path / "other.safetensors", values)
    with pytest.raises(error, match=says):
        convert(path, tmp_path / "out.onnx", crop_scale=2.7)
    assert not (tmp_path / "out.onnx").exists()


def test_the_scale_of_unknown_files_must_be_told(weights, tmp_path):
    with pytest.raises(TopologyError, match="does not tell the crops"):
        convert(weights, tmp_path / "out.onnx")


def test_the_source_is_not_overwritten(weights):
    with pytest.raises(OutputError, match="ends in .onnx"):
        convert(weights, weights, crop_scale=2.7)
