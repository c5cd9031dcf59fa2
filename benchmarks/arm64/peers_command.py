"""The command ``python -m benchmarks arm64 peers``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.arm64.cores import CORES
from benchmarks.arm64.skipped_cases import OURS, parse_skip
from benchmarks.contenders import peer_names
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, positive
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder

if TYPE_CHECKING:
    import argparse

    from benchmarks.emulation.emulator import Emulator
    from edge_sphereface.cli.runner import Commands

FOLDER = Path("build/arm64/peers")
_NOT_ON_ARM = ("edge", "edge_openvino", "edge_pinned", "edge_tuned", "mindspore_cpu")


def add_command(commands: Commands) -> None:
    """Add the command ``peers``."""
    peers = [name for name in peer_names() if name not in _NOT_ON_ARM]
    parser = commands.add_parser(
        "peers",
        parents=[json_option()],
        help="count instructions and moved data of an inference by this and other runtimes on emulated Arm cores",
        description="Run models by this project's runtime and by the aarch64 wheels of others on emulated cores, and "
        "count what one inference executes, and what it moves between memory and caches of the core's real sizes. Each "
        "output is compared with that of the float model on this machine. The folder keeps results by everything that "
        "they depend on, so that an interrupted run continues. The exit code is 1 if a case fails.",
        epilog="example: python -m benchmarks arm64 peers float.onnx tuned.onnx int8.onnx --published -o peers",
    )
    parser.add_argument("model", nargs="+", type=Path, help="ONNX file; the first one is a float32 file, layout nchw")
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers, help="other runtimes (default: all)")
    parser.add_argument("--processors", nargs="+", choices=list(CORES), default=list(CORES), help="default: all")
    parser.add_argument(
        "--skip",
        nargs="+",
        default=[],
        type=partial(parse_skip, contenders=(OURS, *peers)),
        metavar="CONTENDER@CORE[:PRECISION|:FILE]=REASON",
        help=f"leave out cases, {OURS} for those of this project, and state the reason in their rows",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="also count networks of ncnn's benchmark, and fit and judge a cost model by their published times",
    )
    parser.add_argument(
        "--at-once", type=positive, default=1, metavar="N", help="number of cases that run at a time (default 1)"
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"folder of converted models and kept results (default {FOLDER})"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write peers.json and peers.md")
    parser.set_defaults(run=run_peers)


def run_peers(arguments: argparse.Namespace, emulator: Emulator | None = None) -> Outcome:
    """Count what contenders execute for one inference.

    Args:
        arguments: arguments of the command.
        emulator: emulator of the cores; None for the one in ``build/emulation``.
    """
    from benchmarks.arm64.peers import PeerCounter, count_peers, count_published, select_peer_cases
    from benchmarks.arm64.peers_report import PeersReport, text
    from benchmarks.emulation.emulator import Emulator
    from edge_sphereface.inference.embedder import Embedder

    missing = [str(path) for path in arguments.model if not path.is_file()]
    if missing:
        raise UsageError(f"There is no file {', '.join(missing)}.", hint="check the path")
    if arguments.output is not None:
        ensure_folder(arguments.output)
    specs = {path: Embedder(path, provider="cpu").spec for path in arguments.model}
    cases = select_peer_cases(specs, arguments.peers, arguments.processors)
    emulator = emulator or Emulator()
    first = arguments.model[0]
    counter = PeerCounter(emulator, first, arguments.folder)
    model = None
    if arguments.published:
        model = count_published(counter, at_once=arguments.at_once, progress=Progress("published networks"))
    rows = count_peers(
        cases,
        counter,
        skips=arguments.skip,
        model=model,
        at_once=arguments.at_once,
        progress=Progress("cases"),
        note=note,
    )
    report = PeersReport(
        environment=environment.describe(),
        emulator=f"QEMU {emulator.version()} user mode",
        reference=first.name,
        network=f"{specs[first].architecture}, channels {', '.join(map(str, specs[first].widths))}",
        peers=tuple(rows),
        model=model,
    )
    page = text(report)
    if arguments.output is not None:
        keep_result(report, arguments.output / "peers.json")
        with atomic_write(arguments.output / "peers.md", mode=SHARED) as stream:
            stream.write(f"# Runtimes on emulated Arm cores\n\n{page}\n".encode())
    return Outcome(report, page, not any(row.error for row in rows))
