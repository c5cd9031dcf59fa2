"""Commands about models and this machine: info, verify-model, fetch-detector, doctor."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    MODEL_VARIABLE,
    cosine,
    detector_options,
    from_zero,
    json_option,
    model_option,
    model_or_none,
    open_embedder,
    open_named_detector,
    session_options,
    thread_count,
)
from edge_sphereface.cli.hints import advice
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.errors import ModelNotFoundError
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.detection.choice import DetectorChoice
    from edge_sphereface.evaluation.separability import SeparationCheck
    from edge_sphereface.inference.embedder import Embedder, ModelInfo
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.metrics import Agreement
    from edge_sphereface.model.certificate import Bounds, DeviceCheck
    from edge_sphereface.model.origin import Origin
    from edge_sphereface.model.spec import ModelSpec

_UNTESTED = ("not tested", "arithmetic in half precision, which this processor lacks: test it on the device")
"""Row for a float16 model that ncnn computes in float32."""


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    parser = commands.add_parser(
        "info",
        parents=[json_option(), model_option()],
        help="describe a model, and the provider that really runs it",
        description="Describe a model: network, input, alignment, threshold, origin, quantization and tuning; and "
        "the execution provider that runs each node of its graph, and the detector that is chosen, on this machine.",
        epilog="example: edge-sphereface info model.onnx",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="MODEL", help="the same as --model")
    parser.set_defaults(run=info)
    _add_verify_model(commands)
    parser = commands.add_parser(
        "fetch-detector",
        parents=[json_option()],
        help="download YuNet (0.2 MB) into the cache",
        description="Download the face detector YuNet into the cache, once, and check its SHA-256. Afterwards "
        "--detector auto takes it.",
        epilog="example, without network: edge-sphereface fetch-detector --from /media/usb/yunet.onnx",
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="take this file instead, if it is YuNet"
    )
    parser.set_defaults(run=fetch_detector)
    parser = commands.add_parser(
        "doctor",
        parents=[json_option()],
        help="check this machine, and say how to fix problems",
        description="Check versions, processor, providers, cache and models. Exit code 1 if something must be fixed.",
        epilog="example: edge-sphereface doctor --model model.onnx",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help=f"check this model as well (default: ${MODEL_VARIABLE}, or none)"
    )
    parser.add_argument("--threads", type=thread_count, metavar="N", help="number of threads you plan to use")
    parser.set_defaults(run=doctor, is_check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoReport:
    """What ``info`` found.

    Attributes:
        model_info: the model, and what runs it.
        detector: detector that ``auto`` chooses on this machine; null if there is none.
    """

    model_info: ModelInfo = field(metadata=INLINE)
    detector: DetectorChoice | None


def info(arguments: argparse.Namespace) -> Outcome:
    """Model, specification, provider, detector.

    Raises:
        UsageError: two models were named, or none.
    """
    from edge_sphereface.detection.detector import choose_installed

    if arguments.file is not None:
        if arguments.model is not None:
            raise UsageError("Two models were named.", hint="give one, with or without --model")
        arguments.model = arguments.file
    try:
        detector = choose_installed()
    except ModelNotFoundError:
        detector = None
    report = InfoReport(model_info=open_embedder(arguments).info(), detector=detector)
    chosen = "none on this machine" if detector is None else f"{detector.name} ({detector.reason})"
    return Outcome(report, table([*_info_rows(report.model_info), ("detector", chosen)]))


def _info_rows(report: ModelInfo) -> list[tuple[str, str]]:
    spec = report.spec
    layout = "uint8 BGR crops" if spec.input_layout == "image" else "float32 NCHW, normalized by this package"
    official = "the official checkpoint" if spec.source_is_official else "not the official checkpoint"
    rows = [
        ("model", f"{report.model} ({_mib(report.bytes)})"),
        ("architecture", f"{spec.architecture}, widths {', '.join(map(str, spec.widths))}, {spec.precision}"),
        ("input", f"{spec.input_height} x {spec.input_width} ({layout})"),
        ("normalization", f"(pixel - {spec.pixel_mean:g}) / {1 / spec.pixel_scale:g}, {spec.color_order}"),
        ("alignment", f"fit {spec.alignment_fit}, landmarks {_points(spec)}"),
        ("embedding", f"{spec.embedding_size} numbers"),
        ("threshold", f"{spec.threshold:g} ({spec.threshold_source})"),
        ("source", f"{spec.source_file}, {official}"),
        ("", f"SHA-256 {spec.source_sha256}"),
        ("exported by", f"edge_sphereface {spec.exporter_version}"),
        ("runs on", str(report.provider)),
    ]
    if spec.origin is not None:
        rows[-2:-2] = _origin_rows(spec.origin)
    if report.provider.lacks_half_precision(spec.precision):
        rows.append(_UNTESTED)
    record = spec.quantization
    if record is not None:
        kept = f"; {len(record.float_layers)} layers in float32" if record.float_layers else ""
        rows.insert(2, ("quantized", f"for {record.target}, {record.weight_bits}-bit weights{kept}"))
        cosine = (
            f"mean {record.cosine_mean:.5f}, 1st percentile {record.cosine_p1:.5f}, minimum {record.cosine_min:.5f}"
        )
        rows.insert(3, ("", f"cosine to float over {record.proof_crops} crops: {cosine}"))
    if spec.tuning is not None:
        rows.insert(2, ("tuned", str(spec.tuning)))
    return rows


def _origin_rows(origin: Origin) -> list[tuple[str, str]]:
    publisher = "told one by one" if origin.preset is None else f"of {origin.preset}"
    order, place = origin.color_order, origin.shortcut.replace("_", " the ")
    rows = [("conventions", f"{publisher}; {order} crops in training; identity added {place}")]
    return [*rows, ("folded", f"into the weights: {', '.join(origin.folded)}")] if origin.folded else rows


def _points(spec: ModelSpec) -> str:
    return ", ".join(f"({x:.1f}, {y:.1f})" for x, y in spec.landmark_template)


def _add_verify_model(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify-model",
        parents=[json_option(), session_options(), detector_options()],
        help="check a model's parity certificate on this device",
        description="Embed the certificate's golden inputs on this device and compare, without the checkpoint. With "
        "--photos also check that the model tells people apart, and that feeding it wrongly (red and blue swapped, "
        "aligned twice, not aligned) does no better.",
        epilog="example: edge-sphereface verify-model model.onnx --photos people/",
    )
    parser.add_argument("model", type=Path, help="model: an ONNX file, or one for ncnn")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="default: MODEL.parity.json beside the model")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photographs as FOLDER/PERSON/photo.jpg")
    parser.add_argument("--max-abs-error", type=from_zero, metavar="E", help="relative (default for float32: 1e-4)")
    parser.add_argument("--min-cosine", type=cosine, metavar="C", help="bound (default for float32: 0.99999)")
    parser.set_defaults(run=verify_model, is_check=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParity:
    """How a model agrees with its certificate on this device.

    Attributes:
        passed: whether the agreement keeps the bounds.
        measured: agreement with the embeddings in the certificate.
        bounds: what the agreement must keep.
    """

    passed: bool
    measured: Agreement = field(metadata=INLINE)
    bounds: Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyModelReport:
    """What ``verify-model`` found.

    Attributes:
        passed: whether every check passed; if not, the exit code is 1.
        model: path of the model.
        parity: how the model agrees with its certificate.
        provider: execution provider that ran the model.
    """

    passed: bool
    model: Path
    parity: DeviceParity
    provider: ProviderReport


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparationReport(VerifyModelReport):
    """What ``verify-model --photos`` found.

    Attributes:
        separation: whether the model tells people apart.
    """

    separation: SeparationCheck


def verify_model(arguments: argparse.Namespace) -> Outcome:
    """The certificate's check and, if photographs are given, separation."""
    from edge_sphereface.evaluation.separability import check_separation
    from edge_sphereface.model.certificate import (
        Bounds,
        certificate_path,
        check_on_device,
        load_certificate,
        model_bounds,
    )

    embedder = open_embedder(arguments)
    certificate = load_certificate(arguments.certificate or certificate_path(arguments.model))
    defaults = model_bounds(embedder.spec)
    bounds = Bounds(
        max_abs_error=defaults.max_abs_error if arguments.max_abs_error is None else arguments.max_abs_error,
        min_cosine=defaults.min_cosine if arguments.min_cosine is None else arguments.min_cosine,
    )
    check = check_on_device(embedder, certificate, bounds)
    parity = DeviceParity(passed=check.passed, measured=check.measured, bounds=check.bounds)
    text = _parity_text(embedder, check)
    if arguments.photos is None:
        report = VerifyModelReport(passed=check.passed, model=embedder.path, parity=parity, provider=embedder.provider)
        return Outcome(report, text, passed=report.passed)
    detector = open_named_detector(arguments)
    separation = check_separation(embedder, detector, arguments.photos, progress=Progress("photographs"))
    report = SeparationReport(
        passed=check.passed and separation.passed,
        model=embedder.path,
        parity=parity,
        provider=embedder.provider,
        separation=separation,
    )
    return Outcome(report, f"{text}\n\n{_separation_text(separation)}", passed=report.passed)


