"""The command ``python -m benchmarks emulate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.emulation.processors import PROCESSORS
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import detector_options, json_option, open_named_detector, positive
from edge_sphereface.cli.runner import Outcome, Progress, note

if TYPE_CHECKING:
    import argparse

    from benchmarks.emulation.emulator import Emulator
    from edge_sphereface.cli.runner import Commands


def add_command(commands: Commands) -> None:
    """Add the command ``emulate``."""
    parser = commands.add_parser(
        "emulate",
        parents=[json_option(), detector_options()],
        help="compare embeddings of quantized models on emulated Arm and x86-64 processors with this machine",
        description="Embed the same crops here and under QEMU (downloaded into build/emulation, Debian only), and "
        "compare. Models with 8-bit weights also run with unsigned weights and with session.x64quantprecision, the "
        "other two ways to avoid saturation.",
        epilog="example: python -m benchmarks emulate m.int8.onnx --float m.onnx --photos photos -o emulated.json",
    )
    parser.add_argument("model", nargs="+", type=Path, help="quantized ONNX file")
    parser.add_argument("--float", dest="original", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="photographs of faces, or crops")
    parser.add_argument("--count", type=positive, default=40, metavar="N", help="number of crops (default 40)")
    parser.add_argument(
        "--processors", nargs="+", choices=sorted(PROCESSORS), default=sorted(PROCESSORS), help="default: all"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_emulate)


def run_emulate(arguments: argparse.Namespace, emulator: Emulator | None = None) -> Outcome:
    """Compare embeddings on this machine and on emulated processors.

    Args:
        arguments: arguments of the command.
        emulator: emulator of the processors; None for the one in ``build/emulation``.
    """
    from benchmarks.emulation.compare import EmulateReport, compare, text
    from edge_sphereface.inference.embedder import Embedder
    from export.quantization.crops import proof_crops

    spec = Embedder(arguments.original, provider="cpu").spec
    progress, detector = Progress("crops"), open_named_detector(arguments)
    crops = proof_crops(arguments.photos, spec, detector, count=arguments.count, progress=progress)
    rows = compare(
        arguments.model, arguments.original, crops, processors=arguments.processors, emulator=emulator, note=note
    )
    result = EmulateReport(environment=environment.describe(), emulated=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, text(rows))
