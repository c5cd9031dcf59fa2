"""onnxruntime sessions that run where they were asked to run, and say so.

onnxruntime answers a request for a provider that it lacks, or that takes no node, with a warning and runs on the CPU.
Here a named provider does all the work or raises :class:`ProviderError`; ``auto`` is the way to ask for the best
there is.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.inference.weight_memory import place_matrices
from edge_sphereface.model.external_data import refuse_external_data
from edge_sphereface.storage.cache import cache_file
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Mapping

MODEL_FILE = RegularFile(
    what="model file",
    limit=(1 << 31) - 1,  # protobuf's own
    error=ModelFormatError,
    missing=ModelNotFoundError,
    hint="make one by converting a checkpoint",
    remedy="convert-model",
)
_CHECKPOINTS = (".ckpt", ".safetensors")
AUTO = "auto"
CPU = "CPUExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
AUTO_ORDER = ("CUDAExecutionProvider", "CANNExecutionProvider", "OpenVINOExecutionProvider", CPU)
"""What ``auto`` tries. TensorRT is not among them: it builds an engine for minutes, which must be asked for."""

_SUFFIX = "ExecutionProvider"
_FALLBACK_DISABLED = "fallback to CPU EP has been explicitly disabled"
_LOG_FATAL = 4  # errors are raised, and would otherwise be printed as well


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """How a session runs. The defaults were measured for small boards, see ``docs/session-defaults.md``.

    Attributes:
        provider: ``auto``, or an execution provider by its name (``CUDAExecutionProvider``) or short name (``cuda``).
        threads: of one inference; None for as many as this process may use.
        memory_arena: keep freed memory for the next inference.
        spinning: let waiting threads burn processor time to answer sooner.
        pinned_threads: bind every helper thread to a processor of its own, and let it spin while an inference runs but
            not after. For one model on a machine: the threads of two sessions would be bound to the same processors.
        allow_cpu_fallback: let a named provider leave nodes to the CPU (at least one it must take).
        provider_options: handed to the provider as they are. TensorRT keeps its engines in the cache unless they say
            otherwise, since it takes minutes to build one.
    """

    provider: str = AUTO
    threads: int | None = None
    memory_arena: bool = False
    spinning: bool = False
    pinned_threads: bool = False
    allow_cpu_fallback: bool = False
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"Expected at least one thread, got {self.threads}.")


def session_config(session: SessionConfig | None, *, provider: str | None, threads: int | None) -> SessionConfig:
    """A session's options, and the two of them that may be given by themselves.

    Args:
        session: options; None for the defaults.
        provider: None for the session's.
        threads: None for the session's.

    Raises:
        ValueError: one of the two was given in both places, with different values.
    """
    config = session or SessionConfig()
    if provider is not None:
        if _short(config.provider) not in (AUTO, _short(provider)):
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


def _short(provider: str) -> str:
    return provider.lower().removesuffix(_SUFFIX.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReport:
    """What really runs, as onnxruntime tells after loading.

    Attributes:
        requested: what was asked for.
        active: providers of the session, the first preferred.
        nodes: nodes per provider after graph optimization; None where onnxruntime cannot tell (before 1.24).
        threads: of one inference.
        onnxruntime: its version.
    """

    requested: str
    active: tuple[str, ...]
    nodes: Mapping[str, int] | None
    threads: int
    onnxruntime: str

    def __str__(self) -> str:
        if self.nodes is None:
            ran = f"{', '.join(self.active)} (this onnxruntime does not tell nodes per provider)"
        else:
            ran = ", ".join(f"{name} {count} nodes" for name, count in self.nodes.items())
        return f"{ran}; {self.threads} threads; onnxruntime {self.onnxruntime}"


def open_session(path: str | os.PathLike[str], config: SessionConfig) -> tuple[Any, ProviderReport]:
    """Load an ONNX file.

    Returns:
        The ``onnxruntime.InferenceSession`` and what it really runs on.

    Raises:
        ModelNotFoundError: there is no such file.
        ModelFormatError: onnxruntime cannot load it, or it takes weights from other files.
        ProviderError: onnxruntime is not installed, or the provider asked for is absent, fails, or takes no node.
    """
    model = Path(path)
    MODEL_FILE.require(model)
    _refuse_checkpoint(model)
    refuse_external_data(model)
    ort = import_onnxruntime()
    available = ort.get_available_providers()
    if config.provider.lower() != AUTO:
        return _open(ort, model, _resolve(config.provider, available, ort.get_all_providers()), config)
    candidates = [name for name in AUTO_ORDER if name in available]
    relaxed = replace(config, allow_cpu_fallback=True)  # `auto` asks for the best there is, not for all of it
    for name in candidates[:-1]:
        try:
            return _open(ort, model, name, relaxed)
        except ProviderError:
            continue  # its libraries or device are missing: the next one runs, and the report says which
    return _open(ort, model, candidates[-1], config)


def _refuse_checkpoint(path: Path) -> None:
    """A file of weights that is named as one is most likely what somebody was given."""
    if path.suffix.lower() in _CHECKPOINTS:
        raise ModelFormatError(
            f"Expected an ONNX model, got a checkpoint: {path}.",
            hint="convert it to ONNX on a workstation, by the export stage of this project",
            remedy="convert-model",
            file=str(path),
        )


def open_bytes(model: bytes, config: SessionConfig) -> Any:
    """Load a model that is no file, on the CPU, with the options that a file would be run with."""
    ort = import_onnxruntime()
    options = _session_options(ort, config, config.threads or usable_cpus(), strict=False)
    return ort.InferenceSession(model, options, providers=[CPU])


def _resolve(provider: str, available: list[str], known: list[str]) -> str:
    for name in available:
        if _short(provider) == _short(name):
            return name
    short = ", ".join(map(_short, available))
    if not any(_short(provider) == _short(name) for name in known):
        raise ProviderError(
            f"There is no execution provider {provider!r}; this onnxruntime offers: {short}.",
            hint=f"check the spelling; onnxruntime knows: {', '.join(map(_short, known))}",
        )
    raise ProviderError(
        f"The execution provider {provider!r} is not in this onnxruntime, which offers: {short}.",
        hint="install the onnxruntime wheel that has it, or use provider 'auto'",
    )


def _open(ort: Any, model: Path, provider: str, config: SessionConfig) -> tuple[Any, ProviderReport]:
    threads = config.threads or usable_cpus()
    strict = provider != CPU and not config.allow_cpu_fallback
    options = _session_options(ort, config, threads, strict=strict)
    providers = [(provider, _provider_options(provider, config))]
    if provider != CPU and config.allow_cpu_fallback:
        providers.append((CPU, {}))
    placed = place_matrices(ort, model, options) if provider == CPU else []
    state = ort.capi.onnxruntime_pybind11_state
    try:
        session = ort.InferenceSession(str(model), options, providers=providers)
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
                hint="use provider 'auto' or 'cpu', or allow the fallback to the CPU",
                remedy="allow-cpu-fallback",
            ) from error
        if provider == CPU:
            raise ModelFormatError(f"onnxruntime cannot load {model}: {error}", hint="convert it again") from error
        raise ProviderError(f"{provider} cannot load {model.name}: {error}", hint="use provider 'auto'") from error
    session.placed_matrices = placed  # they must live as long as the session
    report = ProviderReport(
        requested=config.provider,
        active=tuple(session.get_providers()),
        nodes=_nodes_per_provider(session),
        threads=threads,
        onnxruntime=ort.__version__,
    )
    _check_report(report, provider, model)
    return session, report


def _provider_options(provider: str, config: SessionConfig) -> dict[str, str]:
    """What was given, and for TensorRT where it finds the engines of an earlier start again.

    Source: onnxruntime's page on the TensorRT execution provider.
    """
    options = dict(config.provider_options)
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
    pinned = config.pinned_threads and threads > 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if config.spinning or pinned else "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if pinned:
        options.add_session_config_entry("session.intra_op_thread_affinities", _helper_processors(threads))
        if not config.spinning:
            options.add_session_config_entry("session.force_spinning_stop", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _helper_processors(threads: int) -> str:
    """A processor for each thread but the caller's, the last ones: those of big cores where there are two kinds.

    onnxruntime counts processors from 1.
    """
    known = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(known) < threads:
        raise ProviderError(
            f"Expected a processor for each of {threads} threads to bind them, and this process may use "
            f"{len(known) or 'an unknown number of'} processors.",
            hint="ask for fewer threads, or do not pin them",
            remedy="reduce-threads",
        )
    return ";".join(str(processor + 1) for processor in known[-(threads - 1) :])


def _nodes_per_provider(session: Any) -> dict[str, int] | None:
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    counts: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        counts[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(counts)


def _check_report(report: ProviderReport, provider: str, model: Path) -> None:
    if provider not in report.active or (report.nodes is not None and not report.nodes.get(provider)):
        raise ProviderError(
            f"{provider} took no node of {model.name}; onnxruntime would run it on {', '.join(report.active)}.",
            hint="its driver or libraries may be missing; use provider 'auto' or 'cpu' to run on what is there",
        )
