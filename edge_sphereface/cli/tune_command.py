"""``edge-sphereface tune``."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import above_zero, cosine, json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.json_output import OMIT_NONE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.model_selection import Choice, RivalReport, Row, RowReport


def add_command(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "tune",
        parents=[json_option()],
        help="find the fastest form of a model on this device, and its number of threads",
        description="Time forms of one network (plain, rewritten, quantized) on this device, in rounds. The fastest is "
        "measured once more against the simpler ones; a simpler one is taken unless the fastest is measurably faster "
        "(the 95 % interval of the ratio lies below 1). A form whose certificate does not hold here is dropped. One "
        "model is in memory at a time.",
        epilog="examples: edge-sphereface tune face.onnx face.fast.onnx face.int8.onnx -o best.onnx; edge-sphereface "
        "tune face.onnx face.int8.onnx face.openvino.onnx --provider cpu openvino",
    )
    parser.add_argument("model", nargs="+", type=Path, help="ONNX files made from one checkpoint, and forms for ncnn")
    parser.add_argument(
        "--threads", nargs="+", type=thread_count, metavar="N", help="default: 1 and all usable processors"
    )
    parser.add_argument("--pinned-threads", action="store_true", help="try pinned threads as well")
    parser.add_argument("--memory-arena", action="store_true", help="try the memory arena as well")
    parser.add_argument(
        "--provider",
        nargs="+",
        default=["cpu"],
        metavar="NAME",
        help="execution providers to try, of those that this onnxruntime has (default cpu)",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="faces in an inference (default 1)")
    parser.add_argument(
        "--rounds",
        type=positive,
        default=100,
        metavar="N",
        help="samples of each of the last rivals; the search takes fewer (default 100)",
    )
    parser.add_argument("--max-mib", type=above_zero, metavar="M", help="largest file")
    parser.add_argument("--min-cosine", type=cosine, metavar="C", help="least mean cosine of a quantized form to float")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.onnx",
        help="copy the chosen form, with its certificate; as FILE.ncnn if that is for ncnn",
    )
    parser.set_defaults(run=tune)


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedForm:
    """A form that was not measured.

    Attributes:
        model: path of the model file.
        reason: why it may not run here.
    """

    model: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """What ``tune`` measured.

    The search times every form with every setting. The fastest is measured once more against simpler ones, and a
    simpler one is taken unless the fastest is measurably faster.

    Attributes:
        processor: name of the processor or board.
        onnxruntime: version of onnxruntime; None if it is not installed.
        ncnn: version of ncnn; None, and left out in JSON, if it is not installed.
        batch: number of faces in an inference.
        source_sha256: SHA-256 of the checkpoint that all forms come from, in hexadecimal; None if every form was
            dropped.
        load: other work on the machine meanwhile.
        best: the simplest rival that the fastest is not measurably faster than, or the fastest; None if every form was
            dropped, with exit code 1.
        tie: whether ``best`` is a simpler way that is as fast as the fastest.
        fastest: fastest form of the search, measured once more; None if every form was dropped.
        rivals: simpler forms and settings that it was measured against, the simplest first.
        rows: forms and settings of the search, the fastest first.
        dropped: forms that were not measured.
        output: path of the copy of ``best``; None if none was asked for.
    """

    processor: str
    onnxruntime: str | None
    ncnn: str | None = field(metadata=OMIT_NONE)
    batch: int
    source_sha256: str | None
    load: MachineLoad
    best: RowReport | None
    tie: bool
    fastest: RowReport | None
    rivals: tuple[RivalReport, ...]
    rows: tuple[RowReport, ...]
    dropped: tuple[DroppedForm, ...]
    output: Path | None


def tune(arguments: argparse.Namespace) -> Outcome:
    """Measure, and name the form to use."""
    from edge_sphereface.cpu import usable_cpus
    from edge_sphereface.doctor.machine import read_machine
    from edge_sphereface.evaluation.model_selection import Measurement, choose, settings

    if arguments.output is not None:
        _check_output(arguments.output)
    threads = arguments.threads or [1, usable_cpus()]
    providers = _resolved(arguments.provider)
    how = settings(threads, pinned=arguments.pinned_threads, arena=arguments.memory_arena, providers=providers)
    if (arguments.pinned_threads or arguments.memory_arena) and not all(setting.is_on_cpu for setting in how):
        note("warning: pinned threads and the memory arena are tried on the provider cpu alone")
    choice = choose(
        arguments.model,
        how,
        what=Measurement(batch=arguments.batch, rounds=arguments.rounds),
        max_mib=arguments.max_mib,
        min_cosine=arguments.min_cosine,
        progress=Progress("turns of models"),
    )
    uncertified = (row.form.path for row in choice.rows if row.form.certified is None)
    for path in dict.fromkeys(uncertified):
        note(f"warning: {path} has no certificate beside it, so nothing says that it is right here")
    output = None
    if arguments.output is not None and choice.best is not None:
        output = _copy(choice.best, arguments.output)
    if choice.load.is_high:
        note(f"warning: {choice.load}; measure on an idle machine")
    machine = read_machine()
    report = TuneReport(
        processor=machine.cpu_model or machine.processor,
        onnxruntime=_onnxruntime_version(),
        ncnn=machine.wheels.get("ncnn"),
        batch=arguments.batch,
        source_sha256=choice.best.form.spec.source_sha256 if choice.best else None,
        load=choice.load,
        best=choice.best.report() if choice.best else None,
        tie=choice.is_tie,
        fastest=choice.fastest.report() if choice.fastest else None,
        rivals=tuple(rival.report() for rival in choice.rivals),
        rows=tuple(row.report() for row in choice.rows),
        dropped=tuple(DroppedForm(model=form.path, reason=form.dropped) for form in choice.dropped),
        output=output,
    )
    return Outcome(report, _text(choice, report), passed=choice.best is not None)


def _resolved(providers: Sequence[str]) -> list[str]:
    """Short names of the providers, with the best one that is installed in place of ``auto``."""
    from edge_sphereface.inference.session import AUTO, AUTO_ORDER, short_name
    from edge_sphereface.inference.telemetry import import_onnxruntime

    def named(provider: str) -> str:
        if provider.lower() != AUTO:
            return short_name(provider)
        available = import_onnxruntime().get_available_providers()
        return short_name(next(name for name in AUTO_ORDER if name in available))

    return list(dict.fromkeys(map(named, providers)))


def _onnxruntime_version() -> str | None:
    """Version of the onnxruntime that runs, of which an environment may hold several wheels."""
    from edge_sphereface.errors import ProviderError
    from edge_sphereface.inference.telemetry import import_onnxruntime

    try:
        return str(import_onnxruntime().__version__)
    except ProviderError:
        return None


def _check_output(output: Path) -> None:
    """Before minutes of timing."""
    if not output.parent.is_dir():
        raise UsageError(f"There is no folder {output.parent} for {output.name}.", hint="create the folder first")


def _copy(row: Row, named: Path) -> Path:
    """The model, whose copy has a suffix that fits, and its certificate, which is that of any copy of the file."""
    from edge_sphereface.model.certificate import certificate_path
    from edge_sphereface.model.ncnn_file import is_ncnn_file
    from edge_sphereface.storage.files import SHARED, atomic_write

    chosen = row.form.path
    output = named if is_ncnn_file(named) == is_ncnn_file(chosen) else named.with_suffix(chosen.suffix)
    certificate_path(output).unlink(missing_ok=True)  # that of another file proves nothing
    pairs = [(chosen, output), (certificate_path(chosen), certificate_path(output))]
    for source, target in pairs:
        if source.is_file():
            with source.open("rb") as stream, atomic_write(target, mode=SHARED) as copy:
                shutil.copyfileobj(stream, copy)
    return output


def _text(choice: Choice, report: TuneReport) -> str:
    lines = []
    if choice.rows:
        width = max(len(row.form.path.name) for row in choice.rows)
        first = choice.rows[0].latency.median_ms
        head = f"{'model':<{width}} {'precision':<9} {'setting':<24} {'MiB':>6} {'median, ms':>10} "
        lines.append(f"{head}{'p95, ms':>8} {'samples':>7} {'times':>6}")
        lines += [
            f"{row.form.path.name:<{width}} {row.form.spec.precision:<9} {row.setting!s:<24} "
            f"{row.form.bytes / (1 << 20):>6.1f} {row.latency.median_ms:>10.2f} {row.latency.p95_ms:>8.2f} "
            f"{row.latency.samples:>7} {row.latency.median_ms / first:>6.2f}"
            for row in choice.rows
        ]
        lines.append("")
    lines += [f"dropped  {form.path}: {form.dropped}" for form in choice.dropped]
    if choice.best is None:
        return "\n".join([*lines, "No form may run here."])
    lines += rival_lines(choice)
    best = choice.best.setting
    flags = f"--threads {best.threads}{' --pinned-threads' if best.pinned_threads else ''}"
    flags += " --memory-arena" if best.memory_arena else ""
    flags += f" --provider {best.provider}" if best.provider else ""
    lines.append(
        f"{'as fast' if choice.is_tie else 'fastest'}  {choice.best.form.path} with {flags}, on {report.processor}"
    )
    if report.output is not None:
        lines.append(f"copied   {report.output}")
    return "\n".join(lines)


def rival_lines(choice: Choice) -> list[str]:
    """How the fastest did against the simpler ways when they were measured anew."""
    if choice.fastest is None or not choice.rivals:
        return []
    name = f"{choice.fastest.form.path.name}, {choice.fastest.setting}"
    lines = [f"measured anew: {name}, over the simpler ways (95 % interval of the ratio):"]
    for rival in choice.rivals:
        way = f"{rival.row.form.path.name}, {rival.row.setting}"
        verdict = "a tie" if rival.ratio.verdict == "tie" else rival.ratio.verdict
        lines.append(f"  {way}: {rival.ratio}, {verdict}")
    if choice.best is not None and choice.is_tie:
        best = f"{choice.best.form.path.name}, {choice.best.setting}"
        lines.append(f"taken: {best}, the simplest that the fastest is not measurably faster than")
    return lines
