#!/usr/bin/env python3
"""Runs the golden crops of this kit on a device, compares the outputs with the expected ones, and times the network.

Needs Python 3.8 or newer, numpy, and one of the runtimes that ``run.py --list`` names; nothing of edge_sphereface. Of
the vendors' runtimes only onnxruntime and MindSpore were run by the project, on CPUs; for the others the calls follow
the pages that are named at each class.
"""

import argparse
import ctypes
import hashlib
import json
import os
import platform
import shlex
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

try:
    import numpy as np
except ImportError:
    print("error: numpy is missing: pip install numpy", file=sys.stderr)
    sys.exit(2)  # 1 would say that outputs are wrong

KIT = Path(__file__).resolve().parent
KIND, RESULT_KIND, VERSION = "edge_sphereface.kit", "edge_sphereface.kit_result", 1
PRECISIONS = ("float32", "float16", "int8")
PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
UNIT = 1e-3
"""Largest difference of a length from 1 in outputs that something normalized."""


class StopError(Exception):
    """Why the program ends, for a person."""


class Setup(NamedTuple):
    """What a runtime is opened with.

    Attributes:
        model: path of the model file.
        crop: (height, width, 3) of a crop.
        target: device or execution provider; empty for the runtime's default.
        device_id: number of the device.
    """

    model: Path
    crop: Tuple[int, ...]
    target: str
    device_id: int


class Runtime:
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

    def __init__(self, library: Any, setup: Setup) -> None:
        """Load the model."""
        raise NotImplementedError

    def prepare(self, crop: Any) -> None:
        """Take one crop."""
        raise NotImplementedError

    def compute(self) -> None:
        """Compute the output of the crop."""
        raise NotImplementedError

    def output(self) -> Any:
        """The output of the crop."""
        raise NotImplementedError

    def close(self) -> None:
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
        self._session = library.InferenceSession(str(setup.model), settings, providers=[asked])
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


