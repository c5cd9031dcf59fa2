"""Runtimes of vendors, each by a few calls of its own interface.

Of these, only onnxruntime and MindSpore were run by the project, on CPUs; for the others the calls follow the pages
that are named at each class.
"""

import ctypes
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict, NamedTuple, Sequence, Tuple, Type

import numpy as np
from kit import StopError


class Setup(NamedTuple):
    """What a runtime is opened with.

    Attributes:
        model: path of the model file.
        crop: (height, width, 3) of a crop.
        target: device or execution provider; empty for the runtime's default.
        device_id: number of the device.
        options: options of the execution provider.
    """

    model: Path
    crop: Tuple[int, ...]
    target: str
    device_id: int
    options: Dict[str, str]


class Runtime(ABC):
    """A runtime with a loaded model. One crop is given by ``prepare``, and only ``compute`` is timed.

    Attributes:
        name: name of the runtime.
        module: module that is imported.
        suffixes: suffixes of its model files.
        precision: precision in which it computes unless the user says something else.
        includes: what the time of ``compute`` covers, in the words of the result.
        install: how to get it.
        layout: ``uint8`` for crops as they are, (1, H, W, 3) BGR; ``nchw`` or ``nhwc`` for normalized numbers.
        dtype: type of normalized numbers.
        device: device in words.
    """

    name = ""
    module = ""
    suffixes: Tuple[str, ...] = ()
    precision = "float16"
    includes = "whole call"
    install = ""
    layout = "nchw"
    dtype = "float32"
    device = ""

    @abstractmethod
    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model."""

    @abstractmethod
    def prepare(self, crop: Any) -> None:
        """Take one crop."""

    @abstractmethod
    def compute(self) -> None:
        """Compute the output of the crop."""

    @abstractmethod
    def output(self) -> Any:
        """The output of the crop."""

    def close(self) -> None:  # noqa: B027 -- some runtimes have nothing to release
        """Release the device."""

    def _takes(self, shape: Sequence[int], *, is_uint8: bool, dtype: str = "float32") -> None:
        """Tell the layout of the input by its shape."""
        self.dtype = dtype
        last = len(shape) == 4 and shape[-1] == 3 and shape[1] != 3
        self.layout = "uint8" if is_uint8 else "nhwc" if last else "nchw"


class OnnxRuntime(Runtime):
    """Source: onnxruntime, Python API: InferenceSession, run, get_providers; pull request 16016.

    The pull request is of ``session.disable_cpu_ep_fallback``, which version 1.16 and later know.
    """

    name = module = "onnxruntime"
    suffixes = (".onnx",)
    precision = "float32"
    install = "pip install onnxruntime"
    _CPU, _REMOTE = "CPUExecutionProvider", "AzureExecutionProvider"

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model, and require that the provider that was asked for takes it."""
        asked = setup.target or self._CPU
        if asked not in library.get_available_providers():
            raise StopError(f"{asked} is not in this onnxruntime: {', '.join(library.get_available_providers())}")
        settings = library.SessionOptions()
        if asked != self._CPU:  # without it, nodes that the provider does not take run on the CPU unseen
            settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        others = [name for name in library.get_available_providers() if name not in (self._CPU, self._REMOTE)]
        if others and not setup.target:
            print(f"note: this runs on the CPU; --target takes {' or '.join(others)}")
        self._session = library.InferenceSession(str(setup.model), settings, providers=[(asked, setup.options)])
        self.device = self._session.get_providers()[0]
        if self.device != asked:
            raise StopError(f"onnxruntime would run on {self.device}, not on {asked}")
        self._input = self._session.get_inputs()[0]
        self._takes(self._input.shape, is_uint8=self._input.type == "tensor(uint8)")

    def prepare(self, crop: Any) -> None:
        """Keep the crop for the call."""
        self._feed = {self._input.name: crop}

    def compute(self) -> None:
        """Run the session."""
        self._found = self._session.run(None, self._feed)

    def output(self) -> Any:
        """The first output."""
        return self._found[0]


