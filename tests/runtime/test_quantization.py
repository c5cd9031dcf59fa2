"""The record of a quantization, and warnings where a model meets a processor that it was not made for."""

import json
import re
from dataclasses import replace

import pytest

from edge_sphereface.cli.__main__ import main
from edge_sphereface.doctor import checks
from edge_sphereface.errors import ModelFormatError
from edge_sphereface.inference import backend
from edge_sphereface.inference import session as session_module
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import CPU
from edge_sphereface.model.quantization import (
    INT8_TARGETS,
    WEIGHT_BITS,
    ProcessorWarning,
    mismatch_here,
    processor_mismatch,
    provider_mismatch,
)
from edge_sphereface.model.spec import METADATA_KEY, ModelSpec

VNNI = frozenset({"avx2", "avx512_vnni"})
AMX = VNNI | {"amx_tile", "amx_int8"}
AVX_VNNI = frozenset({"avx2", "avx_vnni"})
AVX2 = frozenset({"avx2"})
ARM = frozenset({"asimd", "asimddp"})
NEON = frozenset({"asimd"})
HALF = frozenset({"asimd", "asimddp", "asimdhp"})


def test_round_trip(spec, quantization_record):
    made = replace(spec, precision="int8", rewrites=("equalize", "prelu"), quantization=quantization_record)
    assert ModelSpec.from_metadata({METADATA_KEY: made.to_json()}) == made


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target", "arm32"),
        ("target", {"arm64": 8}),
        ("target", ["arm64"]),
        ("weight_bits", 8),
        ("rules", (("conv1_1",),)),
        ("rules", "min-max"),
        ("equalization", float("nan")),
        ("bias_correction", 1),
        ("float_layers", (1,)),
        ("calibration_crops", -1),
        ("float_sha256", None),
        ("proof_crops", 1.5),
        ("cosine_mean", "high"),
        ("cosine_min", True),
    ],
)
def test_impossible_records_are_named(quantization_record, field, value):
    with pytest.raises(ModelFormatError, match=field):
        replace(quantization_record, **{field: value})


@pytest.mark.parametrize(
    "change", [{"surprise": 1}, {"target": None}, {"target": {"a": 1}}, {"cosine_min": 10**30}, None]
)
def test_damaged_records_are_refused(spec, quantization_record, change):
    text = replace(spec, quantization=quantization_record).as_json()
    text["quantization"] = {**text["quantization"], **change} if change else {"target": "portable"}
    with pytest.raises(ModelFormatError):
        ModelSpec.from_json(json.dumps(text))


@pytest.mark.parametrize(
    ("target", "processor", "flags", "words"),
    [
        ("portable", "x86_64", AVX2, ""),
        ("portable", "aarch64", NEON, ""),
        ("portable", "riscv64", frozenset(), ""),
        ("float16", "x86_64", AVX2, "Use the float model."),
        ("float16", "aarch64", NEON, "Use the float model."),
        ("float16", "aarch64", HALF, "or one of target 'float16-arm64'"),
        ("float16-arm64", "aarch64", HALF, ""),
        ("float16-arm64", "ARM64", HALF, ""),
        ("float16-arm64", "aarch64", NEON, "float16 arithmetic"),
        ("weights8", "x86_64", AVX2, ""),
        ("weights8", "aarch64", ARM, ""),
        ("weights8", "arm64", frozenset(), ""),
        ("weights8", "aarch64", NEON, "without dot product"),
        ("float16-arm64", "x86_64", AVX2, "takes longer than the float model"),
        ("x86-vnni", "x86_64", VNNI, ""),
        ("x86-vnni", "AMD64", AVX_VNNI, ""),
        ("x86-vnni", "x86_64", AVX2, "has no VNNI"),
        ("x86-vnni", "AMD64", frozenset(), "does not tell whether it has VNNI"),
        ("x86-vnni", "aarch64", ARM, "use 'arm64'"),
        ("x86-amx", "x86_64", AMX, ""),
        ("x86-amx", "x86_64", VNNI, "which this processor does not have: use 'x86-vnni'"),
        ("x86-amx", "x86_64", AVX2, "the embeddings are wrong"),
        ("x86-amx", "aarch64", ARM, "x86-64 with AMX, and this processor is aarch64: use 'arm64'"),
        ("x86-amx", "riscv64", frozenset(), ""),
        ("openvino", "x86_64", AMX, "Use provider 'openvino'"),
        ("openvino", "aarch64", ARM, "Use provider 'openvino'"),
        ("arm64", "aarch64", NEON, ""),
        ("arm64", "arm64", frozenset(), ""),
        ("arm64", "x86_64", AVX2, "the embeddings are wrong"),
        ("arm64", "x86_64", VNNI, "use 'x86-vnni'"),
    ],
)
def test_which_model_on_which_processor(target, processor, flags, words):
    reason = processor_mismatch(target, processor, flags)
    assert words in reason
    assert bool(reason) == bool(words)


