"""What a PyTorch file may not hold, and how memory is spared. No PyTorch is needed: see test_pytorch.py."""

import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from export.checkpoint import open_checkpoint
from export.checkpoint.pytorch import OLD_START
from export.checkpoint.state_pickle import MAX_OPCODES, PickleError, read_pickle
from export.errors import CheckpointError, TopologyError
from export.inspection import inspect, text
from export.source import open_network

VALUES = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([1, 2])}


@pytest.mark.parametrize("old", [False, True])
def test_both_formats(tmp_path, write_pth, old):
    write_pth(tmp_path / "x.pth", VALUES, old=old)
    with open_checkpoint(tmp_path / "x.pth") as checkpoint:
        assert checkpoint.format == "PyTorch file"
        for name, values in VALUES.items():
            np.testing.assert_array_equal(checkpoint.read(name), values)


class Evil:
    def __reduce__(self):
        return exec, ("print('executed')",)  # some libraries replace print itself


def refused(path, words):
    with pytest.raises(CheckpointError, match=words), open_checkpoint(path):
        pass


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Evil(), "__builtin__.exec"),
        ({"epoch": np.float32(1)}, r"numpy.*scalar"),
        ({"options": __import__("argparse").Namespace(lr=0.1)}, "argparse.Namespace"),
    ],
)
def test_foreign_names_are_refused_and_not_called(tmp_path, write_pth, capsys, old, value, name):
    write_pth(tmp_path / "x.pth", {}, old=old, pickled=pickle.dumps(value, 2))
    refused(tmp_path / "x.pth", rf"this one needs .*{name}.*state_dict")
    assert capsys.readouterr().out == ""


def tensor(storage=b"ctorch\nFloatStorage\n", length=2, offset=0, shape=(2,), strides=(1,)):
    """A state dict of one tensor, with fields as wished."""

    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    found = b"(U\x07storage" + storage + b"U\x010U\x03cpuJ" + struct.pack("<i", length) + b"tQ"
    fields = b"J" + struct.pack("<i", offset) + numbers(shape) + numbers(strides)
    return (
        b"\x80\x02}U\x01btorch".replace(b"btorch", b"b")
        + b"ctorch._utils\n_rebuild_tensor\n("
        + found
        + fields
        + b"tRs."
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"shape": (3,)}, "more values than the file has"),
        ({"offset": 1}, "more values than the file has"),
        ({"offset": -1}, "impossible shape"),
        ({"shape": (-2,)}, "impossible shape"),
        ({"shape": (2, 1)}, "impossible shape"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "impossible shape"),
        ({"length": 1 << 30, "shape": (1 << 15, 1 << 15), "strides": (1 << 15, 1)}, "more values than the file has"),
        ({"length": -1}, "no description of a storage"),
        ({"shape": (1, 2), "strides": (0, 0)}, "gaps or repetitions"),
        ({"shape": (1,), "strides": (2,), "storage": b"ctorch\nQInt8Storage\n"}, "torch.QInt8Storage"),
    ],
)
def test_tensors_that_cannot_be(tmp_path, write_pth, fields, words):
    write_pth(tmp_path / "x.pth", {"b": VALUES["b"]}, pickled=tensor(**fields))
    refused(tmp_path / "x.pth", words)


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x04N.", "protocol 4, not 2"),
        (b"\x80\x02I1\n.", "opcode b'I'"),
        (b"\x80\x02", "ends at byte"),
        (b"\x80\x02.", "a value is missing"),
        (b"\x80\x02K\x05.", "it holds a int"),
        (b"\x80\x02}.", "no tensors, but nothing"),
        (b"\x80\x02}U\x05epochK\x01s.", "no tensors, but 'epoch'"),
        (b"\x80\x02X\xff\xff\xff\x7f.", "a text of 2147483647 bytes"),
        (b"\x80\x02h\x07.", "value 7, recalled"),
        (b"\x80\x02K\x01)R.", "no function to call"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01tR.", "not made of a list"),
        (b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02tR.", "wrong arguments"),
        (b"\x80\x02}]K\x01s.", "key of type list"),
        (b"\x80\x02t.", "mark is missing"),
        (b"\x80\x02]K\x01K\x02s.", "no dictionary to fill"),
        (b"\x80\x02U\x01xQ.", "no description of a storage"),
        (b"\x80\x02(U\x06moduleK\x01tQ.", "classes of a whole network"),
        (b"\x80\x02ctorch" + b"x" * 300, "name at byte .* has no end"),
    ],
)
def test_pickles_that_are_refused(tmp_path, write_pth, pickled, words):
    write_pth(tmp_path / "x.pth", {}, pickled=pickled)
    refused(tmp_path / "x.pth", words)


@pytest.mark.slow
def test_a_bomb_of_opcodes_is_stopped():
    content = b"\x80\x02" + b"}" * (2 * MAX_OPCODES) + b"."
    tracemalloc.start()
    try:
        with pytest.raises(PickleError, match="more than"):
            read_pickle(content, 0, len(content))
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_a_list_that_is_used_again_and_again_costs_its_length_once():
    """Thousands of dictionaries of one list of thousands of pairs would take minutes."""
    pairs = b"](" + b"(K\x01K\x02t" * 20_000 + b"eq\x00"
    calls = b"ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00\x85R" * 20_000
    content = b"\x80\x02" + pairs + calls + b"."
    start = time.process_time()
    assert read_pickle(content, 0, len(content)).value == {}
    assert time.process_time() - start < 5


