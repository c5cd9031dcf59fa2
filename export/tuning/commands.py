"""The command ``python -m export tune``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option, positive
from edge_sphereface.cli.runner import Outcome, Progress, note
from edge_sphereface.cli.tune_command import rival_lines
from edge_sphereface.json_output import json_object
from edge_sphereface.model.certificate import certificate_path
from export import parity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge_sphereface.cli.runner import Commands
    from export.rewrite.tile import Tile
    from export.tuning.device_report import DeviceChoice
    from export.tuning.tune import Tuned

_SHOWN = 5


def add_tune(commands: Commands) -> None:
    """Add the command ``tune``."""
    parser = commands.add_parser(
        "tune",
        parents=[json_option()],
        help="find the form of a float model that is fastest on this machine by measuring",
        description="Time every way to compute each stage (directly, or by Winograd's filtering in tiles of several "
        "sizes), then the best combinations as whole networks, in rounds. The fastest one is measured again against "
        "the simpler ones and written, with its proof and its record, only if it is measurably faster. The best form "
        "differs between a Pi 4, a Pi 5 and an Orin: run this command on the device, or ship several forms "
        "(`rewrite --stages`), let `edge-sphereface tune` choose there, and write its choice from its report.",
        epilog="examples: python -m export tune sphereface20.onnx --threads 2 -o sphereface20.tuned.onnx; "
        "python -m export tune sphereface20.onnx --device-report pi.json -o sphereface20.pi.onnx",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--threads", nargs="+", type=positive, metavar="N", help="numbers of threads to try (default: all)"
    )
    parser.add_argument("--pinned-threads", action="store_true", help="also try threads bound to processors")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="faces in an inference (default 1)")
    parser.add_argument(
        "--rounds", type=positive, default=100, metavar="N", help="samples of each network (default 100)"
    )
    parser.add_argument("--max-mib", type=above_zero, metavar="M", help="largest size of the file in MiB")
    parser.add_argument(
        "--max-error",
        type=above_zero,
        metavar="E",
        help="largest relative difference from the plain network (default 1e-5)",
    )
    parser.add_argument(
        "--with", dest="others", nargs="+", type=Path, default=[], metavar="FILE", help="also measure these forms"
    )
    parser.add_argument(
        "--device-report",
        type=Path,
        metavar="FILE.json",
        help="report of `edge-sphereface tune --json`; nothing is measured here",
    )
    parser.set_defaults(run=tune)


def tune(arguments: argparse.Namespace) -> Outcome:
    """Measure the forms of a float model, and write the fastest one with its proof."""
    if arguments.device_report is not None:
        return _from_report(arguments)
    from edge_sphereface.cpu import usable_cpus
    from export.tuning.tune import TuningOptions
    from export.tuning.tune import tune as tune_model

    options = TuningOptions(
        threads=arguments.threads or [usable_cpus()],
        pinned_threads=arguments.pinned_threads,
        batch=arguments.batch,
        rounds=arguments.rounds,
        max_mib=arguments.max_mib,
        others=arguments.others,
        **({} if arguments.max_error is None else {"max_error": arguments.max_error}),
    )
    tuned = tune_model(arguments.model, arguments.output, options, reporter=Progress, note=note)
    made = tuned.made
    result = {
        "model": str(arguments.output) if made else None,
        "certificate": str(certificate_path(arguments.output)) if made else None,
        "spec": made.spec.as_json() if made else None,
        "parity": parity.summary(made.proof) if made else None,
        "stages": [
            {"threads": threads, "stage": stage, "way": _way(tile), "median_ms": round(median, 4)}
            for threads, stages in tuned.stages.items()
            for stage, ways in stages.items()
            for tile, median in sorted(ways.items(), key=lambda item: item[1])
        ],
        "tie": tuned.choice.is_tie,
        "rivals": [{**json_object(rival.report()), "name": rival.row.form.path.stem} for rival in tuned.choice.rivals],
        "load": json_object(tuned.choice.load),
        "networks": [{**json_object(row.report()), "name": row.form.path.stem} for row in tuned.choice.rows],
        "dropped": [{"model": name, "reason": reason} for name, reason in _dropped(tuned)],
    }
    return Outcome(result, _text(arguments, tuned), passed=made is not None)


def _from_report(arguments: argparse.Namespace) -> Outcome:
    """Write the form that a device chose, with the measurements of that device."""
    from export.rewrite.fast import rewrite
    from export.rewrite.tile import read_stages
    from export.tuning.device_report import read_device_report

    chosen = read_device_report(arguments.device_report)
    empty = {"stages": [], "networks": [], "rivals": [], "tie": False, "load": None, "dropped": []}
    reason = _not_ours(chosen, arguments.model)
    if reason or chosen is None:
        nothing = {"model": None, "certificate": None, "spec": None, "parity": None}
        return Outcome({**nothing, **empty}, f"{reason}; nothing was written", passed=False)
    tiles = read_stages(chosen.stages)
    made = rewrite(arguments.model, arguments.output, tiles=tiles, measured=chosen.measured, note=note)
    result = {
        "model": str(arguments.output),
        "certificate": str(certificate_path(arguments.output)),
        "spec": made.spec.as_json(),
        "parity": parity.summary(made.proof),
        **empty,
    }
    lines = [f"{arguments.output}: as {chosen.model} on {chosen.measured.processor}: {made.spec.tuning}"]
    return Outcome(result, "\n".join([*lines, parity.text(made.proof)]))


def _not_ours(chosen: DeviceChoice | None, model: Path) -> str:
    """Reason why the form that a device chose cannot be made from this model; empty if it can."""
    from edge_sphereface.inference.embedder import Embedder

    if chosen is None:
        return "the device could run none of the forms"
    if chosen.is_plain:
        return f"the device chose {chosen.model}, the plain model, which you have"
    if chosen.precision != "float32" or not chosen.stages:
        return f"the device chose {chosen.model} ({chosen.precision}), which `tune` does not make: ship that file"
    spec = Embedder(model, provider="cpu").spec
    if chosen.source_sha256 not in ("", spec.source_sha256):
        return f"the device chose among forms of another checkpoint (SHA-256 {chosen.source_sha256})"
    return ""


def _dropped(tuned: Tuned) -> Iterator[tuple[str, str]]:
    """List the networks that were not timed, with the reason."""
    for name, error in tuned.inexact.items():
        yield name, f"differs by {error:.1e} of the largest component"
    for form in tuned.choice.dropped:
        yield form.path.stem, form.dropped


def _way(tile: Tile | None) -> str:
    from edge_sphereface.model.tuning import DIRECT

    return DIRECT if tile is None else str(tile)


def _text(arguments: argparse.Namespace, tuned: Tuned) -> str:
    lines = ["residual layers of each stage, median ms (the best of what was tried):"]
    for threads, stages in tuned.stages.items():
        for stage, ways in stages.items():
            best = sorted(ways, key=ways.__getitem__)[:_SHOWN]
            shown = [f"{_way(way)} {ways[way]:.2f}" for way in best]
            if None not in best:
                shown.append(f"direct {ways[None]:.2f}")
            lines.append(f"  {threads} threads, stage {stage}: {', '.join(shown)}")
    lines += ["", f"{'whole network':<36} {'setting':<22} {'MiB':>6} {'median, ms':>10}"]
    lines += [
        f"{row.form.path.stem:<36} {row.setting!s:<22} {row.form.bytes / (1 << 20):>6.1f} "
        f"{row.latency.median_ms:>10.2f}"
        for row in tuned.choice.rows
    ]
    lines += ["", *rival_lines(tuned.choice), str(tuned.choice.load)]
    lines += [f"dropped {name}: {reason}" for name, reason in _dropped(tuned)]
    if tuned.made is None:
        return "\n".join([*lines, "", "no form is measurably faster than the plain model here; nothing was written"])
    return "\n".join([*lines, "", parity.text(tuned.made.proof), f"{arguments.output}: {tuned.made.spec.tuning}"])
