"""Opens onnxruntime sessions on the requested execution provider, and reports what they run on.

If a provider is missing or takes no node, onnxruntime itself only warns and runs on the CPU. Here, a named provider
runs the whole model or raises :class:`ProviderError`; ``auto`` requests the best provider available.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface.cpu import MAX_THREADS, usable_cpus
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.extras import install_command
from edge_sphereface.inference.resident_memory import release_loading_memory
from edge_sphereface.inference.shape_sessions import ShapeSessions
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.inference.weight_memory import place_matrices
from edge_sphereface.json_output import OMIT_NONE
from edge_sphereface.model.external_data import refuse_external_data
from edge_sphereface.model.ncnn_file import refuse_misnamed
from edge_sphereface.model.ncnn_network import HALF_PRECISIONS
from edge_sphereface.storage.cache import cache_file
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MODEL_FILE = RegularFile(
    what="model file",
    limit=(1 << 31) - 1,  # protobuf's limit
    error=ModelFormatError,
    missing=ModelNotFoundError,
    hint="check the path; take a published model, or make one",
    remedy="get-model",
)
_CHECKPOINTS = (".ckpt", ".safetensors")
AUTO = "auto"
CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
AUTO_ORDER = (CUDA, "CANNExecutionProvider", OPENVINO, CPU)
"""Providers that ``auto`` tries, in order. TensorRT must be requested by name, because it builds an engine for
minutes."""

_PARTS = {CUDA: (64, 16, 4, 1), TENSORRT: (1,)}
"""Sizes of the parts into which a batch is divided on providers that plan their work for one shape. TensorRT gets one
engine, because building it takes minutes."""
_EXTRAS = {"openvino": "openvino", "cuda": "gpu", "tensorrt": "gpu", "cann": "cann"}
"""Extra whose onnxruntime has a provider, by its short name."""
_SUFFIX = "ExecutionProvider"
_FALLBACK_DISABLED = "fallback to CPU EP has been explicitly disabled"
_LIMITS_SPINNING = (1, 27)
"""First version of onnxruntime whose threads can spin for a given time."""
_WORTH_RELEASING = 4 << 20
"""Bytes of a model file from which the memory that loading alone needs is released. It takes some milliseconds."""
_LOG_FATAL = 4  # errors are raised; other levels would print them as well


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """Options of an onnxruntime session. The defaults were measured on small boards, see ``docs/session-defaults.md``.

    Attributes:
        provider: ``auto``, or the full (``CUDAExecutionProvider``) or short name (``cuda``) of an execution provider.
        threads: threads of one inference; None for as many as this process may use.
        memory_arena: keep freed memory for the next inference.
        memory_pattern: in an arena, plan the memory of an inference as one block for each shape of the inputs. Where
            shapes vary, blocks of several sizes make the arena grow.
        spinning: let waiting threads spin, which uses processor time to reduce latency.
        spin_us: microseconds that a waiting thread spins before it sleeps, during an inference only. It suits networks
            of many short operators. Before 1.27, onnxruntime has no such limit, and the thread sleeps at once.
        pinned_threads: bind each helper thread to a processor of its own, and let it spin during an inference only. Use
            it for one model per machine: the threads of two sessions would be bound to the same processors.
        allow_cpu_fallback: let a named provider leave nodes to the CPU. It must still take at least one node.
        provider_options: options passed to the provider. TensorRT stores its engines in the cache unless these options
            name another place, because it takes minutes to build an engine.
    """

    provider: str = AUTO
    threads: int | None = None
    memory_arena: bool = False
    memory_pattern: bool = True
    spinning: bool = False
    spin_us: int = 0
    pinned_threads: bool = False
    allow_cpu_fallback: bool = False
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise ValueError(f"Expected 1 to {MAX_THREADS} threads, got {self.threads}.")
        if self.spin_us < 0:
            raise ValueError(f"Expected no or some microseconds of spinning, got {self.spin_us}.")

    def for_detector(self, provider: str | None) -> SessionConfig:
        """The same options for a detector beside the model.

        Args:
            provider: execution provider of the detector; None for that of these options, and for CUDA instead of
                TensorRT, which would build an engine for each size of image, for minutes. Another provider takes none
                of ``provider_options``.
        """
        named = provider or ("cuda" if short_name(self.provider) == short_name(TENSORRT) else self.provider)
        if short_name(named) == short_name(self.provider):
            return self
        return replace(self, provider=named, provider_options={})


def session_config(session: SessionConfig | None, *, provider: str | None, threads: int | None) -> SessionConfig:
    """Merge session options with a provider and a number of threads that were given separately.

    Args:
        session: session options; None for the defaults.
        provider: execution provider; None for the one in ``session``.
        threads: threads of one inference; None for the number in ``session``.

    Raises:
        ValueError: an option has different values in both places.
    """
    config = session or SessionConfig()
    if provider is not None:
        if short_name(config.provider) not in (AUTO, short_name(provider)):
            raise _contradiction("provider", provider, config.provider)
        config = replace(config, provider=provider)
    if threads is not None:
        if config.threads not in (None, threads):
            raise _contradiction("threads", threads, config.threads)
        config = replace(config, threads=threads)
    return config


def _contradiction(name: str, given: object, in_session: object) -> ValueError:
    return ValueError(
        f"Expected one {name}, got {name}={given!r} and SessionConfig({name}={in_session!r}): give it in one place."
    )


def short_name(provider: str) -> str:
    """Short name of an execution provider, such as ``cuda``."""
    return provider.lower().removesuffix(_SUFFIX.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """An ONNX model in memory.

    Attributes:
        name: name of the model in error messages.
        content: the content of an ONNX file that holds all its weights.
    """

    name: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReport:
    """What a model runs on, as onnxruntime or ncnn reports it after loading.

    Attributes:
        requested: execution provider that was requested.
        active: execution providers of the session, in order of preference; ``ncnn`` for a model that ncnn runs.
        nodes: number of nodes per provider after graph optimization; None if onnxruntime cannot tell (before 1.24).
        threads: threads of one inference.
        onnxruntime: version of onnxruntime; None if ncnn runs the model.
        ncnn: version of ncnn; None, and left out in JSON, if onnxruntime runs the model.
        arithmetic: ``float32`` or ``float16``, in which ncnn computes; None, and left out in JSON, for onnxruntime.
    """

    requested: str
    active: tuple[str, ...]
    nodes: Mapping[str, int] | None
    threads: int
    onnxruntime: str | None
    ncnn: str | None = field(default=None, metadata=OMIT_NONE)
    arithmetic: str | None = field(default=None, metadata=OMIT_NONE)

    def lacks_half_precision(self, precision: str) -> bool:
        """Whether ncnn computes a model of this precision in float32, for want of float16 arithmetic."""
        return precision in HALF_PRECISIONS and self.arithmetic == "float32"

    @property
    def plans_for_shapes(self) -> bool:
        """Whether an input of a new shape takes many times as long as one of a shape that came before."""
        return self.active[0] in _PARTS

    @property
    def library(self) -> tuple[str, str]:
        """Name and version of the library that runs the model."""
        return ("onnxruntime", self.onnxruntime or "") if self.ncnn is None else ("ncnn", self.ncnn)

    def __str__(self) -> str:
        if self.nodes is None:
            ran = f"{', '.join(self.active)} (this onnxruntime does not tell nodes per provider)"
        else:
            ran = ", ".join(f"{name} {count} nodes" for name, count in self.nodes.items())
        arithmetic = "" if self.arithmetic is None else f" in {self.arithmetic}"
        return f"{ran}{arithmetic}; {self.threads} threads; {' '.join(self.library)}"


def open_session(source: str | os.PathLike[str] | MemoryModel, config: SessionConfig) -> tuple[Any, ProviderReport]:
    """Load an ONNX model.

    Args:
        source: path of an ONNX file, or a model in memory.
        config: options of the session.

    Returns:
        The ``onnxruntime.InferenceSession`` and a report of what it runs on.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: onnxruntime cannot load the file, its weights are in other files, or it is for ncnn.
        ProviderError: onnxruntime is not installed, or the requested provider is absent, fails, or takes no node.
    """
    if isinstance(source, MemoryModel):
        return _open_best(source, config)
    model = Path(source)
    MODEL_FILE.require(model)
    refuse_misnamed(model)
    _refuse_checkpoint(model)
    refuse_external_data(model)
    return _open_best(model, config)


def is_auto(config: SessionConfig) -> bool:
    """Whether the best provider is asked for, instead of a named one."""
    return config.provider.lower() == AUTO


def _open_best(model: Path | MemoryModel, config: SessionConfig) -> tuple[Any, ProviderReport]:
    """Open a session on the named provider, or on the best one for ``auto``."""
    ort = import_onnxruntime()
    available = ort.get_available_providers()
    if not is_auto(config):
        return _open(ort, model, _resolve(config.provider, available, ort.get_all_providers()), config)
    candidates = [name for name in AUTO_ORDER if name in available]
    relaxed = replace(config, allow_cpu_fallback=True)  # `auto` does not require one provider to take all nodes
    for name in candidates[:-1]:
        try:
            return _open(ort, model, name, relaxed)
        except ProviderError:
            continue  # its libraries or device are missing: try the next one; the report names it
    return _open(ort, model, candidates[-1], config)


def _refuse_checkpoint(path: Path) -> None:
    """Refuse a file whose suffix is that of a checkpoint."""
    if path.suffix.lower() in _CHECKPOINTS:
        raise ModelFormatError(
            f"Expected an ONNX model, got a checkpoint: {path}.",
            hint="convert it to ONNX on a workstation, by the export stage of this project",
            remedy="convert-model",
            file=str(path),
        )


def _resolve(provider: str, available: list[str], known: list[str]) -> str:
    for name in available:
        if short_name(provider) == short_name(name):
            return name
    short = ", ".join(map(short_name, available))
    if not any(short_name(provider) == short_name(name) for name in known):
        raise ProviderError(
            f"There is no execution provider {provider!r}; this onnxruntime offers: {short}.",
            hint=f"check the spelling; onnxruntime knows: {', '.join(map(short_name, known))}",
        )
    raise ProviderError(
        f"The execution provider {provider!r} is not in this onnxruntime, which offers: {short}.",
        hint=f"{_wheel_hint(provider)}, or use provider 'auto'",
    )


def _wheel_hint(provider: str) -> str:
    extra = _EXTRAS.get(short_name(provider))
    if extra is None:
        return "install the onnxruntime wheel that has it"
    return f"in an environment without another onnxruntime, run {install_command(extra)}"


def _options_hint(config: SessionConfig) -> str:
    names = ", ".join(config.provider_options)
    return f"; check the provider options {names}: a wrong one has this effect" if names else ""


def _open(ort: Any, model: Path | MemoryModel, provider: str, config: SessionConfig) -> tuple[Any, ProviderReport]:
    threads = config.threads or usable_cpus()
    strict = provider != CPU and not config.allow_cpu_fallback
    options = _session_options(ort, config, threads, strict=strict)
    providers = [(provider, provider_options(provider, config))]
    if provider != CPU and config.allow_cpu_fallback:
        providers.append((CPU, {}))
    given = str(providers[0][1].get("num_of_threads", "")) if provider == OPENVINO else ""
    placed = place_matrices(ort, model, options) if provider == CPU and isinstance(model, Path) else []
    content = str(model.absolute()) if isinstance(model, Path) else model.content
    state = ort.capi.onnxruntime_pybind11_state
    model = model.absolute() if isinstance(model, Path) else model
    opened = _identity(model)

    def make() -> Any:
        if _identity(model) != opened:
            raise ProviderError(
                f"{model} was replaced or removed while it was in use, and another shape needs it again.",
                hint="start the process again",
            )
        # onnxruntime would print an error on stdout and try again on providers that nobody asked for
        return ort.InferenceSession(content, options, providers=providers, enable_fallback=0)

    try:
        session = make()
    except (state.InvalidProtobuf, state.InvalidGraph, state.NoModel, state.NoSuchFile) as error:
        raise ModelFormatError(
            f"onnxruntime cannot read {model}: {error}",
            hint="the file is damaged or no ONNX model; convert the checkpoint again",
            remedy="convert-model",
        ) from error
    except Exception as error:
        # onnxruntime's exceptions share no base class of their own.
        if _FALLBACK_DISABLED in str(error):
            raise ProviderError(
                f"{provider} does not take every node of {model.name}; the rest would run on the CPU.",
                hint=f"use provider 'auto' or 'cpu', or allow the fallback to the CPU{_options_hint(config)}",
                remedy="allow-cpu-fallback",
            ) from error
        if provider == CPU:
            raise ModelFormatError(f"onnxruntime cannot load {model}: {error}", hint="convert it again") from error
        raise ProviderError(
            f"{provider} cannot load {model.name}: {error}", hint=f"use provider 'auto'{_options_hint(config)}"
        ) from error
    session.placed_matrices = placed  # the matrices must live as long as the session
    if isinstance(model, Path) and model.stat().st_size >= _WORTH_RELEASING:
        release_loading_memory("onnxruntime")
    report = ProviderReport(
        requested=config.provider,
        active=tuple(session.get_providers()),
        nodes=_nodes_per_provider(session),
        threads=int(given) or 1 if given.isdecimal() else threads,
        onnxruntime=ort.__version__,
    )
    _check_report(report, provider, model)
    sizes = _PARTS.get(provider)
    return session if sizes is None else ShapeSessions(session, make, sizes), report


def _identity(model: Path | MemoryModel) -> tuple[int, ...]:
    """What tells a file from one that takes its place."""
    if isinstance(model, MemoryModel):
        return ()
    try:
        status = model.stat()
    except OSError:
        return (-1,)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def provider_options(provider: str, config: SessionConfig) -> dict[str, str]:
    """Provider options as given, with those that its own defaults get wrong.

    For OpenVINO, the number of threads, which it does not take from the session; for CUDA, float32 products in full;
    for TensorRT, the folder where it caches engines.

    On GPUs from Ampere on, onnxruntime computes products of float32 in TensorFloat-32, with 10 bits of mantissa, unless
    it is told not to.

    Source: onnxruntime's pages on the OpenVINO, the CUDA and the TensorRT execution provider.
    """
    options = dict(config.provider_options)
    if provider == OPENVINO:
        options.setdefault("num_of_threads", str(config.threads or usable_cpus()))
    if provider == CUDA:
        options.setdefault("use_tf32", "0")
    if provider == TENSORRT and not any(name.startswith("trt_engine_cache") for name in options):
        folder = str(cache_file("tensorrt", "engine").parent)
        options |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": folder}
        options |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": folder}
    return options


def _session_options(ort: Any, config: SessionConfig, threads: int, *, strict: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = config.memory_arena
    options.enable_mem_pattern = config.memory_pattern
    pinned = config.pinned_threads and threads > 1
    briefly = config.spin_us > 0 and not (config.spinning or pinned) and _limits_spinning(ort)
    spins = config.spinning or pinned or briefly
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if briefly:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(config.spin_us))
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if pinned:
        helpers = helper_processors(threads, _usable_processors())
        options.add_session_config_entry("session.intra_op_thread_affinities", helpers)
        if not config.spinning:
            options.add_session_config_entry("session.force_spinning_stop", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _limits_spinning(ort: Any) -> bool:
    major, minor, *_ = ort.__version__.split(".")
    return (int(major), int(minor)) >= _LIMITS_SPINNING


def helper_processors(threads: int, usable: Collection[int]) -> str:
    """Processors for the helper threads: the last ones, which are the big cores on processors with two kinds of cores.

    Args:
        threads: threads of one inference, at least two.
        usable: processors that this process may use; empty if unknown.

    Returns:
        Their numbers as onnxruntime takes them, which counts processors from 1.

    Raises:
        ProviderError: there are fewer processors than threads.
    """
    if len(usable) < threads:
        raise ProviderError(
            f"Expected a processor for each of {threads} threads to bind them, and this process may use "
            f"{len(usable) or 'an unknown number of'} processors.",
            hint="ask for fewer threads, or do not pin them",
            remedy="reduce-threads",
        )
    return ";".join(str(processor + 1) for processor in sorted(usable)[-(threads - 1) :])


def _usable_processors() -> Collection[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()


def _nodes_per_provider(session: Any) -> dict[str, int] | None:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def _check_report(report: ProviderReport, provider: str, model: Path | MemoryModel) -> None:
    if provider not in report.active or (report.nodes is not None and not report.nodes.get(provider)):
        raise ProviderError(
            f"{provider} took no node of {model.name}; onnxruntime would run it on {', '.join(report.active)}.",
            hint="its driver or libraries may be missing; provider 'auto' or 'cpu' runs on the available hardware",
        )