class Kit:
    """This kit: its manifest, and the files that it names, each compared with its SHA-256."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest.

        Raises:
            StopError: it is missing, or of another kind.
        """
        self.folder = folder
        try:
            with (folder / "manifest.json").open("rb") as stream:
                content = stream.read()
            self.manifest: Dict[str, Any] = json.loads(content)
            kind = self.manifest["kind"], self.manifest["schema_version"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StopError(f"the kit's manifest.json cannot be read: {error}") from error
        if kind != (KIND, VERSION):
            raise StopError(f"expected a kit {KIND} of version {VERSION}, got {kind}")
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self.crop = _require_manifest(self.manifest)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise StopError(f"the kit's manifest.json lacks what it must hold: {reason}; copy the kit again") from error

    def path(self, name: str) -> Path:
        """Path of a file of the kit, which is as the manifest says."""
        listed = next((file for file in self.manifest["files"] if file["path"] == name), None)
        path = self.folder / name
        if listed is None or not _is_inside(path, self.folder):
            raise StopError(f"the kit's manifest.json names {name}, which is not a file of the kit")
        try:
            found = _sha256(path)
        except OSError as error:
            raise StopError(f"{name} of the kit cannot be read: {error}") from error
        if found != listed["sha256"]:
            raise StopError(f"{name} is damaged: its SHA-256 is not that of the manifest; copy the kit again")
        return path

    def array(self, name: str) -> Any:
        """An array of the kit."""
        return np.load(str(self.path(name)))

    def form(self, name: Optional[str], suffixes: Sequence[str]) -> Dict[str, Any]:
        """The form of a name; without one, what runs as it is, or what converters take."""
        forms: List[Dict[str, Any]] = self.manifest["forms"]
        if name is not None:
            for form in forms:
                if form["name"] == name:
                    return form
            raise StopError(f"expected a form of {', '.join(form['name'] for form in forms)}, got {name}")
        if ".onnx" in suffixes:
            return forms[0]
        return next((form for form in forms if form["batch"] == 1 and form["layout"] == "nchw"), forms[0])

    def inputs(self, runtime: Runtime) -> List[Any]:
        """The golden crops as a runtime takes them, each (1, …)."""
        if runtime.layout == "uint8":
            crops = self.array(self.manifest["crops_uint8"])
        else:
            crops = self.array(self.manifest["crops_float32"]).astype(runtime.dtype)
            if runtime.layout == "nhwc":
                crops = crops.transpose(0, 2, 3, 1)
        return [np.ascontiguousarray(crop[None]) for crop in crops]

    def expected(self, form: Dict[str, Any], precision: str) -> Tuple[Any, Dict[str, float]]:
        """Expected outputs, and the bounds of the difference from them."""
        if precision == form["precision"]:
            return self.array(form["outputs"]), form["bounds"]
        return self.array(self.manifest["outputs"]), self.manifest["bounds"][precision]


def _require_manifest(manifest: Dict[str, Any]) -> Tuple[int, int, int]:
    """The shape of a crop.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: something that this program reads is missing, or of another
            kind.
    """
    texts = [manifest[name] for name in ("crops_uint8", "crops_float32", "outputs")]
    bounds = [manifest["bounds"][precision] for precision in PRECISIONS]
    for form in manifest["forms"]:
        texts += [form[name] for name in ("name", "file", "layout", "outputs")]
        bounds.append(form["bounds"])
        if form["precision"] not in PRECISIONS:
            raise ValueError(f"a form has the precision {form['precision']!r}")
        if not isinstance(form["batch"], (int, type(None))):
            raise TypeError("the batch of a form is not a number")
    for file in manifest["files"]:
        texts += [file["path"], file["sha256"]]
    if not manifest["forms"]:
        raise ValueError("there is no form")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name of a form or file is not a text")
    for bound in bounds:
        if not all(isinstance(bound[name], (int, float)) for name in ("min_cosine", "max_abs_error")):
            raise TypeError("a bound is not a number")
    height, width = manifest["spec"]["input_height"], manifest["spec"]["input_width"]
    if not (isinstance(height, int) and isinstance(width, int)):
        raise TypeError("the size of a crop is not a number")
    return height, width, 3


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, also where links are followed."""
    return folder.resolve() in path.resolve().parents


def main(words: Optional[Sequence[str]] = None) -> int:
    """Run, compare, and write the result; returns the exit code."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.list:
            print(_runtimes_text())
            return PASSED
        kit = Kit(arguments.kit)
        if arguments.outputs is not None:
            return _compare_file(kit, arguments)
        return _run(kit, arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except (StopError, OSError) as reason:
        print(f"error: {_printable(str(reason))}", file=sys.stderr)
    except Exception as error:  # noqa: BLE001 -- Python's exit code 1 would say that outputs are wrong
        print(f"error: {_printable(_one_line(error))}", file=sys.stderr)
    return USAGE


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def _printable(text: str) -> str:
    """A text that may hold words of the manifest, without control characters."""
    return "".join(sign if sign == "\n" or sign.isprintable() else repr(sign)[1:-1] for sign in text)


def _count(word: str) -> int:
    number = int(word)
    if number < 0:
        raise ValueError(word)
    return number


_count.__name__ = "number from 0 on"  # argparse names it in its message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Run the golden crops of this kit on this device, compare the outputs, and time the network. The "
        "exit code is 0 if the outputs are right, 1 if they are wrong, 2 if nothing could be run, 130 after Ctrl-C.",
        epilog="example: python3 run.py; python3 run.py --runtime acl --model out/tensor-force_fp16.om",
    )
    names = [runtime.name for runtime in RUNTIMES]
    parser.add_argument("--list", action="store_true", help="list the runtimes, and what is missing for each")
    parser.add_argument("--kit", type=Path, default=KIT, help="folder of the kit (default: that of this program)")
    parser.add_argument("--runtime", choices=names, help="default: the first one here that has a model")
    parser.add_argument("--model", type=Path, help="converted model (default: the only one of its kind in out/)")
    parser.add_argument("--form", help="form of the kit that runs or was converted (default: the plain float form)")
    parser.add_argument("--precision", choices=PRECISIONS, help="in which the device computes, for the bounds")
    parser.add_argument("--target", default="", help="device or execution provider, such as CUDAExecutionProvider, cpu")
    parser.add_argument("--device-id", type=_count, default=0, help="number of the device (default 0)")
    parser.add_argument("--rounds", type=_count, default=100, help="timed calls, 0 for none (default 100)")
    parser.add_argument("--warm-up", type=_count, default=10, help="calls before those (default 10)")
    parser.add_argument("--outputs", type=Path, help="compare this .npy file instead: (N, D), one row for each crop")
    parser.add_argument("-o", "--output", type=Path, help="folder of outputs.npy and result.json (default out/RUNTIME)")
    return parser


def _run(kit: Kit, arguments: argparse.Namespace) -> int:
    kind = _choose(kit, arguments)
    folder = arguments.output or arguments.kit / "out" / kind.name
    _check_output(kit, folder)
    form = kit.form(arguments.form, kind.suffixes)
    model = _model(kit, kind, form, arguments.model)
    named = next((precision for precision in PRECISIONS if precision in model.stem), None)  # as targets/ name them
    usual = form["precision"] if kind.precision == "float32" else named or kind.precision
    precision = arguments.precision or usual
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # onnxruntime 1.29 and later send usage data
    try:
        library = import_module(kind.module)
    except (ImportError, OSError) as error:
        raise StopError(f"{kind.name} is installed, and cannot be imported: {error}") from error
    started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    print(f"{kind.name} {_version(kind, library)}, {model.name}")
    setup = Setup(model, kit.crop, arguments.target, arguments.device_id)
    device, outputs, samples = _measure(kit, kind, library, setup, (arguments.rounds, arguments.warm_up))
    latency = _latency(samples) if samples else None
    _make_folder(folder)
    _write(folder / "outputs.npy", lambda stream: np.save(stream, outputs))
    result = {
        "kind": RESULT_KIND,
        "schema_version": VERSION,
        "manifest_sha256": kit.sha256,
        "form": form["name"],
        "runtime": kind.name,
        "runtime_version": _version(kind, library),
        "device": device[:200],
        "precision": precision,
        "batch": 1,
        "rounds": len(samples),
        "latency_ms": latency,
        "includes": kind.includes,
        "outputs": "outputs.npy",
        "outputs_sha256": _sha256(folder / "outputs.npy"),
        "machine": _machine(),
        "started_at": started,
    }
    content = f"{json.dumps(result, indent=1)}\n".encode()
    _write(folder / "result.json", lambda stream: stream.write(content))
    if latency is not None:
        print(
            f"{latency['median']:.3f} ms median, {latency['p95']:.3f} ms at the 95th percentile, of {len(samples)} "
            f"calls with one crop; the time includes: {kind.includes}"
        )
    said = "" if arguments.precision else " (assumed; --precision says another)"
    print(f"on {device}, compared as {precision}{said}")
    passed = _compare(kit, outputs, form, precision)
    print(f"written: {folder / 'outputs.npy'}, {folder / 'result.json'}")
    _tell_full_check(arguments.kit, folder / "result.json")
    return PASSED if passed else FAILED


def _measure(
    kit: Kit, kind: Type[Runtime], library: Any, setup: Setup, calls: Tuple[int, int]
) -> Tuple[str, Any, List[float]]:
    """The device, the outputs of all crops, and the times of ``calls``: timed ones, and calls before those."""
    try:
        runtime = kind(library, setup)
        try:
            crops = kit.inputs(runtime)
            outputs = np.stack([_output(runtime, crop) for crop in crops])
            return runtime.device, outputs, _time(runtime, crops[0], *calls)
        finally:
            runtime.close()
    except StopError:
        raise
    except Exception as error:  # the errors of vendors share no class
        raise StopError(f"{kind.name} failed: {_one_line(error)}") from error


def _compare_file(kit: Kit, arguments: argparse.Namespace) -> int:
    form = kit.form(arguments.form, (".onnx",))
    precision = arguments.precision or form["precision"]
    try:
        outputs = np.load(str(arguments.outputs))
    except (OSError, ValueError) as error:
        raise StopError(f"{arguments.outputs} cannot be read as an array of numpy: {error}") from error
    if getattr(outputs, "dtype", np.dtype(object)).kind != "f":
        raise StopError(f"expected floating-point numbers in {arguments.outputs}")
    passed = _compare(
        kit, outputs.reshape(len(outputs), -1) if outputs.size and outputs.ndim else outputs, form, precision
    )
    _tell_full_check(arguments.kit, arguments.outputs, "--form", form["name"], "--precision", precision)
    return PASSED if passed else FAILED


def _tell_full_check(*words: Any) -> None:
    quoted = " ".join(shlex.quote(str(word)) for word in words)
    print(f"full check, where edge_sphereface is installed: edge-sphereface check-outputs {_printable(quoted)}")


def _choose(kit: Kit, arguments: argparse.Namespace) -> Type[Runtime]:
    """The runtime that was named, or the first one here that has a model."""
    if arguments.runtime is not None:
        kind = next(kind for kind in RUNTIMES if kind.name == arguments.runtime)
        if not _is_installed(kind):
            raise StopError(f"{kind.name} is not installed in this Python: {kind.install}")
        return kind
    here = [kind for kind in RUNTIMES if _is_installed(kind)]
    if not here:
        listed = _runtimes_text()
        raise StopError(
            f"no runtime was found in this Python.\n{listed}\nTo compare outputs of another tool: --outputs"
        )
    for kind in here:
        if arguments.model is not None:
            if arguments.model.suffix in kind.suffixes:
                return kind
        elif kind is OnnxRuntime and kind is not here[0]:  # the CPU's result is not taken for an accelerator's
            break
        elif kind is OnnxRuntime or _converted(kit, kind):
            return kind
    needed = "; ".join(
        f"{kind.name} takes {' or '.join(kind.suffixes)}: {kind.install}"
        for kind in here
        if arguments.model is not None or kind is not OnnxRuntime
    )
    on_cpu = "; --runtime onnxruntime computes on the CPU" if OnnxRuntime in here and arguments.model is None else ""
    raise StopError(f"no model for the runtimes that are here. {needed}. Name it with --model{on_cpu}")


def _model(kit: Kit, kind: Type[Runtime], form: Dict[str, Any], named: Optional[Path]) -> Path:
    if named is not None:
        if named.suffix not in kind.suffixes:
            raise StopError(f"{kind.name} takes {' or '.join(kind.suffixes)}, not {named.name}")
        if not named.is_file():
            raise StopError(f"there is no file {named}")
        return named
    if kind is OnnxRuntime:
        return kit.path(form["file"])
    found = _converted(kit, kind)
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise StopError(f"expected one model {' or '.join(kind.suffixes)} in out/, got {listed}: name it with --model")
    return found[0]


def _converted(kit: Kit, kind: Type[Runtime]) -> List[Path]:
    folders = {kit.folder / "out", Path("out").resolve()}
    return sorted(path for folder in folders for path in folder.glob("*") if path.suffix in kind.suffixes)


def _runtimes_text() -> str:
    lines = []
    for kind in RUNTIMES:
        state = "here" if _is_installed(kind) else "missing"
        lines.append(f"{kind.name:<15} {state:<8} takes {', '.join(kind.suffixes)}; {kind.install}")
    return "\n".join(lines)


def _is_installed(kind: Type[Runtime]) -> bool:
    try:
        return find_spec(kind.module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _output(runtime: Runtime, crop: Any) -> Any:
    runtime.prepare(crop)
    runtime.compute()
    return np.array(runtime.output(), dtype=np.float32).reshape(-1)


def _time(runtime: Runtime, crop: Any, rounds: int, warm_up: int) -> List[float]:
    """Milliseconds of each call with one crop."""
    runtime.prepare(crop)
    samples = []
    for number in range(-warm_up if rounds > 0 else 0, rounds):
        start = time.perf_counter_ns()
        runtime.compute()
        elapsed = time.perf_counter_ns() - start
        if number >= 0:
            samples.append(elapsed / 1e6)
    return samples


def _latency(samples: Sequence[float]) -> Dict[str, float]:
    low, median, p95, p99, high = (round(float(value), 6) for value in np.percentile(samples, [0, 50, 95, 99, 100]))
    mean = min(max(round(float(np.mean(samples)), 6), low), high)
    return {"min": low, "mean": mean, "median": median, "p95": p95, "p99": p99, "max": high}


def _compare(kit: Kit, outputs: Any, form: Dict[str, Any], precision: str) -> bool:
    """Say whether outputs are those of the network, as numpy alone can tell."""
    expected, bounds = kit.expected(form, precision)
    if outputs.shape != expected.shape:
        print(f"FAILED: expected outputs of shape {expected.shape}, got {outputs.shape}")
        return False
    got, expected = outputs.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(got, axis=1)
    if not np.isfinite(got).all() or (lengths == 0).any():
        print("FAILED: an output is not finite, or zero")
        return False
    wanted = np.linalg.norm(expected, axis=1)
    cosine = float(((got * expected).sum(axis=1) / (lengths * wanted)).min())
    error = float(np.abs(got - expected).max() / np.abs(expected).max())
    is_unit = bool((np.abs(lengths - 1) < UNIT).all() and not (np.abs(wanted - 1) < UNIT).all())
    passed = cosine >= bounds["min_cosine"] and (is_unit or error <= bounds["max_abs_error"])
    print(
        f"{'PASSED' if passed else 'FAILED'}: cosine at least {cosine:.6f} (bound {bounds['min_cosine']:g}); "
        + (
            "the outputs have length 1, so only directions are compared"
            if is_unit
            else f"error at most {error:.2e} of the largest component (bound {bounds['max_abs_error']:g})"
        )
    )
    if not passed:
        print("the full check names the usual mistakes, such as swapped colors or pixels that are normalized twice")
    return passed


def _version(kind: Type[Runtime], library: Any) -> str:
    found = getattr(library, "__version__", None)
    names = {"ais_bench": "ais_bench", "rknnlite": "rknn-toolkit-lite2", "hailo_platform": "hailort"}
    if found is None:
        try:
            found = metadata.version(names.get(kind.name, kind.name))
        except metadata.PackageNotFoundError:
            return "unknown"
    return str(found)[:200]


def _machine() -> str:
    """Board or processor and system; never the name of the host."""
    board = ""
    for name, key in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        try:
            with open(name, encoding="utf-8", errors="replace") as stream:  # noqa: PTH123 -- a file of the system
                text = stream.read(1 << 16)
        except OSError:
            continue
        lines = [line.partition(":")[2] for line in text.splitlines() if line.startswith(key)] if key else [text]
        board = lines[0].strip("\0\n ") if lines else ""
        if board:
            break
    return f"{board or 'unknown processor'}, {platform.machine()}, {platform.system()} {platform.release()}"[:200]


def _cuda_library() -> Any:
    names = ["libcudart.so", *(f"libcudart.so.{version}" for version in (13, 12, "11.0"))]
    for name in (*names, "/usr/local/cuda/lib64/libcudart.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise StopError("CUDA's libcudart was not found: add its folder to LD_LIBRARY_PATH, such as /usr/local/cuda/lib64")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def _check_output(kit: Kit, folder: Path) -> None:
    """Before anything is computed: files of the kit are not replaced."""
    place = folder.resolve()
    if place == kit.folder.resolve() or (_is_inside(place, kit.folder) and not _is_inside(place, kit.folder / "out")):
        raise StopError(f"{folder} is a part of the kit: name a folder in {kit.folder / 'out'}, or outside of the kit")
    if folder.exists() and not folder.is_dir():
        raise StopError(f"{folder} is not a folder")


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it, that only this user may read: outputs are biometric data."""
    for place in reversed([folder, *folder.parents]):
        if not place.exists():
            place.mkdir(mode=0o700)


def _write(path: Path, fill: Any) -> None:
    """Write a file that appears when it is complete, and that only this user may read."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(str(part), flags, 0o600), "wb") as stream:  # noqa: PTH123 -- of a descriptor
            fill(stream)
        part.replace(path)
    except BaseException:  # also Ctrl-C
        part.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
