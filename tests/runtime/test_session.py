"""Provider truth: what was asked for runs, or an error says that it does not."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edge_sphereface.cli import arguments
from edge_sphereface.cli.__main__ import build_parser
from edge_sphereface.errors import ModelFormatError, ModelNotFoundError, ProviderError
from edge_sphereface.inference import session
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import CPU, SessionConfig, helper_processors, open_session, session_config

TELLS_NODES = hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
needs_node_counts = pytest.mark.skipif(
    not TELLS_NODES, reason="onnxruntime before 1.24 does not tell nodes per provider"
)
needs_azure = pytest.mark.skipif(
    "AzureExecutionProvider" not in onnxruntime.get_available_providers(),
    reason="needs onnxruntime's Azure provider, which takes no node of a local model",
)


@needs_node_counts
def test_nodes_are_counted_where_they_run(make_onnx):
    _, report = open_session(make_onnx(), SessionConfig(provider="cpu"))
    assert report.active == (CPU,)
    assert report.nodes == {CPU: 1}
    assert report.onnxruntime == onnxruntime.__version__
    assert "CPUExecutionProvider 1 nodes" in str(report)


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider", "auto"])
def test_names(make_onnx, name):
    assert open_session(make_onnx(), SessionConfig(provider=name))[1].active == (CPU,)


def test_a_provider_that_is_not_there(make_onnx):
    with pytest.raises(
        ProviderError, match=r"no execution provider 'tpu'; this onnxruntime offers: .*cpu.*check the spelling.*cuda"
    ):
        open_session(make_onnx(), SessionConfig(provider="tpu"))


def test_a_damaged_operator_is_one_error_and_prints_nothing(make_onnx, capsys):
    """By default, onnxruntime prints to stdout and tries again."""
    path = make_onnx()
    path.write_bytes(path.read_bytes().replace(b"ReduceMean", b"Reduce\xd1ean"))
    with pytest.raises(ModelFormatError, match="onnxruntime cannot"):
        open_session(path, SessionConfig(provider="cpu"))
    assert capsys.readouterr().out == ""


@needs_azure
def test_a_provider_that_would_leave_all_to_the_cpu(make_onnx):
    with pytest.raises(ProviderError, match="does not take every node"):
        open_session(make_onnx(), SessionConfig(provider="azure"))


@needs_azure
@needs_node_counts
def test_a_provider_that_takes_no_node_even_if_fallback_is_allowed(make_onnx):
    with pytest.raises(ProviderError, match="took no node"):
        open_session(make_onnx(), SessionConfig(provider="azure", allow_cpu_fallback=True))


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
def test_auto_goes_on_to_the_next(make_onnx, monkeypatch):
    """A wheel may offer CUDA on a machine without a GPU: `auto` then runs on the CPU, and says so."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU])
    assert open_session(make_onnx(), SessionConfig())[1].active == (CPU,)


def test_an_onnxruntime_that_cannot_tell_nodes(make_onnx, monkeypatch):
    monkeypatch.delattr(onnxruntime.InferenceSession.__mro__[1], "get_provider_graph_assignment_info", raising=False)
    _, report = open_session(make_onnx(), SessionConfig())
    assert report.nodes is None
    assert "does not tell" in str(report)


def test_options_reach_onnxruntime(make_onnx):
    config = SessionConfig(threads=3, memory_arena=True, memory_pattern=False, spinning=True)
    opened, report = open_session(make_onnx(), config)
    options = opened.get_session_options()
    assert (options.intra_op_num_threads, options.enable_cpu_mem_arena, report.threads) == (3, True, 3)
    assert options.enable_mem_pattern is False
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    defaults = open_session(make_onnx(), SessionConfig())[0].get_session_options()
    assert defaults.enable_cpu_mem_arena is False
    assert defaults.enable_mem_pattern is True
    assert defaults.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def entry(session, name):
    return session.get_session_options().get_session_config_entry(f"session.{name}")


@pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 27), reason="onnxruntime cannot limit the spinning"
)
def test_threads_spin_briefly_and_during_an_inference_only(make_onnx):
    opened, _ = open_session(make_onnx(), SessionConfig(threads=2, spin_us=50))
    names = ("intra_op.allow_spinning", "intra_op.spin_duration_us", "force_spinning_stop")
    assert [entry(opened, name) for name in names] == ["1", "50", "1"]
    always, _ = open_session(make_onnx(), SessionConfig(threads=2, spin_us=50, spinning=True))
    assert entry(always, "intra_op.allow_spinning") == "1"
    with pytest.raises(RuntimeError):
        entry(always, "force_spinning_stop")
    with pytest.raises(ValueError, match="got -1"):
        SessionConfig(spin_us=-1)


def test_helpers_get_the_last_processors():
    assert helper_processors(3, {0, 1, 4, 6}) == "5;7"
    assert helper_processors(4, {0, 1, 4, 6}) == "2;5;7"
    with pytest.raises(ProviderError, match=r"each of 5 threads.*may use 4 processors.*do not pin them"):
        helper_processors(5, {0, 1, 4, 6})
    with pytest.raises(ProviderError, match="an unknown number of processors"):
        helper_processors(2, ())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not tell its processors")