def test_old_python_2_dictionaries(tmp_path, write_pth):
    """Python 2 wrote OrderedDict([[key, value]]), and texts as bytes."""
    state = tensor()[2:-1].replace(b"}U\x01b", b"ccollections\nOrderedDict\n(](](U\x01b", 1)[:-1] + b"eetR"
    write_pth(tmp_path / "x.pth", {"b": VALUES["b"]}, pickled=b"\x80\x02" + state + b".")
    with open_checkpoint(tmp_path / "x.pth") as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("b"), VALUES["b"])


@pytest.mark.parametrize("old", [False, True])
def test_half_a_file(tmp_path, write_pth, old):
    write_pth(tmp_path / "x.pth", VALUES, old=old)
    content = (tmp_path / "x.pth").read_bytes()
    for share in (0.3, 0.6, 0.97):
        (tmp_path / "x.pth").write_bytes(content[: int(len(content) * share)])
        refused(tmp_path / "x.pth", "not an intact PyTorch file")


def test_archives_of_other_kinds(tmp_path, write_pth):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("a.npy", b"1")
    refused(tmp_path / "x.pth", "no data.pkl")
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(100))
    refused(tmp_path / "x.pth", "compressed")
    write_pth(tmp_path / "x.pth", VALUES)
    with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
        archive.writestr("weights/constants.pkl", b"")
    refused(tmp_path / "x.pth", "TorchScript")


def test_parameters_that_share_values_are_refused(tmp_path, write_pth):
    """Otherwise a small file could ask for any amount of memory."""
    shared = tensor(length=1000, shape=(1000,))[len(b"\x80\x02}U\x01b") : -2] + b"q\x00"
    entries = b"".join(b"X\x04\x00\x00\x00%04dh\x00s" % number for number in range(100))
    write_pth(
        tmp_path / "x.pth",
        {"a": np.zeros(1000, np.float32)},
        pickled=b"\x80\x02}U\x05first" + shared + b"s" + entries + b".",
    )
    refused(tmp_path / "x.pth", "share their values")


PICKLE = b"\x80\x02"


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(b")q\x00" + b"h\x00h\x00\x86q\x00" * 40, id="doubled 40 times"),
        pytest.param(b")" + b"\x85" * 100_000, id="nested 100,000 times"),
        pytest.param(b"K\x07", id="number"),
    ],
)
def test_no_value_of_a_pickle_is_printed_whole(tmp_path, version):
    """To print a tuple of tuples takes exponential time, or the whole stack."""
    (tmp_path / "x.pth").write_bytes(OLD_START + PICKLE + version + b"." + (PICKLE + b"}.") * 3)
    start = time.process_time()
    refused(tmp_path / "x.pth", "another version than 1001")
    assert time.process_time() - start < 5


def rebuilt(function, arguments=b""):
    """A state dict of one tensor of two values, made by a function, with arguments behind those of every tensor."""
    return tensor().replace(b"_rebuild_tensor\n", function + b"\n").replace(b"tRs.", arguments + b"tRs.")


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (rebuilt(b"_rebuild_tensor_v2", b"\x89N}U\x03neg\x88s"), "negated or conjugated.*clone"),
        (rebuilt(b"_rebuild_tensor_v3"), "_rebuild_tensor_v3.*float8.*tensor.float"),
        (tensor(storage=b"ctorch\nComplexFloatStorage\n"), "ComplexFloatStorage.*complex.*tensor.float"),
        (tensor(shape=(2, 2), strides=(0, 1)), r"gaps or repetitions.*tensor\.clone"),
        (b"\x80\x04N.", "protocol 4, not 2.*without naming a protocol"),
    ],
)
def test_the_hint_says_what_to_save(tmp_path, write_pth, pickled, words):
    write_pth(tmp_path / "x.pth", {"b": np.zeros(4, np.float32)}, pickled=pickled)
    refused(tmp_path / "x.pth", words)


@pytest.mark.parametrize("arguments", [b"\x89N", b"\x89N}"])
def test_tensors_without_metadata(tmp_path, write_pth, arguments):
    write_pth(tmp_path / "x.pth", {"b": VALUES["b"]}, pickled=rebuilt(b"_rebuild_tensor_v2", arguments))
    with open_checkpoint(tmp_path / "x.pth") as checkpoint:
        np.testing.assert_array_equal(checkpoint.read("b"), VALUES["b"])


@pytest.mark.parametrize("name", ["\x1b[31mevil\n\x07", "A" * 60_000])
def test_names_are_shown_without_control_characters_and_shortened(tmp_path, write_pth, name):
    encoded = name.encode()
    state = tensor().replace(b"U\x01b", b"X" + struct.pack("<I", len(encoded)) + encoded)
    write_pth(tmp_path / "x.pth", {"b": VALUES["b"]}, pickled=state)
    with pytest.raises(TopologyError, match="are unknown") as caught, open_network(tmp_path / "x.pth"):
        pass
    described = text(inspect(tmp_path / "x.pth"))
    for message in (caught.value.message, described):
        assert message.replace("\n", "").isprintable()
        assert len(message) < 2000
    write_pth(tmp_path / "x.pth", {}, pickled=b"\x80\x02cos\x1b[31m\nsystem\x07\n.")
    with pytest.raises(CheckpointError) as refusal, open_checkpoint(tmp_path / "x.pth"):
        pass
    assert refusal.value.message.isprintable()


def test_two_descriptions_in_one_archive(tmp_path, write_pth):
    write_pth(tmp_path / "x.pth", VALUES)
    with zipfile.ZipFile(tmp_path / "x.pth", "a") as archive:
        archive.writestr("other/data.pkl", b"")
    refused(tmp_path / "x.pth", "it has 2 data.pkl")
