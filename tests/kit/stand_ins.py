"""Stand-ins of vendors' modules. Each checks the calls that it gets, and computes with a function."""

import ctypes
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import numpy as np

CROP = (1, 3, 112, 96)
PIXELS = (1, 112, 96, 3)


def module(name, **members):
    """A module of that name that can be imported and found."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    for key, value in members.items():
        setattr(made, key, value)
    return made


def is_crop(array):
    return array.shape == CROP and array.dtype == np.float32 and array.flags.c_contiguous


def is_image(array):
    return array.shape == PIXELS and array.dtype == np.uint8 and array.flags.c_contiguous


class Ascend:
    """Memory and models of pyACL: addresses are numbers, and every call is noted."""

    def __init__(self, compute, *, size=8, aipp=False, half=False):
        self.calls, self._compute, self._aipp, self._half = [], compute, aipp, half
        self._in_bytes = int(np.prod(CROP)) * (1 if aipp else 2 if half else 4)
        self._out_bytes = size * 4
        self.device, self.host, self._given, self.sets, self.buffers = {}, {}, {}, {}, {}
        self._next = 1000

    def module(self):
        rt = SimpleNamespace(
            set_device=self.noted("set_device", 0), malloc=self.malloc, malloc_host=self.malloc_host,
            memcpy=self.memcpy, free=self.free, free_host=self.free_host, reset_device=self.noted("reset_device", 0),
        )  # fmt: skip
        mdl = SimpleNamespace(
            load_from_file=self.load, create_desc=lambda: 7,
            get_desc=lambda about, model: int((about, model) != (7, 5)),
            get_input_size_by_index=lambda about, number: self._in_bytes,
            get_output_size_by_index=lambda about, number: self._out_bytes,
            get_output_data_type=lambda about, number: 0,
            get_input_dims=lambda about, number: ({"dims": list(PIXELS if self._aipp else CROP)}, 0),
            create_dataset=self.create_dataset, add_dataset_buffer=self.add, get_dataset_buffer=self.buffer_of,
            destroy_dataset=lambda data: self.sets.pop(data) and 0, execute=self.execute,
            unload=self.noted("unload", 0), destroy_desc=self.noted("destroy_desc", 0),
        )  # fmt: skip
        util = SimpleNamespace(bytes_to_ptr=self.pointer, ptr_to_bytes=lambda at, size: bytes(self.host[at][:size]))
        return module(
            "acl", init=self.noted("init", 0), finalize=self.noted("finalize", 0), rt=rt, mdl=mdl, util=util,
            create_data_buffer=self.create_buffer, destroy_data_buffer=lambda buffer: self.buffers.pop(buffer) and 0,
            get_soc_name=lambda: "Ascend310P3",
        )  # fmt: skip

    def noted(self, name, code):
        def call(*_):
            self.calls.append(name)
            return code

        return call

    def address(self):
        self._next += 1
        return self._next

    def load(self, path):
        assert self.calls == ["init", "set_device"], self.calls
        self.calls.append("load")
        return 5, int(not path.endswith(".om"))

    def malloc(self, size, policy):
        assert policy == 0
        at = self.address()
        self.device[at] = bytearray(size)
        return at, 0

    def malloc_host(self, size):
        at = self.address()
        self.host[at] = bytearray(size)
        return at, 0

    def pointer(self, content):
        at = self.address()
        self._given = {at: content}
        return at

    def memcpy(self, target, room, source, size, kind):
        assert size <= room
        if kind == 1:
            self.device[target][:size] = self._given[source][:size]
        else:
            assert kind == 2
            self.host[target][:size] = self.device[source][:size]
        return 0

    def create_buffer(self, at, size):
        made = self.address()
        self.buffers[made] = at, size
        return made

    def create_dataset(self):
        made = self.address()
        self.sets[made] = []
        return made

    def add(self, data, buffer):
        self.sets[data].append(buffer)
        return data, 0

    def buffer_of(self, data, number):
        return self.sets[data][number]

    def free(self, at):
        del self.device[at]
        return 0

    def free_host(self, at):
        del self.host[at]
        return 0

    def execute(self, model, given, found):
        assert model == 5
        (source, size), (target, _) = (self.buffers[self.sets[data][0]] for data in (given, found))
        content = bytes(self.device[source][:size])
        if self._aipp:
            array = np.frombuffer(content, np.uint8).reshape(PIXELS)
        else:
            array = np.frombuffer(content, np.float16 if self._half else np.float32).reshape(CROP).astype(np.float32)
        output = np.ascontiguousarray(self._compute(array), np.float32)
        assert output.nbytes == self._out_bytes
        self.device[target][:] = output.tobytes()
        self.calls.append("execute")
        return 0

    def require_released(self):
        assert self.calls[-4:] == ["unload", "destroy_desc", "reset_device", "finalize"]
        assert [*self.device, *self.host, *self.sets, *self.buffers] == []


def ais_bench(compute, *, log):
    class InferSession:
        def __init__(self, device_id, model_path):
            assert device_id == 0
            assert model_path.endswith(".om")
            log.append("load")

        def get_inputs(self):
            return [SimpleNamespace(name="input", shape=list(CROP))]

        def infer(self, feeds, mode):
            assert mode == "static"
            assert len(feeds) == 1
            assert is_crop(feeds[0])
            log.append("infer")
            return [compute(feeds[0])]

        def free_resource(self):
            log.append("free")

    interface = module("ais_bench.infer.interface", InferSession=InferSession)
    return [module("ais_bench", __path__=[]), module("ais_bench.infer", __path__=[]), interface]


def mindspore_lite(compute, *, log, target="ascend"):
    class Context:
        def __init__(self):
            self.target, self.ascend = [], SimpleNamespace(device_id=None)

    class Tensor:
        shape, dtype, value = list(CROP), "DataType.FLOAT32", None

        def set_data_from_numpy(self, array):
            assert is_crop(array)
            self.value = array

        def get_data_to_numpy(self):
            return self.value

    class Model:
        def build_from_file(self, path, kind, context):
            assert (path.rpartition(".")[2], kind, context.target) == ("mindir", "MINDIR", [target])
            assert context.ascend.device_id == (0 if target == "ascend" else None)
            log.append("load")

        def get_inputs(self):
            self.given = Tensor()
            return [self.given]

        def predict(self, inputs):
            assert inputs == [self.given]
            found = Tensor()
            found.value = compute(inputs[0].value)
            log.append("infer")
            return [found]

    kinds = SimpleNamespace(MINDIR="MINDIR", MINDIR_LITE="MINDIR_LITE")
    return [module("mindspore_lite", Context=Context, Model=Model, ModelType=kinds, __version__="2.3.1")]


def rknnlite(compute, *, log, code=0):
    class RKNNLite:
        def load_rknn(self, path):
            assert path.endswith(".rknn")
            log.append("load")
            return 0

        def init_runtime(self):
            assert log == ["load"]
            return code

        def inference(self, inputs, data_format):
            assert data_format == ["nhwc"]
            assert is_image(inputs[0])
            log.append("infer")
            return [compute(inputs[0])]

        def release(self):
            log.append("free")

    return [module("rknnlite", __path__=[]), module("rknnlite.api", RKNNLite=RKNNLite)]


def hailo_platform(compute, *, log, size=8):  # noqa: C901 -- one stand-in
    class Stream:
        def __init__(self, shape):
            self.shape, self.format = shape, None

        def set_format_type(self, value):
            self.format = value

    class Bindings:
        def __init__(self):
            self._held = {name: SimpleNamespace(buffer=None) for name in ("input", "output")}
            for held in self._held.values():
                held.set_buffer = lambda value, held=held: setattr(held, "buffer", value)
                held.get_buffer = lambda held=held: held.buffer

        def input(self):
            return self._held["input"]

        def output(self):
            return self._held["output"]

    class InferModel:
        def __init__(self, path):
            assert path.endswith(".hef")
            self._streams = {"input": Stream(PIXELS[1:]), "output": Stream((1, 1, size))}

        def input(self):
            return self._streams["input"]

        def output(self):
            return self._streams["output"]

        @contextmanager
        def configure(self):
            assert (self.input().format, self.output().format) == ("UINT8", "FLOAT32")
            log.append("load")
            yield SimpleNamespace(create_bindings=Bindings, run=self.run)
            log.append("unconfigured")

        def run(self, bindings, timeout):
            assert timeout > 0
            (one,) = bindings
            crop = one.input().get_buffer()
            assert is_image(crop[None])
            one.output().get_buffer()[:] = compute(crop[None])
            log.append("infer")

    @contextmanager
    def chip():
        yield SimpleNamespace(create_infer_model=InferModel)
        log.append("free")

    formats = SimpleNamespace(UINT8="UINT8", FLOAT32="FLOAT32")
    return [module("hailo_platform", VDevice=chip, FormatType=formats, __version__="4.20.0")]


def tensorrt(compute, *, log, size=8):  # noqa: C901 -- one stand-in
    """TensorRT, whose GPU is memory of this process: addresses are followed as an engine does."""

    class Context:
        def __init__(self):
            self.at = {}

        def set_input_shape(self, name, shape):
            return (name, tuple(shape)) == ("input", CROP)

        def get_tensor_shape(self, name):
            return (1, size) if name == "embedding" else CROP

        def set_tensor_address(self, name, at):
            self.at[name] = at

        def execute_async_v3(self, stream):
            assert stream == 42
            crop = np.frombuffer(ctypes.string_at(self.at["input"], 4 * int(np.prod(CROP))), np.float32).reshape(CROP)
            found = np.ascontiguousarray(compute(crop), np.float32)
            ctypes.memmove(self.at["embedding"], found.ctypes.data, found.nbytes)
            log.append("infer")
            return True

    class Engine:
        num_io_tensors = 2

        def create_execution_context(self):
            return Context()

        def get_tensor_name(self, number):
            return ("input", "embedding")[number]

        def get_tensor_mode(self, name):
            return {"input": "INPUT", "embedding": "OUTPUT"}[name]

        def get_tensor_shape(self, name):
            return (-1, *CROP[1:]) if name == "input" else (-1, size)

        def get_tensor_dtype(self, name):
            return "FLOAT"

    class Runtime:
        def __init__(self, logger):
            assert logger == "logger at WARNING"

        def deserialize_cuda_engine(self, content):
            log.append("load")
            return Engine() if content == b"engine" else None

    def logger(level):
        return f"logger at {level}"

    logger.WARNING = "WARNING"
    modes = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    return [
        module(
            "tensorrt", Logger=logger, Runtime=Runtime, TensorIOMode=modes, nptype={"FLOAT": np.float32}.__getitem__,
            __version__="10.3.0",
        )
    ]  # fmt: skip


def installed(monkeypatch, modules):
    """Let modules be found, in place of any real ones."""
    for made in modules:
        monkeypatch.setitem(sys.modules, made.__name__, made)
