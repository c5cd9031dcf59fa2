"""What tests share: small models made on the spot, a private cache, and the way to data that is not in the project."""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.cli.configuration import asks_for_json
from edge_sphereface.cli.runner import THREADS_VARIABLES
from edge_sphereface.cli.runner import run as run_command
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.storage.files import locked
from export.checkpoint.ckpt_writer import write_ckpt
from export.convert import ConversionOptions, convert
from export.faces import astronaut as load_astronaut
from export.faces import face_crops
from export.orl.faces import read_orl
from export.pretrained import PRETRAINED
from export.quantization.crops import vivid
from export.untrained import untrained_parameters
from tests import records

SHARED = Path(__file__).resolve().parents[2] / "shared"
SMALL = {"widths": (8, 8, 16, 16), "embedding_size": 32}
SLOW = {"made", "portable_int8", "vnni_int8", "quantized", "half_width_model", "faults"}
"""Fixtures that take longest to make: tests that need one are slow."""
INTEGRATION = {"make_broker", "browser", "namespaces", "wheel"}
"""Fixtures that start something: tests that need one are integration tests."""
LONGEST_FIRST = (
    "test_demo.py",
    "test_quantize_trained.py",
    "test_stream_video.py",
    "test_mindspore.py",
    "test_json_commands.py",
    "test_crash.py",
    "test_ray.py",
    "test_browser.py",
    "test_view.py",
    "test_embed_folder.py",
    "test_starvation.py",
    "test_pytorch.py",
    "test_quantized_graph.py",
    "test_accuracy.py",
    "test_quantize_command.py",
    "test_delivery.py",
    "test_quantization.py",
    "test_separability.py",
    "test_other_networks.py",
    "test_bundle.py",
    "test_gallery.py",
    "test_tuning.py",
    "test_arm64.py",
    "test_milvus.py",
    "test_network.py",
    "test_rewrite.py",
    "test_emulation.py",
    "test_transfer.py",
    "test_latency.py",
    "test_watch.py",
)
"""Files in this order, then all others."""


