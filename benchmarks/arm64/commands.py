"""The command ``python -m benchmarks arm64``."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.arm64.peers_command import add_command as add_peers
from benchmarks.emulation.processors import PROCESSORS
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option
from edge_sphereface.cli.runner import Outcome, UsageError, note
from edge_sphereface.storage.files import SHARED, atomic_write, ensure_folder
from export.told_options import add_told_options, told

if TYPE_CHECKING:
    import argparse

    from benchmarks.emulation.emulator import Emulator
    from edge_sphereface.cli.runner import Commands

FOLDER = Path("build/arm64")
DEPENDENCIES = ("numpy", "onnxruntime", "opencv-python-headless")


def add_command(commands: Commands) -> None:
    """Add the command ``arm64``."""
    parser = commands.add_parser(
        "arm64",
        parents=[json_option()],
        help="test the built wheel on emulated Arm cores: features, agreement with this machine, instruction counts",
        description="Build the wheel, install it with its arm64 dependencies into a small arm64 system (Debian only; "
        "downloaded into build/emulation), run every feature on each core under QEMU, and compare with this machine. "
        "The folder keeps cores that passed and counts by everything that they depend on, so that an interrupted run "
        "continues. The exit code is 1 if a feature fails or a difference exceeds its bound.",
        epilog="examples: python -m benchmarks arm64 -o results; "
        "python -m benchmarks arm64 --processors cortex-a72 --with onnxruntime==1.20.0 --no-counts",
    )
    parser.add_argument(
        "--processors", nargs="+", choices=sorted(PROCESSORS), default=list(PROCESSORS), help="default: all"
    )
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="default: the official one, else random weights"
    )
    parser.add_argument("--wheel", type=Path, metavar="FILE.whl", help="test this wheel instead of building one")
    parser.add_argument(
        "--with",
        dest="versions",
        nargs="+",
        default=[],
        metavar="NAME==VERSION",
        help="versions of numpy, onnxruntime or opencv-python-headless (default: those of this environment)",
    )
    parser.add_argument(
        "--release", default="", metavar="NAME", help="release of Debian, such as trixie (default: this machine's)"
    )
    parser.add_argument(
        "--no-counts", action="store_true", help="do not count instructions, which requires a C compiler"
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help=f"folder for the files that are made (default {FOLDER})"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="write arm64.json and arm64.md")
    add_told_options(parser)
    parser.set_defaults(run=run_arm64)
    add_peers(parser.add_subparsers(title="commands", metavar="COMMAND"))


def run_arm64(arguments: argparse.Namespace, emulator: Emulator | None = None) -> Outcome:
    """Test the wheel on emulated arm64 cores.

    Args:
        arguments: arguments of the command.
        emulator: emulator of the cores; None for the one in ``build/emulation``.
    """
    from benchmarks.arm64.kept_results import KeptResults
    from benchmarks.arm64.models import prepare
    from benchmarks.arm64.report import Arm64Report, text
    from benchmarks.arm64.smoke import SmokeOptions, build_wheel, smoke
    from benchmarks.emulation.emulator import Emulator

    options = SmokeOptions(
        processors=arguments.processors,
        versions=wanted_versions(arguments.versions),
        counts=not arguments.no_counts,
    )
    emulator = emulator or Emulator(release=arguments.release)
    for named in (arguments.wheel, arguments.checkpoint):
        if named is not None and not named.is_file():
            raise UsageError(f"There is no file {named}.", hint="check the path, or leave the option out")
    if arguments.output is not None:
        ensure_folder(arguments.output)
    wheel = arguments.wheel or build_wheel(arguments.folder)
    models = prepare(arguments.checkpoint, folder=arguments.folder, told=told(arguments), note=note)
    results = KeptResults(arguments.folder / "results")
    report = Arm64Report(
        environment=environment.describe(),
        result=smoke(models, wheel, options, emulator=emulator, results=results, note=note),
    )
    page = text(report)
    if arguments.output is not None:
        keep_result(report, arguments.output / "arm64.json")
        with atomic_write(arguments.output / "arm64.md", mode=SHARED) as stream:
            stream.write(f"# arm64, emulated\n\n{page}\n".encode())
    return Outcome(report, page, report.result.passed)


def wanted_versions(words: list[str]) -> dict[str, str]:
    """Return the versions of the dependencies to install, by name: those given as NAME==VERSION, else those here."""
    versions = {name: version(name) for name in DEPENDENCIES}
    for word in words:
        name, separator, value = word.partition("==")
        if name not in DEPENDENCIES or not separator or not value:
            raise UsageError(f"Expected NAME==VERSION with a name of {', '.join(DEPENDENCIES)}, got {word!r}.")
        versions[name] = value
    return versions
