"""Against the real MindSpore 2.10: its own files, its own reader, its own forward pass."""

import signal
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.origin import Origin
from export.checkpoint import open_checkpoint
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.errors import CheckpointError, ParityError
from export.parity import prove
from export.reference import NumpyReference, open_reference
from export.topology import infer_topology
from export.untrained import untrained_parameters

pytestmark = [
    pytest.mark.mindspore,
    pytest.mark.skipif(find_spec("mindspore") is None, reason="needs MindSpore: make test installs it"),
]
WIDTHS = {"widths": (8, 16, 16, 24), "embedding_size": 32}


@pytest.fixture(scope="module")
def ms():
    import mindspore

    return mindspore


@pytest.fixture
def tensors(ms):
    """A list as save_checkpoint takes it: several types, a scalar, and one tensor that is large."""
    random = np.random.default_rng(0)
    arrays = {
        "network.conv1_1.weight": random.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "half": random.standard_normal(7).astype(np.float16),
        "count": np.array([1, 2, 3], np.int32),
        "scalar": np.float32(0.1).reshape(()),
    }
    listed = [{"name": name, "data": ms.Tensor(values)} for name, values in arrays.items()]
    brain = ms.Tensor(random.standard_normal((3, 5)).astype(np.float32)).astype(ms.bfloat16)
    return [*listed, {"name": "brain", "data": brain}]


def assert_read_as_by_mindspore(ms, path, file_format="ckpt"):
    expected = ms.load_checkpoint(str(path), format=file_format)
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint.entries) == set(expected)
        for name, parameter in expected.items():
            ours = checkpoint.read(name)
            if parameter.dtype == ms.bfloat16:  # MindSpore 2.10 gives bfloat16 to no numpy 2; float32 holds it exactly
                theirs = parameter.astype(ms.float32).asnumpy()
                assert ours.dtype.name == "bfloat16"
                ours = ours.astype(np.float32)
            else:
                theirs = parameter.asnumpy()
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("crc", [False, True])
def test_files_of_mindspore_are_read_bit_for_bit(ms, tensors, tmp_path, crc):
    path = tmp_path / "x.ckpt"
    ms.save_checkpoint(tensors, str(path), crc_check=crc)
    assert path.read_bytes()[-17:-10] == b"crc_num" or not crc
    assert_read_as_by_mindspore(ms, path)


def test_sliced_tensors(ms, tensors, tmp_path, monkeypatch):
    from mindspore.train import serialization

    path = tmp_path / "x.ckpt"
    monkeypatch.setattr(serialization, "SLICE_SIZE", 1)  # KiB
    large = np.random.default_rng(0).standard_normal((40, 3, 3, 3)).astype(np.float32)
    ms.save_checkpoint([{"name": "large", "data": ms.Tensor(large)}, *tensors], str(path))
    with open_checkpoint(path) as checkpoint:
        assert len(checkpoint.entries["large"].spans) == 5
    assert_read_as_by_mindspore(ms, path)


@pytest.mark.parametrize("crc", [False, True])
def test_safetensors_of_mindspore(ms, tensors, tmp_path, crc):
    path = tmp_path / "x.safetensors"
    ms.save_checkpoint(tensors[:4], str(path), format="safetensors", crc_check=crc)
    assert_read_as_by_mindspore(ms, path, "safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    if crc:
        with pytest.raises(CheckpointError, match="checksum"), open_checkpoint(path):
            pass


def test_a_wrong_checksum_of_mindspore(ms, tensors, tmp_path):
    path = tmp_path / "x.ckpt"
    ms.save_checkpoint(tensors, str(path), crc_check=True)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="checksum"), open_checkpoint(path):
        pass


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC"])
def test_encrypted_files_are_recognized(ms, tensors, tmp_path, mode):
    path = tmp_path / "x.ckpt"
    ms.save_checkpoint(tensors, str(path), enc_key=b"0123456789ABCDEF", enc_mode=mode)
    with pytest.raises(CheckpointError, match="encrypted"), open_checkpoint(path):
        pass