def pytest_configure(config):
    """Let each process begin to collect elsewhere: to rewrite the assertions of all files takes one of them long.

    What one process has rewritten, the others read. Collecting makes objects that stay: no search for garbage helps.
    """
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a shell; programs inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = getattr(config, "workerinput", None)
    if worker is not None and config.args == config.getini("testpaths"):
        files = sorted(map(str, Path(__file__).parent.rglob("test_*.py")))
        begin = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
        config.args = files[begin:] + files[:begin]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark tests by the fixtures they need; the longest files begin, so that all processes end together."""
    for item in items:
        for fixtures, mark in ((SLOW, pytest.mark.slow), (INTEGRATION, pytest.mark.integration)):
            if fixtures & set(item.fixturenames):
                item.add_marker(mark)
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: (places.get(item.path.name, len(places)), item.path))


def pytest_collection_finish():
    """Leave what the imports made, which stays, out of every later search for garbage."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pth_pickle(parameters):
    """The pickle of a state dict of float32 tensors as PyTorch writes it; the n-th tensor is in the storage n."""

    def text(words):
        return b"X" + struct.pack("<I", len(words)) + words.encode()

    def numbers(values):
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    content = b"\x80\x02ccollections\nOrderedDict\n)R("
    for key, (name, values) in enumerate(parameters.items()):
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu")
        storage += b"J" + struct.pack("<i", values.size) + b"tQ"
        strides = [step // values.itemsize for step in values.strides]
        content += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + bytes(4)
        content += numbers(values.shape) + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    return content + b"u."


@pytest.fixture(scope="session")
def write_pth():
    """Write a PyTorch file without PyTorch, in its present or its old format, with any pickle in it."""

    def write(path, parameters, *, old=False, pickled=None):
        content = pth_pickle(parameters) if pickled is None else pickled
        if old:
            head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
            head += pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
            keys = pickle.dumps([str(key) for key in range(len(parameters))], 2)
            stored = [struct.pack("<q", values.size) + values.tobytes() for values in parameters.values()]
            path.write_bytes(head + content + keys + b"".join(stored))
            return
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("weights/data.pkl", content)
            archive.writestr("weights/byteorder", "little")
            for key, values in enumerate(parameters.values()):
                archive.writestr(f"weights/data/{key}", values.tobytes())

    return write


@pytest.fixture(scope="session")
def caches(tmp_path_factory):
    """Names of folders that do not exist: pytest would look through thousands of them for the number of each."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def private_environment(monkeypatch, caches):
    """No test sees the user's cache or settings, and none downloads by accident."""
    monkeypatch.setenv("EDGE_SPHEREFACE_HOME", str(next(caches)))
    for name in ("EDGE_SPHEREFACE_OFFLINE", "EDGE_SPHEREFACE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    for name in THREADS_VARIABLES:  # a command with --threads sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def shared():
    """A function that gives the path of a shared file, or skips the test with the reason."""

    def find(name):
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"needs {name} of the shared data beside the project, which is not here")
        return path

    return find


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function that gives a folder of a name, which one process of the run makes for all."""
    base = tmp_path_factory.getbasetemp()
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name, make):
        with (place / f"{name}.lock").open("w") as lock, locked(lock.fileno(), wait_s=300) as is_locked:
            assert is_locked, f"another process makes {name}"
            if not (place / name).exists():
                made = tmp_path_factory.mktemp(name)
                make(made)
                made.rename(place / name)
        return place / name

    return make_once


LAYOUTS = ("nchw", "image")


@pytest.fixture(scope="session")
def small_checkpoint(made_once):
    """A narrow SphereFace-20 as the original training saves it: prefix, momentum, head, counter."""

    def make(folder):
        network = {f"network.{name}": value for name, value in untrained_parameters(**SMALL).items()}
        momentum = {f"moments.{name}": np.full_like(value, np.nan) for name, value in network.items()}
        head = {"network.fc6.weight": np.zeros((32, 7), np.float32), "learning_rate": np.float32(0.1).reshape(())}
        write_ckpt(folder / "small.ckpt", {**network, **momentum, **head})

    return made_once("checkpoint", make) / "small.ckpt"


@pytest.fixture(scope="session")
def small_models(small_checkpoint, made_once):
    """The narrow network converted with either input layout, by layout."""

    def make(folder):
        for layout in LAYOUTS:
            how = ConversionOptions(input_layout=layout, reference="numpy", threshold=0.5, threshold_source="test")
            convert(small_checkpoint, folder / f"{layout}.onnx", how)

    return by_layout(made_once("models", make))


@pytest.fixture(scope="session")
def small_model(small_models):
    return small_models["image"]


def by_layout(folder):
    return {layout: folder / f"{layout}.onnx" for layout in LAYOUTS}


@pytest.fixture(scope="session")
def narrow_models(made_once):
    """A function that gives an untrained narrow network of a depth, or of pairs of layers, by layout."""

    def give(name, **layers):
        def make(folder):
            write_ckpt(folder / "x.ckpt", untrained_parameters(**layers, **SMALL))
            for layout in LAYOUTS:
                how = ConversionOptions(reference="numpy", input_layout=layout)
                convert(folder / "x.ckpt", folder / f"{layout}.onnx", how)

        return by_layout(made_once(name, make))

    return give


@pytest.fixture(scope="session")
def shallow_models(narrow_models):
    """A shallow narrow network in both layouts: quick to quantize."""
    return narrow_models("shallow", depth=10)


@pytest.fixture(scope="session")
def shallowest_models(narrow_models):
    """A narrow network of five layers in both layouts, for tests that search for a quantized form of any network."""
    return narrow_models("shallowest", depth=4)


@pytest.fixture(scope="session")
def paired_models(narrow_models):
    """A narrow network of seven layers in both layouts, one of them inside a residual pair."""
    return narrow_models("paired", pairs=(0, 0, 0, 1))


@pytest.fixture(scope="session")
def crop_folder(shallow_models, made_once):
    """A folder of 48 crops to calibrate with: 24 of one face, and these in other colors."""

    def make(folder):
        crops = face_crops(Embedder(shallow_models["image"]).spec, 24)
        for number, crop in enumerate([*crops, *vivid(crops)]):
            save_image(folder / f"{number}.png", crop)

    return made_once("crops", make)


@pytest.fixture(scope="session")
def trained_model(made_once):
    """The trained network of the project, converted: of quarter width, the fastest that recognizes people."""

    def make(folder):
        convert(PRETRAINED, folder / "trained.onnx", ConversionOptions(input_layout="image", reference="numpy"))

    return made_once("trained", make) / "trained.onnx"


@pytest.fixture(scope="session")
def orl(made_once):
    """Photographs 1 to 4 of people 1 to 20 of the ORL faces, a folder for each person: ``03/2.png``."""

    def make(folder):
        for person, number, image in read_orl():
            if person <= 20 and number <= 4:
                (folder / f"{person:02d}").mkdir(exist_ok=True)
                save_image(folder / f"{person:02d}" / f"{number}.png", image)

    return made_once("orl", make)


@pytest.fixture(scope="session")
def half_width_model(made_once):
    """A trained network of half width, whose every layer can be quantized with few crops."""
    source = SHARED / "checkpoints" / "sphere20a-w050-lfw.ckpt"
    if not source.exists():
        pytest.skip("needs the trained checkpoint of the shared data beside the project, which is not here")

    def make(folder):
        how = ConversionOptions(input_layout="image", reference="numpy", threshold=0.2)
        convert(source, folder / "trained.onnx", how)

    return made_once("half", make) / "trained.onnx"


@pytest.fixture(scope="session")
def measured_board():
    """A report of a board that was measured, which got hot in the sustained run."""
    return records.measured_board()


@pytest.fixture(scope="session")
def spec():
    """The specification of the original network."""
    return records.SPEC


@pytest.fixture
def quantization_record():
    """What an INT8 model of target portable says of its quantization."""
    from edge_sphereface.model.quantization import Quantization

    return Quantization(
        target="portable",
        weight_bits=7,
        rules=(("conv1_1", "min-max"), ("fc5", "squared-error")),
        equalization=0.5,
        bias_correction=True,
        float_layers=("fc5",),
        calibration_crops=300,
        float_sha256="0" * 64,
        proof_crops=2000,
        cosine_mean=0.998,
        cosine_p1=0.995,
        cosine_min=0.985,
    )


@pytest.fixture
def make_onnx(tmp_path, spec):
    """A function that writes a one-node model with given metadata and output function."""
    from onnx import TensorProto, helper, save_model

    def make(*, changes=None, metadata=None, nodes=None, initializers=(), name="made.onnx"):
        made = replace(spec, embedding_size=3, **(changes or {}))
        body = nodes or [
            helper.make_node("ReduceMean", ["input"], ["embedding"], axes=[2, 3], keepdims=0),
        ]
        graph = helper.make_graph(
            body,
            "made",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 112, 96])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3])],
            list(initializers),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        values = {"edge_sphereface.model_spec": made.to_json()} if metadata is None else metadata
        helper.set_model_props(model, values)
        path = tmp_path / name
        save_model(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def astronaut():
    """A photograph of one face, (512, 512, 3) uint8 BGR."""
    return load_astronaut()


@pytest.fixture(scope="session")
def photo(astronaut, tmp_path_factory):
    """The same as a file."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    save_image(path, astronaut)
    return path


@pytest.fixture
def crops():
    """Seven crops of noise."""
    return np.random.default_rng(0).integers(0, 256, (7, 112, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def built():
    """A function that gives what a function builds: the parser of a command line, which many runs may use."""
    return cache(lambda build: build())


@pytest.fixture
def cli(capsys, built):
    """Run a command; gives exit code, stdout and stderr."""

    def run(*words):
        code = run_command(built(build_parser), [str(word) for word in words], asks_for_json=asks_for_json)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def require_schema():
    """A function that holds JSON values against the schema of a name, without any field that the schema lacks."""
    import jsonschema

    from scripts.json_schemas import schema_of

    def closed(schema):
        if isinstance(schema, list):
            return [closed(part) for part in schema]
        if not isinstance(schema, dict):
            return schema
        closing = {"additionalProperties": False} if "properties" in schema else {}
        return {**{name: closed(part) for name, part in schema.items()}, **closing}

    return lambda name, found: jsonschema.Draft202012Validator(closed(schema_of(name))).validate(found)


@pytest.fixture
def printed(capsys, require_schema, built):
    """Run a command with ``--json``; gives the one object that it printed, which the schema of that name describes."""

    def run_with_json(parser, schema, *words):
        run_command(built(parser), [*map(str, words), "--json"])
        found = json.loads(capsys.readouterr().out)
        require_schema(schema, found)
        return found

    return run_with_json


@pytest.fixture
def people(cli, small_model, photo, tmp_path):
    """A gallery of one person, Eileen."""
    path = tmp_path / "people.db"
    code, _, err = cli("enroll", "--gallery", path, "--model", small_model, "Eileen", photo)
    assert code == 0, err
    return path


class ForkedProcess:
    """A process of a fork server; ``stdout`` is what it prints."""

    def __init__(self, server, request, output):
        self._server = server
        server.stdin.write(f"{json.dumps(request)}\n".encode())
        self._number = int(server.stdout.readline())
        self.stdout = output.open()  # waits until the process has opened its end

    def has_ended(self):
        return bool(select.select([self._server.stdout], [], [], 0)[0])

    def kill(self):
        """Kill it; gives whether it still ran."""
        if self.has_ended():
            return False
        try:
            os.kill(self._number, signal.SIGKILL)
        except ProcessLookupError:  # it has ended since
            return False
        return True

    def wait(self):
        """Its exit code, once it has ended and what it printed was read."""
        self.stdout.close()
        return int(self._server.stdout.readline())


@pytest.fixture(scope="module")
def fork_server(tmp_path_factory):
    """A function that starts a server; gives a function that starts one process at a time, as copies of the server.

    Each process begins where a new interpreter would be after its imports, which most of its time would go into.
    """
    servers = []

    def serve(file, **variables):
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(file)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        servers.append(server)
        output = tmp_path_factory.mktemp("forked") / "stdout"
        os.mkfifo(output)
        return lambda *arguments, **settings: ForkedProcess(
            server, ([str(value) for value in arguments], settings, str(output)), output
        )

    yield serve
    for server in servers:
        with server:
            server.stdin.close()


@pytest.fixture
def as_nobody():
    """A context in which this process is not root, so that permissions count."""

    @contextmanager
    def nobody():
        if not hasattr(os, "geteuid") or os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return nobody


@pytest.fixture
def wait_until():
    """Wait for a condition, or fail."""

    def wait(condition, seconds=10):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come to pass"
            time.sleep(0.02)

    return wait