def _parity_text(embedder: Embedder, check: DeviceCheck) -> str:
    measured, bounds = check.measured, check.bounds
    rows = [
        ("parity", "PASSED" if check.passed else "FAILED"),
        ("max abs error", f"{measured.max_abs_error:.2e} of the largest component (at most {bounds.max_abs_error:g})"),
        ("min cosine", f"{measured.min_cosine:.9f} (at least {bounds.min_cosine:g})"),
        ("runs on", str(embedder.provider)),
    ]
    if embedder.provider.lacks_half_precision(embedder.spec.precision):
        rows.append(_UNTESTED)
    return table(rows)


def _separation_text(check: SeparationCheck) -> str:
    lines = [
        (
            f"separation     {'PASSED' if check.passed else 'FAILED'} on {check.photographs} photographs of "
            f"{check.people} people ({check.genuine_pairs} genuine and {check.impostor_pairs} impostor pairs, "
            f"{len(check.skipped)} skipped)"
        ),
        f"  {'fed':<22} {'same person':>12} {'strangers':>10} {'AUC':>8}",
    ]
    lines += [f"  {r.feeding:<22} {r.genuine_mean:>12.3f} {r.impostor_mean:>10.3f} {r.auc:>8.4f}" for r in check.rows]
    lines += [f"  skipped {photo.path}: {photo.reason}" for photo in check.skipped]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchReport:
    """A file that was downloaded or taken over.

    Attributes:
        path: path of the file in the cache.
        sha256: SHA-256 of the file, in hexadecimal, as pinned.
    """

    path: Path
    sha256: str


def fetch_detector(arguments: argparse.Namespace) -> Outcome:
    """Download or take over YuNet."""
    from edge_sphereface.detection.yunet import YUNET, cached_model
    from edge_sphereface.storage.cache import cache_file
    from edge_sphereface.storage.download import fetch, install

    target = cache_file(*cached_model().relative_to(cached_model().parents[1]).parts)
    if arguments.source is not None:
        path = install(YUNET, arguments.source, target)
    else:
        note(f"{YUNET.name} from {YUNET.url}, {YUNET.license}")
        path = fetch(YUNET, target, progress=Progress("downloading", "MiB"))
    return Outcome(FetchReport(path=path, sha256=YUNET.sha256), f"{path} (SHA-256 as pinned)")


def doctor(arguments: argparse.Namespace) -> Outcome:
    """The page of :mod:`edge_sphereface.doctor`."""
    from edge_sphereface.doctor import examine, render

    found = examine(model=model_or_none(arguments), threads=arguments.threads)
    report = replace(
        found,
        findings=tuple(
            replace(finding, action=advice(finding.action, finding.remedy, finding.file)) for finding in found.findings
        ),
    )
    return Outcome(report, render(report), passed=report.fit)


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns of text."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
