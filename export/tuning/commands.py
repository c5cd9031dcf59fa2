"""The command ``python -m export tune``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.cli.tune_command import rival_lines
from edge_sphereface.json_output import INLINE, rounded
from edge_sphereface.model.certificate import certificate_path
from export import parity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.model_selection import RivalReport, RowReport
    from edge_sphereface.model.spec import ModelSpec
    from export.parity import ParityReport
    from export.quantization.proof import ProofReport
    from export.tuning.device_report import DeviceChoice
    from export.tuning.near_exact import NearExact
    from export.tuning.tune import Tuned

_SHOWN = 5


def add_tune(commands: Commands) -> None:
    """Add the command ``tune``."""
    parser = commands.add_parser(
        "tune",
        parents=[json_option()],
        help="find the form of a float model that is fastest on this machine by measuring",
        description="Time every way to compute each stage (directly, or by Winograd's filtering in tiles of several "
        "sizes), then the best combinations as whole networks, in rounds. The fastest one is measured again beside the "
        "simpler ones, the plain model among them. The simplest that it is not measurably faster than is written, with "
        "its proof and its record; nothing is written if that is the plain model. The best form differs between a Pi "
        "4, a Pi 5 and an Orin: run this command on the device, or ship several forms (`rewrite --stages … "
        "--max-latency none`), let `edge-sphereface tune` choose there, and write its choice from its report.",
        epilog="examples: python -m export tune sphereface20.onnx --threads 2 -o sphereface20.tuned.onnx; "
        "python -m export tune sphereface20.onnx --device-report pi.json -o sphereface20.pi.onnx",
    )
    parser.add_argument("model", type=Path, help="float ONNX file that `convert` made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="numbers of threads to try (default: all)"
    )
    parser.add_argument("--pinned-threads", action="store_true", help="also try threads bound to processors")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="faces in an inference (default 1)")
    parser.add_argument(
        "--rounds", type=positive, default=100, metavar="N", help="samples of each network (default 100)"
    )
    parser.add_argument(
        "--max-seconds",
        type=above_zero,
        default=120.0,
        metavar="S",
        help="time limit of the search for each number of threads (default 120); what it cuts short is printed",
    )
    parser.add_argument("--max-mib", type=above_zero, metavar="M", help="largest size of the file in MiB")
    parser.add_argument(
        "--max-error",
        type=above_zero,
        metavar="E",
        help="largest relative difference from the plain network (default 1e-5)",
    )
    parser.add_argument(
        "--near-exact",
        type=Path,
        metavar="FILE.onnx",
        help="also make the fastest float network with 8-bit weights of the embedding layer, a form of its own "
        "precision, if its cosine to float is at least 0.9999 and it is measurably faster",
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """Latency of the residual layers of one stage, computed in one way.

    Attributes:
        threads: number of threads of an inference.
        stage: number of the stage, from 1.
        way: ``direct``, or the tile of Winograd's filtering, such as ``4x4``.
        median_ms: median latency, in milliseconds.
    """

    threads: int
    stage: int
    way: str
    median_ms: float = field(metadata=rounded(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """A whole network that was timed.

    Attributes:
        row: the network and its latency.
        name: name of the network.
    """

    row: RowReport = field(metadata=INLINE)
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRivalReport:
    """A simpler network that the fastest one was measured against once more.

    Attributes:
        rival: the network and its latency.
        name: name of the network.
    """

    rival: RivalReport = field(metadata=INLINE)
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedNetwork:
    """A network that was not timed.

    Attributes:
        model: name of the network.
        reason: why it was not timed.
    """

    model: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NearExactReport:
    """The near-exact form: the fastest float network with 8-bit weights of the embedding layer.

    Attributes:
        model: path of the model, whose precision is ``weights8``; None if it misses a bound.
        proof: comparison with the float network.
    """

    model: Path | None
    proof: ProofReport


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """What ``tune`` did. With ``--device-report`` nothing is measured, and the lists are empty.

    Attributes:
        model: path of the tuned model; None, with exit code 1, where no form is measurably faster than the plain model,
            or where the device chose a form that ``tune`` does not make.
        certificate: path of its parity certificate; None where nothing was written.
        spec: specification of the tuned model; None where nothing was written. With ``--device-report`` its ``tuning``
            holds the figures of the device, and ``plain_ms`` is null if the device did not time the plain model with
            that setting.
        parity: comparison with the plain model; None where nothing was written.
        stages: each way to compute the residual layers of a stage, the fastest of a stage first.
        tie: whether a simpler network is taken because the fastest is not measurably faster.
        rivals: simpler networks that the fastest one was measured against once more, the simplest first.
        cut_short: what the time limit ended early, in words; empty if the search was complete.
        load: other work on the machine meanwhile; None with ``--device-report``.
        networks: whole networks, the fastest first.
        dropped: networks that were not timed.
        near_exact: the near-exact form; None if it was not asked for, or if no float network may run here.
    """

    model: Path | None
    certificate: Path | None
    spec: ModelSpec | None
    parity: ParityReport | None
    stages: tuple[StageReport, ...] = ()
    tie: bool = False
    rivals: tuple[NamedRivalReport, ...] = ()
    cut_short: tuple[str, ...] = ()
    load: MachineLoad | None = None
    networks: tuple[NetworkReport, ...] = ()
    dropped: tuple[DroppedNetwork, ...] = ()
    near_exact: NearExactReport | None = None


def tune(arguments: argparse.Namespace) -> Outcome:
    """Measure the forms of a float model, and write the fastest one with its proof."""
    _check_near_exact(arguments)
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
        max_seconds=arguments.max_seconds,
        max_mib=arguments.max_mib,
        others=arguments.others,
        **({} if arguments.max_error is None else {"max_error": arguments.max_error}),
    )
    tuned = tune_model(arguments.model, arguments.output, options, reporter=Progress, note=note)
    made = tuned.made
    near_exact = _near_exact(arguments, tuned)
    report = TuneReport(
        model=arguments.output if made else None,
        certificate=certificate_path(arguments.output) if made else None,
        spec=made.spec if made else None,
        parity=parity.report(made.proof) if made else None,
        stages=tuple(
            StageReport(threads=threads, stage=stage, way=str(way), median_ms=median)
            for threads, stages in tuned.stages.items()
            for stage, ways in stages.items()
            for way, median in sorted(ways.items(), key=lambda item: item[1])
        ),
        tie=tuned.choice.is_tie,
        rivals=tuple(
            NamedRivalReport(rival=rival.report(), name=rival.row.form.path.stem) for rival in tuned.choice.rivals
        ),
        cut_short=tuned.cut_short,
        load=tuned.choice.load,
        networks=tuple(NetworkReport(row=row.report(), name=row.form.path.stem) for row in tuned.choice.rows),
        dropped=tuple(DroppedNetwork(model=name, reason=reason) for name, reason in _dropped(tuned)),
        near_exact=near_exact
        and NearExactReport(model=next(iter(near_exact.files), None), proof=near_exact.proof.report()),
    )
    return Outcome(report, _text(arguments, tuned) + _near_exact_text(near_exact), passed=made is not None)


def _check_near_exact(arguments: argparse.Namespace) -> None:
    """Check the options of the near-exact form before minutes of search."""
    from export.outputs import check_output

    if arguments.near_exact is None:
        return
    if arguments.device_report is not None:
        raise UsageError("--near-exact measures here, --device-report does not.", hint="give one of them")
    if arguments.batch != 1:
        raise UsageError("--near-exact is for one face in an inference.", hint="leave --batch out")
    check_output(arguments.near_exact, arguments.model)
    if arguments.near_exact.resolve() == arguments.output.resolve():
        raise UsageError(f"{arguments.output} is the output of the exact form.", hint="name another file")


def _near_exact(arguments: argparse.Namespace, tuned: Tuned) -> NearExact | None:
    from edge_sphereface.evaluation.latency import Plan
    from export.tuning.near_exact import make_near_exact

    best = tuned.choice.best
    if arguments.near_exact is None or best is None or (tuned.made is None and best.form.path != arguments.model):
        return None
    return make_near_exact(
        arguments.output if tuned.made else arguments.model,
        arguments.near_exact,
        setting=best.setting,
        plan=Plan.of(arguments.rounds),
        note=note,
    )


def _near_exact_text(near_exact: NearExact | None) -> str:
    if near_exact is None:
        return ""
    from export.quantization.report import proof_text

    words = ["", "", "near-exact form, with 8-bit weights of the embedding layer:", proof_text(near_exact.proof)]
    refused = f"refused: {'; '.join(near_exact.proof.missed)}; not written"
    return "\n".join([*words, *(map(str, near_exact.files) if near_exact.files else [refused])])


def _from_report(arguments: argparse.Namespace) -> Outcome:
    """Write the form that a device chose, with the measurements of that device."""
    from export.rewrite.fast import rewrite
    from export.rewrite.tile import read_stages
    from export.tuning.device_report import read_device_report

    chosen = read_device_report(arguments.device_report)
    reason = _not_ours(chosen, arguments.model)
    if reason or chosen is None:
        nothing = TuneReport(model=None, certificate=None, spec=None, parity=None)
        return Outcome(nothing, f"{reason}; nothing was written", passed=False)
    forms = read_stages(chosen.stages)
    made = rewrite(arguments.model, arguments.output, forms=forms, measured=chosen.measured, note=note)
    report = TuneReport(
        model=arguments.output,
        certificate=certificate_path(arguments.output),
        spec=made.spec,
        parity=parity.report(made.proof),
    )
    lines = [f"{arguments.output}: as {chosen.model} on {chosen.measured.processor}: {made.spec.tuning}"]
    return Outcome(report, "\n".join([*lines, parity.text(made.proof)]))


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


def _text(arguments: argparse.Namespace, tuned: Tuned) -> str:
    from export.rewrite.tile import StageForm

    lines = ["residual layers of each stage, median ms (the best of what was tried):"]
    for threads, stages in tuned.stages.items():
        for stage, ways in stages.items():
            best = sorted(ways, key=ways.__getitem__)[:_SHOWN]
            shown = [f"{way} {ways[way]:.2f}" for way in best]
            if StageForm() not in best:
                shown.append(f"{StageForm()} {ways[StageForm()]:.2f}")
            lines.append(f"  {threads} threads, stage {stage}: {', '.join(shown)}")
    lines += ["", f"{'whole network':<36} {'setting':<22} {'MiB':>6} {'median, ms':>10}"]
    lines += [
        f"{row.form.path.stem:<36} {row.setting!s:<22} {row.form.bytes / (1 << 20):>6.1f} "
        f"{row.latency.median_ms:>10.2f}"
        for row in tuned.choice.rows
    ]
    lines += ["", *rival_lines(tuned.choice), str(tuned.choice.load)]
    lines += [f"dropped {name}: {reason}" for name, reason in _dropped(tuned)]
    lines += [f"cut short by the time limit: {what}; give a larger --max-seconds" for what in tuned.cut_short]
    if tuned.made is None:
        return "\n".join([*lines, "", "no form is measurably faster than the plain model here; nothing was written"])
    return "\n".join([*lines, "", parity.text(tuned.made.proof), f"{arguments.output}: {tuned.made.spec.tuning}"])