class MindSpore(Runtime):
    """Source: MindSpore, "mindspore.nn.GraphCell" and "mindspore.load"."""

    name = module = "mindspore"
    suffixes = (".mindir",)
    precision = "float32"
    install = "pip install mindspore"

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the graph."""
        if setup.target:
            if hasattr(library, "set_device"):  # from 2.5 on
                library.set_device(setup.target, setup.device_id)
            else:
                library.set_context(device_target=setup.target, device_id=setup.device_id)
        self._tensor = library.Tensor
        self._cell = library.nn.GraphCell(library.load(str(setup.model)))
        self.device = str(library.get_context("device_target"))

    def prepare(self, crop: Any) -> None:
        """Make a tensor of the crop."""
        self._crop = self._tensor(crop)

    def compute(self) -> None:
        """Run the graph; the copy to numpy waits for its end."""
        self._found = self._cell(self._crop).asnumpy()

    def output(self) -> Any:
        """The only output."""
        return self._found


class MindSporeLite(Runtime):
    """Source: MindSpore Lite, "mindspore_lite.Model": build_from_file, get_inputs, predict."""

    name = module = "mindspore_lite"
    suffixes = (".mindir", ".ms")
    install = "pip install mindspore_lite, with CANN for Ascend; targets/ascend/convert-lite.sh makes the model"

    def __init__(self, library: Any, setup: Setup) -> None:
        """Build the model for the target: ascend, cpu or gpu."""
        self.device = setup.target or "ascend"
        context = library.Context()
        context.target = [self.device]
        if self.device == "ascend":
            context.ascend.device_id = setup.device_id
        self._model = library.Model()
        kind = library.ModelType.MINDIR if setup.model.suffix == ".mindir" else library.ModelType.MINDIR_LITE
        self._model.build_from_file(str(setup.model), kind, context)
        self._inputs = self._model.get_inputs()
        dtype = str(self._inputs[0].dtype).rpartition(".")[2].lower()
        self._takes(self._inputs[0].shape, is_uint8=dtype == "uint8", dtype="float16" if "16" in dtype else "float32")

    def prepare(self, crop: Any) -> None:
        """Copy the crop into the input tensor."""
        self._inputs[0].set_data_from_numpy(crop)

    def compute(self) -> None:
        """Predict; the copy to numpy is included."""
        self._found = self._model.predict(self._inputs)[0].get_data_to_numpy()

    def output(self) -> Any:
        """The first output."""
        return self._found


class Acl(Runtime):
    """Source: CANN, pyACL API reference: acl.mdl, acl.rt.memcpy, acl.util.bytes_to_ptr."""

    name = module = "acl"
    suffixes = (".om",)
    includes = "compute"
    install = "install CANN, then: source .../set_env.sh; targets/ascend/convert.sh makes the model"
    _HUGE_FIRST, _TO_DEVICE, _TO_HOST = 0, 1, 2
    _DTYPES = ("float32", "float16")

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model, and make the data sets of its input and output."""
        self._acl, self._id = library, setup.device_id
        self._done(library.init(), "acl.init")
        self._done(library.rt.set_device(self._id), "acl.rt.set_device")
        self._model = self._got(library.mdl.load_from_file(str(setup.model)), "acl.mdl.load_from_file")
        self._about = library.mdl.create_desc()
        self._done(library.mdl.get_desc(self._about, self._model), "acl.mdl.get_desc")
        self._in_bytes = library.mdl.get_input_size_by_index(self._about, 0)
        self._out_bytes = library.mdl.get_output_size_by_index(self._about, 0)
        self._in_at, self._in_set = self._data_set(self._in_bytes)
        self._out_at, self._out_set = self._data_set(self._out_bytes)
        self._host = self._got(library.rt.malloc_host(self._out_bytes), "acl.rt.malloc_host")
        self._out_dtype = self._DTYPES[library.mdl.get_output_data_type(self._about, 0)]
        pixels = int(np.prod(setup.crop))
        if self._in_bytes not in (pixels, 2 * pixels, 4 * pixels):
            raise StopError(
                f"the model takes {self._in_bytes} bytes; a crop has {pixels} pixels: convert it for batch 1"
            )
        dims = self._got(library.mdl.get_input_dims(self._about, 0), "acl.mdl.get_input_dims")["dims"]
        half = "float16" if self._in_bytes == 2 * pixels else "float32"
        self._takes(dims, is_uint8=self._in_bytes == pixels, dtype=half)
        self.device = str(library.get_soc_name()) if hasattr(library, "get_soc_name") else "Ascend"

    def prepare(self, crop: Any) -> None:
        """Copy the crop to the device."""
        content = crop.tobytes()
        util = self._acl.util
        # bytes_to_ptr took the place of numpy_to_ptr in CANN 6
        at = util.bytes_to_ptr(content) if hasattr(util, "bytes_to_ptr") else util.numpy_to_ptr(crop)
        done = self._acl.rt.memcpy(self._in_at, self._in_bytes, at, len(content), self._TO_DEVICE)
        self._done(done, "acl.rt.memcpy to the device")

    def compute(self) -> None:
        """Execute; the call returns when the device has ended."""
        self._done(self._acl.mdl.execute(self._model, self._in_set, self._out_set), "acl.mdl.execute")

    def output(self) -> Any:
        """Copy the output from the device."""
        done = self._acl.rt.memcpy(self._host, self._out_bytes, self._out_at, self._out_bytes, self._TO_HOST)
        self._done(done, "acl.rt.memcpy to the host")
        return np.frombuffer(self._acl.util.ptr_to_bytes(self._host, self._out_bytes), self._out_dtype)

    def close(self) -> None:
        """Unload the model and release the device."""
        acl = self._acl
        for data, at in ((self._in_set, self._in_at), (self._out_set, self._out_at)):
            acl.destroy_data_buffer(acl.mdl.get_dataset_buffer(data, 0))
            acl.mdl.destroy_dataset(data)
            acl.rt.free(at)
        acl.rt.free_host(self._host)
        acl.mdl.unload(self._model)
        acl.mdl.destroy_desc(self._about)
        acl.rt.reset_device(self._id)
        acl.finalize()

    def _data_set(self, size: int) -> Tuple[Any, Any]:
        at = self._got(self._acl.rt.malloc(size, self._HUGE_FIRST), "acl.rt.malloc")
        made = self._acl.mdl.create_dataset()
        _, code = self._acl.mdl.add_dataset_buffer(made, self._acl.create_data_buffer(at, size))
        self._done(code, "acl.mdl.add_dataset_buffer")
        return at, made

    def _got(self, answer: Tuple[Any, int], call: str) -> Any:
        self._done(answer[1], call)
        return answer[0]

    @staticmethod
    def _done(code: int, call: str) -> None:
        if code != 0:
            raise StopError(f"{call} failed with code {code}; the code is explained in CANN's list of errors")


