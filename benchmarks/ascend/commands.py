"""The commands ``python -m benchmarks ascend``: ``run``, ``import`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.accuracy import evaluate
from benchmarks.accuracy.embeddings import EmbeddingStore, embed_images
from benchmarks.ascend import checked, comparison, imported, ledger, probe
from benchmarks.ascend.comparison import Network
from benchmarks.ascend.formats.recording import Stated
from benchmarks.latency import example_crops
from benchmarks.result_file import keep_result, load_result
from edge_sphereface.cli.arguments import json_option, positive
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.evaluation.pairs import given_landmarks, images_of, read_lfw

if TYPE_CHECKING:
    import argparse

    from benchmarks.ascend.native import Forward, NativeAccuracy, NativeRow
    from benchmarks.ascend.row import LedgerRow
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.model.spec import ModelSpec


def add_command(added: Commands) -> None:
    """Add the command ``ascend``."""
    command = added.add_parser(
        "ascend",
        help="compare the native path with the edge path: measured, imported, published",
        description="Compare the native path on Ascend with the edge path: figures measured here, imported from "
        "another machine, or published.",
    )
    kinds = command.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(kinds)
    _add_import(kinds)
    _add_compare(kinds)


def _add_run(kinds: Commands) -> None:
    command = kinds.add_parser(
        "run",
        parents=[json_option()],
        help="run the checkpoint in MindSpore, on an Ascend NPU if there is one, else on the CPU",
        description="Run the checkpoint with MindSpore, on Ascend if there is one, else on the CPU, and record "
        "latency and embeddings beside those of the edge path.",
        epilog="example: python -m benchmarks ascend run --checkpoint x.ckpt --edge latency.json -o ascend.json",
    )
    command.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="checkpoint; without it, nothing native is run"
    )
    command.add_argument("--lfw", type=Path, metavar="FOLDER", help="also measure its accuracy in float16")
    command.add_argument(
        "--edge", nargs="+", type=Path, default=[], metavar="FILE", help="results of `latency` and `accuracy`"
    )
    command.add_argument("--rounds", type=positive, default=100, metavar="N", help="samples (default 100)")
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    command.set_defaults(run=run_native)


def _add_import(kinds: Commands) -> None:
    command = kinds.add_parser(
        "import",
        parents=[json_option()],
        help="import runs from other machines",
        description="Read what a tool printed or wrote on another machine: ais_bench (output, or its summary JSON), "
        "msame, MindSpore's program for Ascend 310 (infer.log, test_perform_static.txt), MxBase, MindSpore Lite's "
        "benchmark, Huawei's benchmark, trtexec, the result of a proof kit, the original's line LFWACC=… std=… thd=…, "
        "or the result of `ascend run`. One run per file.",
        epilog="example: python -m benchmarks ascend import ais_bench.log --source 'Atlas 300I, our lab' "
        "--device 'Ascend 310P3' --precision float16 --kit-check check.json -o imported.json",
    )
    command.add_argument("file", nargs="+", type=Path, help="log or JSON file")
    command.add_argument("--source", required=True, metavar="TEXT", help="who recorded the run, where and when")
    command.add_argument("--device", metavar="TEXT", help="device, such as 'Ascend 310P3'")
    command.add_argument("--precision", metavar="TEXT", help="precision of the computation, such as float16")
    command.add_argument("--batch", type=positive, metavar="N", help="crops in one call, where the tool prints none")
    command.add_argument(
        "--kit-check",
        type=Path,
        metavar="CHECK.json",
        help="what `edge-sphereface check-outputs --json` printed of the outputs; without it, rows are not proven",
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    command.set_defaults(run=run_import)


def _add_compare(kinds: Commands) -> None:
    command = kinds.add_parser(
        "compare",
        parents=[json_option()],
        help="write the ledger: measured, imported and published rows in a table and a picture",
        description="Write ledger.json, ledger.md and ledger.png: rows measured here, imported and published, in three "
        "colors and marks. Rows that are known only as throughput are drawn apart from latencies.",
        epilog="example: python -m benchmarks ascend compare ascend.json imported.json --edge tuning.json -o ledger",
    )
    command.add_argument("result", nargs="*", type=Path, help="results of `ascend run`, `ascend import` and `report`")
    command.add_argument(
        "--edge",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="results of `latency`, `tuning` and `accuracy`: forms of this project at batch 1 are shown",
    )
    command.add_argument(
        "--network", metavar="TEXT", help="network of the rows of RESULT that name none, as 'SphereFace-20, half width'"
    )
    command.add_argument("--edge-network", metavar="TEXT", help="network of the rows of --edge")
    command.add_argument("--edge-untrained", action="store_true", help="the network of --edge has untrained weights")
    command.add_argument("--remark", default="", metavar="TEXT", help="notes on the networks and the runs")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder of the files")
    command.set_defaults(run=run_compare)


def run_native(arguments: argparse.Namespace) -> Outcome:
    """Run ``ascend run``: native runs, edge runs and published figures."""
    timed, presence = environment.TimedRun(), probe.probe()
    note(presence.sentence())
    device = "Ascend" if presence.has_npu else "CPU"
    native = _run_native(arguments, device) if arguments.checkpoint is not None else []
    results = [load_result(path) for path in arguments.edge]
    here = timed.describe()
    rows = ledger.collect(comparison.edge_rows(results, here=here.environment), native)
    result = ledger.AscendReport(
        environment=here,
        presence=presence.sentence(),
        probe=presence,
        native=tuple(native),
        ledger=tuple(rows),
    )
    keep_result(result, arguments.output)
    return Outcome(result, f"{presence.sentence()}\n\n{ledger.text(rows)}")


def _run_native(arguments: argparse.Namespace, device: str) -> list[NativeRow]:
    from benchmarks.ascend import native
    from export.parity import normalize_plainly

    note(f"running {arguments.checkpoint.name} by MindSpore on device_target={device!r}")
    spec = _spec_of(arguments.checkpoint)

    def judge(forward: Forward) -> NativeAccuracy:
        listed, folder, landmarks = read_lfw(arguments.lfw)
        found = embed_images(
            images_of(listed),
            folder,
            spec=spec,
            embed=lambda crops: forward(normalize_plainly(crops, spec)),
            store=EmbeddingStore("native", spec.embedding_size, keep=False),
            locate=given_landmarks(landmarks or {}),
            progress=Progress("photographs by MindSpore"),
        )
        figures = evaluate.judge(evaluate.score(listed, found))
        return native.NativeAccuracy(
            accuracy=figures.accuracy,
            accuracy_std=figures.accuracy_std,
            accuracy_interval=figures.accuracy_interval,
            threshold=figures.threshold,
            pairs=figures.pairs,
        )

    floats = normalize_plainly(example_crops(spec, 1)[:4], spec)
    chosen = judge if arguments.lfw is not None else None
    return native.run(arguments.checkpoint, device, floats, rounds=arguments.rounds, judge=chosen)


def _spec_of(checkpoint: Path) -> ModelSpec:
    """Specification of a model made from this checkpoint."""
    from export.convert import ConversionOptions, model_spec
    from export.source import open_network

    with open_network(checkpoint) as network:
        return model_spec(network, ConversionOptions())


def run_import(arguments: argparse.Namespace) -> Outcome:
    """Run ``ascend import``: read runs from another machine.

    Raises:
        UsageError: the source is empty, or a run was given twice.
    """
    if not arguments.source.strip():
        raise UsageError("Expected the source of the runs, got nothing.", hint="say who recorded them, where and when")
    stated = Stated(
        source=arguments.source, device=arguments.device, precision=arguments.precision, batch=arguments.batch
    )
    read: dict[str, list[LedgerRow]] = {}
    for path in arguments.file:
        found = imported.read(path, stated)
        digest = found[0].file.sha256 if found[0].file is not None else path.name
        if digest in read:
            raise UsageError(f"{path} holds the same run as a file before it.", hint="give each run once")
        read[digest] = found
    rows = [row for found in read.values() for row in found]
    if arguments.kit_check is not None:
        rows = checked.join(rows, checked.read_check(arguments.kit_check))
    result = ledger.ImportedReport(environment=environment.describe(), ledger=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, ledger.text(rows))


def run_compare(arguments: argparse.Namespace) -> Outcome:
    """Run ``ascend compare``: the table and the picture of all rows."""
    here = environment.describe()
    rows = comparison.gather(
        [load_result(path) for path in arguments.result],
        [load_result(path) for path in arguments.edge],
        network=Network(name=arguments.network),
        edge_network=Network(name=arguments.edge_network, weights="untrained" if arguments.edge_untrained else None),
        here=here,
    )
    report = ledger.ImportedReport(environment=here, ledger=tuple(rows))
    written = comparison.write(report, arguments.output, remark=arguments.remark)
    return Outcome(comparison.WrittenLedger(files=tuple(written)), "\n".join(map(str, written)))