def test_pinned_threads(make_onnx):
    """The last processor for the helper, which spins during an inference alone."""
    usable = os.sched_getaffinity(0)
    with pytest.raises(ProviderError, match="do not pin them"):
        open_session(make_onnx(), SessionConfig(threads=len(usable) + 1, pinned_threads=True))
    if len(usable) < 2:
        pytest.skip("needs a second processor for the helper")
    opened, _ = open_session(make_onnx(), SessionConfig(threads=2, pinned_threads=True))
    options = opened.get_session_options()
    assert options.get_session_config_entry("session.intra_op_thread_affinities") == str(max(usable) + 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_one_thread_needs_no_helper(make_onnx):
    opened, _ = open_session(make_onnx(), SessionConfig(threads=1, pinned_threads=True))
    with pytest.raises(RuntimeError):
        opened.get_session_options().get_session_config_entry("session.intra_op_thread_affinities")


def test_pinned_threads_give_the_same_embeddings(small_model, crops):
    from edge_sphereface.cpu import usable_cpus

    pinned = Embedder(small_model, session=SessionConfig(pinned_threads=True), threads=min(2, usable_cpus()))
    assert np.array_equal(pinned.embed(crops), Embedder(small_model, threads=min(2, usable_cpus())).embed(crops))


@pytest.mark.parametrize(
    ("session", "keywords", "expected"),
    [
        (SessionConfig(provider="cuda", threads=2), {}, ("cuda", 2)),
        (SessionConfig(threads=2), {"provider": "cuda"}, ("cuda", 2)),
        (SessionConfig(provider="cuda"), {"threads": 1}, ("cuda", 1)),
        (SessionConfig(provider="cuda"), {"provider": "CUDAExecutionProvider"}, ("CUDAExecutionProvider", None)),
        (None, {"provider": "cpu", "threads": 3}, ("cpu", 3)),
        (None, {}, ("auto", None)),
    ],
)
def test_provider_and_threads_come_from_where_they_were_given(session, keywords, expected):
    config = session_config(session, **{"provider": None, "threads": None, **keywords})
    assert (config.provider, config.threads) == expected


@pytest.mark.parametrize(
    ("session", "keywords"),
    [
        (SessionConfig(provider="cuda"), {"provider": "cpu"}),
        (SessionConfig(provider="cuda"), {"provider": "auto"}),
        (SessionConfig(threads=2), {"threads": 1}),
    ],
)
def test_two_values_of_one_option_are_refused(small_model, session, keywords):
    with pytest.raises(ValueError, match="give it in one place"):
        Embedder(small_model, session=session, **keywords)


def test_a_session_is_not_run_elsewhere_in_silence(small_model):
    """`SessionConfig(provider="qnn")` with a wheel without it is an error, and no run on the CPU."""
    offered = onnxruntime.get_available_providers()
    absent = next(name for name in onnxruntime.get_all_providers() if name not in offered)
    with pytest.raises(ProviderError, match=f"'{absent}' is not in this onnxruntime"):
        Embedder(small_model, session=SessionConfig(provider=absent, threads=2))
    embedder = Embedder(small_model, session=SessionConfig(provider="cpu", threads=1, memory_arena=True))
    assert embedder.provider.threads == 1
    assert embedder.provider.requested == "cpu"


@pytest.mark.parametrize("threads", [0, 1025, 3_000_000_000])
def test_threads_that_cannot_be_started_are_refused(threads):
    with pytest.raises(ValueError, match="1 to 1024 threads"):
        SessionConfig(threads=threads)


def test_missing_file(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no model file") as caught:
        open_session(tmp_path / "no.onnx", SessionConfig())
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("content", [b"", b"rubbish", bytes(1000), b"\x08\x08" + b"\xff" * 40])
def test_not_onnx(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=str(path)):
        open_session(path, SessionConfig())


def test_a_truncated_model(tmp_path, small_model):
    path = tmp_path / "cut.onnx"
    path.write_bytes(small_model.read_bytes()[:-1000])
    with pytest.raises(ModelFormatError):
        open_session(path, SessionConfig())


def test_without_onnxruntime(make_onnx, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ProviderError, match=r"\[cpu\]"):
        open_session(make_onnx(), SessionConfig())


def test_tensorrt_keeps_its_engines_in_the_cache():
    """An engine takes minutes to build: the next start finds it, unless the user keeps it elsewhere."""
    options = session.provider_options(session.TENSORRT, SessionConfig(provider_options={"trt_fp16_enable": "1"}))
    folder = Path(os.environ["EDGE_SPHEREFACE_HOME"]) / "tensorrt"
    assert options == {
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
    }
    assert folder.is_dir()
    own = {"trt_engine_cache_enable": "0"}
    assert session.provider_options(session.TENSORRT, SessionConfig(provider_options=own)) == own
    assert session.provider_options(CPU, SessionConfig()) == {}


def test_provider_options_come_from_the_command_line(cli, small_model):
    words = ("info", "--model", str(small_model), "--provider", "cpu")
    given = build_parser().parse_args([*words, "--provider-option", "a=1", "--provider-option", "b=x=y"])
    assert arguments.session_config(given).provider_options == {"a": "1", "b": "x=y"}
    code, _, errors = cli(*words, "--provider-option", "nonsense")
    assert code == 2
    assert "expected NAME=VALUE" in errors


def test_a_detector_takes_the_options_of_the_model():
    fast = SessionConfig(provider="cuda", threads=2, provider_options={"device_id": "1"})
    assert fast.for_detector(None) is fast
    assert fast.for_detector("CUDAExecutionProvider") is fast
    assert fast.for_detector("cpu") == SessionConfig(provider="cpu", threads=2), "options of CUDA are not for another"
    assert SessionConfig(provider="auto").for_detector(None).provider == "auto"


@pytest.mark.parametrize("name", ["tensorrt", "TensorrtExecutionProvider"])
def test_a_detector_beside_tensorrt_takes_cuda(name):
    """TensorRT would build an engine for each size of image."""
    engines = SessionConfig(provider=name, provider_options={"trt_fp16_enable": "1"})
    assert engines.for_detector(None) == SessionConfig(provider="cuda")
    assert engines.for_detector("tensorrt") is engines