class AisBench(Runtime):
    """Source: Ascend tools, ais_bench, API guide: ais_bench.infer.interface.InferSession."""

    name, module = "ais_bench", "ais_bench.infer.interface"
    suffixes = (".om",)
    install = "install CANN, aclruntime and ais_bench; targets/ascend/convert.sh makes the model"

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model."""
        self._session = library.InferSession(setup.device_id, str(setup.model))
        self.device = f"Ascend, device {setup.device_id}"
        shape = list(self._session.get_inputs()[0].shape)
        self._takes(shape, is_uint8=len(shape) == 4 and shape[-1] == 3)  # as AIPP takes it

    def prepare(self, crop: Any) -> None:
        """Keep the crop for the call."""
        self._crop = crop

    def compute(self) -> None:
        """Infer; copies to the device and back are included."""
        self._found = self._session.infer([self._crop], mode="static")

    def output(self) -> Any:
        """The first output."""
        return self._found[0]

    def close(self) -> None:
        """Release the device; the method's name differs between versions."""
        for name in ("free_resource", "free_device"):
            if hasattr(self._session, name):
                getattr(self._session, name)()
                return


class RknnLite(Runtime):
    """Source: Rockchip, RKNN Toolkit Lite2 user guide: load_rknn, init_runtime, inference, release."""

    name, module = "rknnlite", "rknnlite.api"
    suffixes = (".rknn",)
    layout = "uint8"
    device = "Rockchip NPU"
    install = "pip install rknn-toolkit-lite2; targets/rknn/convert.py makes the model, which normalizes by itself"

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model."""
        self._rknn = library.RKNNLite()
        for call, code in (
            ("load_rknn", lambda: self._rknn.load_rknn(str(setup.model))),
            ("init_runtime", self._rknn.init_runtime),
        ):
            if code() != 0:
                raise StopError(
                    f"{call} failed: is the model made for this chip, and is its driver as new as the toolkit?"
                )

    def prepare(self, crop: Any) -> None:
        """Keep the crop for the call."""
        self._crop = crop

    def compute(self) -> None:
        """Infer; copies are included."""
        self._found = self._rknn.inference(inputs=[self._crop], data_format=["nhwc"])

    def output(self) -> Any:
        """The first output."""
        return self._found[0]

    def close(self) -> None:
        """Release the NPU."""
        self._rknn.release()


class TensorRt(Runtime):
    """Source: TensorRT, Python API: Runtime, ICudaEngine, IExecutionContext; CUDA Runtime API: cudaMemcpy."""

    name = module = "tensorrt"
    suffixes = (".engine", ".plan")
    includes = "compute"
    device = "NVIDIA GPU"
    install = (
        "part of JetPack, or pip install tensorrt; version 8.5 (JetPack 5) needs numpy below 1.24; "
        "targets/tensorrt/run.sh makes the engine"
    )
    _TO_DEVICE, _TO_HOST = 1, 2

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the engine, and allocate its input and output on the GPU."""
        self._cuda = _cuda_library()
        self._done(self._cuda.cudaSetDevice(setup.device_id), "cudaSetDevice")
        self._logger = library.Logger(library.Logger.WARNING)
        with setup.model.open("rb") as stream:
            self._engine = library.Runtime(self._logger).deserialize_cuda_engine(stream.read())
        if self._engine is None:
            raise StopError("TensorRT cannot load the engine: make it on this board, with this version of TensorRT")
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == library.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if (len(inputs), len(outputs)) != (1, 1):
            raise StopError(f"expected an engine of one input and one output, got {inputs} and {outputs}")
        shape = [size if size > 0 else 1 for size in self._engine.get_tensor_shape(inputs[0])]
        if not self._context.set_input_shape(inputs[0], tuple(shape)):
            raise StopError(f"the engine does not take a batch of one crop: {shape}")
        dtype = np.dtype(library.nptype(self._engine.get_tensor_dtype(inputs[0])))
        self._takes(shape, is_uint8=dtype == np.uint8, dtype=dtype.name)
        out_dtype = np.dtype(library.nptype(self._engine.get_tensor_dtype(outputs[0])))
        self._found = np.empty(tuple(self._context.get_tensor_shape(outputs[0])), out_dtype)
        self._in_at = self._allocate(int(np.prod(shape)) * dtype.itemsize)
        self._out_at = self._allocate(self._found.nbytes)
        self._context.set_tensor_address(inputs[0], self._in_at.value)
        self._context.set_tensor_address(outputs[0], self._out_at.value)
        self._stream = ctypes.c_void_p()
        self._done(self._cuda.cudaStreamCreate(ctypes.byref(self._stream)), "cudaStreamCreate")

    def prepare(self, crop: Any) -> None:
        """Copy the crop to the GPU."""
        self._copy(self._in_at, crop.ctypes.data_as(ctypes.c_void_p), crop.nbytes, self._TO_DEVICE)

    def compute(self) -> None:
        """Execute, and wait for the end."""
        if not self._context.execute_async_v3(self._stream.value):
            raise StopError("TensorRT failed during execution")
        self._done(self._cuda.cudaStreamSynchronize(self._stream), "cudaStreamSynchronize")

    def output(self) -> Any:
        """Copy the output from the GPU."""
        self._copy(self._found.ctypes.data_as(ctypes.c_void_p), self._out_at, self._found.nbytes, self._TO_HOST)
        return self._found

    def close(self) -> None:
        """Free the memory on the GPU."""
        self._cuda.cudaFree(self._in_at)
        self._cuda.cudaFree(self._out_at)
        self._cuda.cudaStreamDestroy(self._stream)

    def _allocate(self, size: int) -> ctypes.c_void_p:
        at = ctypes.c_void_p()
        self._done(self._cuda.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(size)), "cudaMalloc")
        return at

    def _copy(self, target: ctypes.c_void_p, source: ctypes.c_void_p, size: int, kind: int) -> None:
        self._done(self._cuda.cudaMemcpy(target, source, ctypes.c_size_t(size), ctypes.c_int(kind)), "cudaMemcpy")

    @staticmethod
    def _done(code: int, call: str) -> None:
        if code != 0:
            raise StopError(f"{call} failed with CUDA's code {code}")


