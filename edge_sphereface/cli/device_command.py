"""``edge-sphereface report-device``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import from_zero, json_option, thread_count
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.device import DevicePlan
    from edge_sphereface.device.report import DeviceReport, SustainedRun

_MINUTES, _QUICK_MINUTES = 5.0, 0.5


def add_command(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report-device",
        parents=[json_option()],
        help="measure this board and write a report that can be sent to others",
        description="Check this machine, verify the models, find the fastest form, compare INT8 with float, time the "
        "face detectors, and embed without a pause for minutes while temperature, clock and throttling are sampled. "
        "The report names the board and the versions; it names no user, no host, no path, no address and "
        "no serial number. Ctrl-C keeps what was measured. Exit code 1 if a model fails its verification.",
        epilog="example: edge-sphereface report-device model/ -o device.json",
    )
    parser.add_argument(
        "model", nargs="+", type=Path, help="ONNX files made from one checkpoint, or a folder that holds them"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE.json", help="write the report, after each step"
    )
    parser.add_argument(
        "--minutes",
        type=from_zero,
        metavar="M",
        help=f"duration of the sustained run, 0 for none (default {_MINUTES:g}, with --quick {_QUICK_MINUTES:g})",
    )
    parser.add_argument("--quick", action="store_true", help="take a quarter of the samples")
    parser.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 and all usable processors"
    )
    parser.add_argument("--provider", default="auto", metavar="NAME", help="execution provider (default auto)")
    parser.add_argument(
        "--photo", type=Path, metavar="FILE", help="photograph with faces to time the detectors on; it is not stored"
    )
    parser.set_defaults(run=report_device)


def report_device(arguments: argparse.Namespace) -> Outcome:
    """Measure, and write the report.

    Raises:
        UsageError: the output would replace a certificate, or cannot be written; a folder holds no model.
    """
    from edge_sphereface.device import DevicePlan, measure_device
    from edge_sphereface.image import load_image

    models = tuple(_models(arguments.model))
    _check_output(arguments.output, models)
    minutes = arguments.minutes
    if minutes is None:
        minutes = _QUICK_MINUTES if arguments.quick else _MINUTES
    plan = DevicePlan(
        models=models,
        minutes=minutes,
        quick=arguments.quick,
        provider=arguments.provider,
        threads=tuple(arguments.threads or ()),
        photograph=None if arguments.photo is None else load_image(arguments.photo),
    )
    try:
        report = measure_device(
            plan,
            keep=lambda made: _write(made, arguments.output),
            progress=lambda step: _progress(plan, step),
            explain=note,
        )
    except KeyboardInterrupt:
        note(f"{arguments.output} holds what was measured, marked as incomplete")
        raise
    return Outcome(report, f"{_text(report, models)}\nwritten    {arguments.output}", passed=report.complete)


def _models(named: Iterable[Path]) -> Iterable[Path]:
    from edge_sphereface.model.manifest import is_model

    for path in named:
        if not path.is_dir():
            yield path
            continue
        found = sorted(file for file in path.iterdir() if is_model(file.name))
        if not found:
            raise UsageError(f"There is no model in {path}.", hint="name a folder that `fetch-model` made")
        yield from found


def _check_output(output: Path, models: Iterable[Path]) -> None:
    """Before minutes of timing."""
    from edge_sphereface.model.certificate import certificate_path

    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} for {output.name}.", hint="create the folder first")
    if output.resolve() in {path.resolve() for model in models for path in (model, certificate_path(model))}:
        raise UsageError(f"{output} is an input of this command, and would be lost.", hint="name another file")


def _progress(plan: DevicePlan, step: str) -> Progress:
    """The progress of a step, with the time that is left of all; verified models do not tell how fast they are."""
    from edge_sphereface.device.measurement import STEPS

    what = f"step {STEPS.index(step) + 1} of {len(STEPS)}, {step}"
    return Progress(what, later_s=None if step in (STEPS[0], STEPS[-1]) else partial(plan.later_s, step))


def _write(report: DeviceReport, output: Path) -> None:
    from edge_sphereface.storage.files import SHARED, atomic_write

    with atomic_write(output, mode=SHARED) as stream:
        stream.write(f"{report.to_json()}\n".encode())


def _text(report: DeviceReport, models: Iterable[Path]) -> str:
    where = report.environment
    lines = [f"device     {where.cpu}, {where.usable_cpus} processors, {where.memory_mib or 'unknown'} MiB"]
    lines += [f"{one.status:<10} {one.check}: {one.message}" for one in report.findings if one.status != "ok"]
    for path, model in zip(models, report.models, strict=False):  # a model that fails is the last one
        proof = {True: "verified", False: "FAILED", None: "no certificate"}[model.certified]
        lines.append(f"model      {path}: {model.form}: {proof if model.passed else f'FAILED: {model.reason}'}")
    if report.fastest is not None:
        best = report.fastest
        source = "recorded by an earlier tuning" if best.latency is None else "measured"
        lines.append(f"fastest    {best.form}, threads {best.threads}: {best.median_ms:.2f} ms ({source})")
    compared = report.int8_over_float
    if compared is not None:
        interval = "" if compared.low is None else f" ({compared.low:.3f} to {compared.high:.3f})"
        lines.append(f"INT8       {compared.ratio:.3f}{interval} of the time of {compared.float32.form}")
    lines += [f"detector   {one.name}: {one.latency.median_ms:.1f} ms for a {one.image}" for one in report.detectors]
    if report.sustained is not None and report.sustained.windows:
        lines.append(f"sustained  {_sustained_text(report.sustained)}")
    lines += [f"missing    {one.part}: {one.reason}" for one in report.missing]
    return "\n".join([*lines, "" if report.complete else f"INCOMPLETE {report.stopped}"]).rstrip("\n")


def _sustained_text(run: SustainedRun) -> str:
    hottest = run.hottest_c
    slowdown = "" if run.slowdown is None else f", {run.slowdown:.2f} of the rate in the first tenth"
    heat = "temperature unknown" if hottest is None else f"at most {hottest:.0f} degrees Celsius"
    slowed = "throttling unknown" if run.throttled is None else ", ".join(run.throttled) or "not throttled"
    return f"{run.form}: {run.end_rate:.1f} faces a second in the last tenth{slowdown}; {heat}; {slowed}"