@pytest.fixture
def wrong_target():
    """A target that this machine is never: Arm on x86-64, and x86-64 on Arm."""
    return next(target for target in ("arm64", "x86-vnni") if mismatch_here(target))


@pytest.fixture
def wrong_model(make_onnx, quantization_record, wrong_target):
    """A model for another processor."""
    changes = {"quantization": replace(quantization_record, target=wrong_target, weight_bits=8), "precision": "int8"}
    return make_onnx(changes=changes)


def test_a_model_for_another_processor_warns(wrong_model, wrong_target):
    with pytest.warns(ProcessorWarning, match=re.escape(mismatch_here(wrong_target))):
        Embedder(wrong_model, provider="cpu")


def test_commands_say_it_on_stderr_and_go_on(wrong_model, wrong_target, capsys, recwarn):
    import warnings

    warnings.simplefilter("default")
    assert main(["info", "--model", str(wrong_model), "--json"]) == 0
    captured = capsys.readouterr()
    assert f"warning: {mismatch_here(wrong_target)}" in captured.err
    assert json.loads(captured.out)["spec"]["quantization"]["target"] == wrong_target
    assert main(["info", "--model", str(wrong_model)]) == 0
    assert "quantized" in capsys.readouterr().out


def test_the_doctor_says_it_too(wrong_model, wrong_target):
    finding = checks.check_model(wrong_model)
    assert finding.status == "warn"
    assert mismatch_here(wrong_target) in finding.message
    assert finding.action


@pytest.mark.parametrize("target", WEIGHT_BITS)
def test_integer_forms_for_the_cpu_provider_warn_on_others(target):
    reason = provider_mismatch(target, "OpenVINOExecutionProvider")
    assert bool(reason) == (target in INT8_TARGETS and target != "openvino")
    assert not reason or "Use provider 'cpu'" in reason


@pytest.mark.parametrize("target", ["portable", "openvino"])
def test_auto_runs_a_model_on_the_provider_that_it_was_made_for(make_onnx, quantization_record, monkeypatch, target):
    """Both sessions are the CPU's here; the first one says that it is another provider's."""
    opened = []

    def open_session(model, config):
        session, report = session_module.open_session(model, replace(config, provider=CPU))
        opened.append(config.provider)
        active = report.active if config.provider == CPU else ("OpenVINOExecutionProvider", CPU)
        return session, replace(report, active=active, requested=config.provider)

    monkeypatch.setattr(backend, "open_session", open_session)
    bits = WEIGHT_BITS[target]
    changes = {"quantization": replace(quantization_record, target=target, weight_bits=bits), "precision": "int8"}
    model = make_onnx(changes=changes)
    embedder = Embedder(model, provider="auto")
    assert opened == (["auto", CPU] if target == "portable" else ["auto"])
    assert embedder.provider.active[0] == (CPU if target == "portable" else "OpenVINOExecutionProvider")
    assert embedder.provider.requested == "auto"
    if target == "portable":
        with pytest.warns(ProcessorWarning, match="was made for the CPU provider"):
            Embedder(model, provider="OpenVINO")