class Hailo(Runtime):
    """Source: HailoRT, Python API, InferModel: create_infer_model, configure, create_bindings, run."""

    name = module = "hailo_platform"
    suffixes = (".hef",)
    precision = "int8"
    layout = "uint8"
    device = "Hailo"
    install = "apt install hailo-all on a Raspberry Pi; targets/hailo/convert.sh makes the model, which normalizes"
    _TIMEOUT_MS = 10000

    def __init__(self, library: Any, setup: Setup) -> None:
        """Configure the model for crops of uint8 and outputs of float32."""
        self._open = ExitStack()
        chip = self._open.enter_context(library.VDevice())
        model = chip.create_infer_model(str(setup.model))
        model.input().set_format_type(library.FormatType.UINT8)
        model.output().set_format_type(library.FormatType.FLOAT32)
        self._model = self._open.enter_context(model.configure())
        self._bindings = self._model.create_bindings()
        self._found = np.empty(model.output().shape, np.float32)
        self._bindings.output().set_buffer(self._found)

    def prepare(self, crop: Any) -> None:
        """Bind the crop, without its first axis."""
        self._bindings.input().set_buffer(np.ascontiguousarray(crop[0]))

    def compute(self) -> None:
        """Run; copies are included."""
        self._model.run([self._bindings], self._TIMEOUT_MS)

    def output(self) -> Any:
        """The buffer of the output."""
        return self._bindings.output().get_buffer()

    def close(self) -> None:
        """Release the chip."""
        self._open.close()


def _cuda_library() -> Any:
    names = ["libcudart.so", *(f"libcudart.so.{version}" for version in (13, 12, "11.0"))]
    for name in (*names, "/usr/local/cuda/lib64/libcudart.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise StopError("CUDA's libcudart was not found: add its folder to LD_LIBRARY_PATH, such as /usr/local/cuda/lib64")


RUNTIMES: Tuple[Type[Runtime], ...] = (
    Acl,
    AisBench,
    MindSporeLite,
    RknnLite,
    TensorRt,
    Hailo,
    OnnxRuntime,
    MindSpore,
)
"""In the order in which they are looked for: those of accelerators before those of CPUs."""