@pytest.mark.parametrize("crc", [False, True])
def test_mindspore_reads_what_we_write(ms, tmp_path, crc):
    parameters = untrained_parameters(depth=4, **WIDTHS)
    write_ckpt(tmp_path / "x.ckpt", parameters, crc=crc, slice_bytes=1000)
    loaded = ms.load_checkpoint(str(tmp_path / "x.ckpt"), crc_check=crc)
    for name, values in parameters.items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), values)


@pytest.mark.parametrize(("depth", "bias"), [(20, False), (4, True), (10, False), (36, False)])
def test_parity(tmp_path, depth, bias):
    """In both layouts, by one reference: MindSpore compiles a network for seconds."""
    write_ckpt(tmp_path / "x.ckpt", untrained_parameters(depth=depth, bias=bias, **WIDTHS))
    with open_checkpoint(tmp_path / "x.ckpt") as checkpoint:
        reference = open_reference("mindspore", checkpoint, infer_topology(checkpoint.entries))
    origin = Origin(preset=None, color_order="BGR", shortcut="after_activation", is_normalized=False)
    for layout in ("nchw", "image"):
        options = ConversionOptions(reference="numpy", input_layout=layout)
        made = convert(tmp_path / "x.ckpt", tmp_path / f"{layout}.onnx", options)
        proof = prove(Embedder(made.model, provider="cpu"), reference, origin)
        assert proof.reference[0] == "mindspore"
        assert proof.worst.max_abs_error <= 1e-5
        assert proof.worst.min_cosine >= 0.999999


def test_parity_of_the_official_architecture(tmp_path):
    """SphereFace-20 of full width, saved as the original training saves it."""
    from export.untrained import write_untrained

    write_untrained(tmp_path / "x.ckpt")
    made = convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="auto"))
    assert made.proof.reference == ("mindspore", "2.10.0")
    assert made.topology.widths == (64, 128, 256, 512)
    assert len(made.topology.skipped) == 44
    assert made.proof.worst.max_abs_error <= 1e-5


def test_parity_of_trained_weights(shared, tmp_path):
    source = shared("checkpoints/sphere20a-w050-lfw.ckpt")
    made = convert(source, tmp_path / "x.onnx", ConversionOptions(reference="mindspore"))
    assert made.proof.worst.max_abs_error <= 5e-6
    with open_checkpoint(source) as checkpoint:
        topology = infer_topology(checkpoint.entries)
        batch = np.random.default_rng(0).standard_normal((2, 3, 112, 96)).astype(np.float32)
        ours = NumpyReference(checkpoint, topology).forward(batch)
        theirs = open_reference("mindspore", checkpoint, topology).forward(batch)
    assert agreement(theirs, ours).max_abs_error < 5e-6, "both references agree"


def test_half_precision_through_mindspore(ms, tmp_path):
    parameters = [
        {"name": f"network.{name}", "data": ms.Tensor(values).astype(ms.bfloat16)}
        for name, values in untrained_parameters(depth=4, **WIDTHS).items()
    ]
    ms.save_checkpoint(parameters, str(tmp_path / "x.ckpt"))
    assert convert(tmp_path / "x.ckpt", tmp_path / "x.onnx", ConversionOptions(reference="mindspore")).proof.passed


def test_mindspore_asked_for_by_name_and_missing(monkeypatch, small_checkpoint):
    monkeypatch.setitem(sys.modules, "mindspore", None)
    with open_checkpoint(small_checkpoint) as checkpoint:
        topology = infer_topology(checkpoint.entries)
        with pytest.raises(ParityError, match="not installed"):
            open_reference("mindspore", checkpoint, topology)
        assert open_reference("auto", checkpoint, topology).name == "numpy"


def test_an_interruption_waits_for_mindspore_and_is_not_lost():
    """Ctrl-C while MindSpore loads would abort the process or become another error."""
    from export.mindspore_reference import _interrupt_afterwards

    before, reached = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), _interrupt_afterwards():
        signal.raise_signal(signal.SIGINT)
        reached.append("the end of the block")
    assert reached
    assert signal.getsignal(signal.SIGINT) is before
