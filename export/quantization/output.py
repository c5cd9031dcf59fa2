"""Write a quantized model with its certificate and its report: all files, or none."""

from __future__ import annotations

import json
import platform
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface import __version__
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import json_object
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.quantization import ProcessorWarning
from edge_sphereface.storage.files import SHARED, atomic_write
from export import parity
from export.quantization import report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_sphereface.evaluation.labeled_photos import SkippedPhoto
    from edge_sphereface.model.spec import ModelSpec
    from export.quantization.proof import ProofReport
    from export.quantization.quantize import QuantizedModel
    from export.quantization.search import SearchReport


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """Crops that the calibration rests on.

    Attributes:
        crops: number of crops.
        doubts: reasons to doubt the calibration, in sentences.
        skipped: photographs without a usable face.
    """

    crops: int
    doubts: tuple[str, ...]
    skipped: tuple[SkippedPhoto, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationReport:
    """How a model was quantized, as it is kept beside the model.

    Attributes:
        model: path of the quantized model; None, with exit code 1, if it misses a bound of the policy.
        spec: specification of the quantized model.
        bytes: size of the quantized model.
        float_bytes: size of the float model.
        calibration: None without photographs.
        search: how the INT8 form was found; None for float16.
        proof: comparison with the float model.
        environment: machine and versions, by name.
    """

    model: Path | None
    spec: ModelSpec
    bytes: int
    float_bytes: int
    calibration: CalibrationReport | None
    search: SearchReport | None
    proof: ProofReport
    environment: Mapping[str, str | int]


def write_quantized(made: QuantizedModel, output: Path, source: Path, provider: str) -> tuple[Path, ...]:
    """Write the model and, beside it, its certificate and the report as JSON, Markdown and plot.

    Args:
        made: quantized model with its proof.
        output: path of the model.
        source: path of the float model.
        provider: execution provider that computes the certificate's values.

    Returns:
        Paths of the files, the model first.

    Raises:
        OutputError: a file cannot be written; then none is written.
    """
    beside = {kind: output.with_suffix(f".quantization.{kind}") for kind in ("json", "md", "png")}
    with ExitStack() as stack:

        def open_output(path: Path) -> Any:
            return stack.enter_context(atomic_write(path, mode=SHARED))

        certificate, plot = open_output(certificate_path(output)), open_output(beside["png"])
        record, page, stream = (open_output(path) for path in (beside["json"], beside["md"], output))
        stream.write(made.model.SerializeToString(deterministic=True))
        stream.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ProcessorWarning)  # `quantize` has said it
            embedder, original = (Embedder(path, provider=provider) for path in (stream.name, source))
        proof = parity.prove_against_model(embedder, original)
        quality = tuple(str(judgment) for judgment in made.proof.judgments)
        certified = replace(parity.certificate(proof, embedder, model_name=output.name), quality=quality)
        certificate.write(json.dumps(certified.as_json(), indent=1).encode())
        del embedder  # Windows cannot rename a file that is mapped
        report.draw(plot, made.proof, output.name)
        record.write(json.dumps(json_object(quantization_report(made, output, source, provider)), indent=1).encode())
        environment = measured_on(provider)
        page.write(
            report.page(output.name, made.spec, made.search, made.proof, environment, beside["png"].name).encode()
        )
    return (output, certificate_path(output), *beside.values())


def quantization_report(made: QuantizedModel, output: Path, source: Path, provider: str) -> QuantizationReport:
    """Return how a model was quantized."""
    calibration = made.calibration
    return QuantizationReport(
        model=output if made.proof.passed else None,
        spec=made.spec,
        bytes=made.model.ByteSize(),
        float_bytes=source.stat().st_size,
        calibration=None
        if calibration is None
        else CalibrationReport(crops=len(calibration.crops), doubts=tuple(made.doubts), skipped=calibration.skipped),
        search=None if made.search is None else made.search.report(),
        proof=made.proof.report(),
        environment=measured_on(provider),
    )


def measured_on(provider: str) -> Mapping[str, str | int]:
    """Machine, provider and versions that the figures of a quantization depend on."""
    from edge_sphereface.doctor.machine import read_machine

    machine = read_machine()
    return {
        "processor": f"{machine.cpu_model or machine.processor} ({machine.processor})",
        "threads": machine.usable_cpus,
        "provider": provider,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "edge_sphereface": __version__,
        **{name: version for name, version in machine.wheels.items() if name.startswith("onnxruntime")},
    }
