"""Writes a quantized model with its certificate and its report: all of them, or none."""

from __future__ import annotations

import json
import platform
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface import __version__
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.storage.files import SHARED, atomic_write
from export import parity
from export.quantization import report

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.types import JsonObject
    from export.quantization.quantize import QuantizedModel


def write_quantized(made: QuantizedModel, output: Path, source: Path, provider: str) -> list[str]:
    """Write the model, its certificate, and the report as JSON, Markdown and plot beside it.

    Args:
        made: the model and its proof.
        output: of the model.
        source: the float model.
        provider: execution provider that computes the certificate's figures.

    Returns:
        Paths of the files, the model first.

    Raises:
        OutputError: one of them cannot be written; then none is.
    """
    beside = {kind: output.with_suffix(f".quantization.{kind}") for kind in ("json", "md", "png")}
    with ExitStack() as stack:

        def open_output(path: Path) -> Any:
            return stack.enter_context(atomic_write(path, mode=SHARED))

        certificate, plot = open_output(certificate_path(output)), open_output(beside["png"])
        record, page, stream = (open_output(path) for path in (beside["json"], beside["md"], output))
        stream.write(made.model.SerializeToString(deterministic=True))
        stream.flush()
        embedder, original = (Embedder(path, provider=provider) for path in (stream.name, source))
        proof = parity.prove_against_model(embedder, original)
        quality = tuple(str(judgment) for judgment in made.proof.judgments)
        certified = replace(parity.certificate(proof, embedder, model_name=output.name), quality=quality)
        certificate.write(json.dumps(certified.as_json(), indent=1).encode())
        del embedder  # Windows cannot rename a file that is mapped
        report.draw(plot, made.proof, output.name)
        record.write(json.dumps(quantization_json(made, output, source, provider), indent=1).encode())
        environment = measured_on(provider)
        page.write(
            report.page(output.name, made.spec, made.search, made.proof, environment, beside["png"].name).encode()
        )
    return [str(path) for path in (output, certificate_path(output), *beside.values())]


def quantization_json(made: QuantizedModel, output: Path, source: Path, provider: str) -> JsonObject:
    """What a quantization found, as plain JSON values."""
    calibration = made.calibration
    return {
        "model": str(output) if made.proof.passed else None,
        "spec": made.spec.as_json(),
        "bytes": made.model.ByteSize(),
        "float_bytes": source.stat().st_size,
        "calibration": None
        if calibration is None
        else {
            "crops": len(calibration.crops),
            "doubts": list(made.doubts),
            "skipped": [{"path": path, "reason": reason} for path, reason in calibration.skipped],
        },
        "search": None if made.search is None else made.search.as_json(),
        "proof": made.proof.as_json(),
        "environment": measured_on(provider),
    }


def measured_on(provider: str) -> JsonObject:
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
