"""The command ``pipeline`` of ``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.pipeline import measure
from benchmarks.pipeline.contenders import Setup, find_contender, peer_names
from benchmarks.pipeline.people import choose_photographs, write_orl_faces
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import json_option, positive, thread_count
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.detection.yunet import cached_model
from edge_sphereface.inference.embedder import Embedder

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands

_DETECTORS = ("yunet", "mtcnn")


def add_command(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "pipeline",
        parents=[json_option()],
        help="measure the whole way from a photograph to names, beside other packages: time and accuracy",
        description="Take labeled photographs through all stages of this project and of other packages: decode, "
        "detect, landmarks, align, embed, search. Contenders take turns within one run, each in a separate process. "
        "Each person is enrolled from one photograph; accuracy is that of the same photographs.",
        epilog="example: python -m benchmarks pipeline float.onnx int8.onnx --threads 1 2 -o pipeline.json",
    )
    parser.add_argument(
        "model", nargs="+", type=Path, help="ONNX file; other packages get the first one, a float model of layout nchw"
    )
    parser.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="one folder for each person, as LFW's (default: the ORL faces)"
    )
    parser.add_argument(
        "--count", type=positive, default=400, metavar="N", help="largest number of photographs (default 400)"
    )
    parser.add_argument("--threads", nargs="+", type=thread_count, default=[1], metavar="N", help="default: 1")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=peer_names(),
        default=peer_names(),
        help="other packages, each installed in a virtual environment in build/peers on first use (default: all; "
        "without a name: none)",
    )
    parser.add_argument("--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    parser.set_defaults(run=run_pipeline)


def run_pipeline(arguments: argparse.Namespace) -> Outcome:
    """Run ``pipeline``: all contenders on the same photographs."""
    cases = {threads: _cases(arguments, threads) for threads in arguments.threads}
    with TemporaryDirectory() as temporary:
        folder = arguments.photos
        if folder is None:
            folder = Path(temporary)
            write_orl_faces(folder)
        photographs = choose_photographs(folder, arguments.count)
        timed = environment.TimedRun()
        rows = [
            row
            for threads, some in cases.items()
            for row in measure.measure(some, folder, photographs, progress=Progress(f"threads {threads}: photographs"))
        ]
    result = measure.PipelineReport(
        environment=timed.describe(),
        people=sum(photograph.enrolled for photograph in photographs),
        photographs=len(photographs),
        pipelines=tuple(rows),
    )
    keep_result(result, arguments.output)
    foot = f"medians in milliseconds; {result.people} people, {result.photographs} photographs"
    return Outcome(result, f"{measure.text(rows)}\n\n{foot}")


def _cases(arguments: argparse.Namespace, threads: int) -> list[measure.Case]:
    """Cases of one number of threads: this project with each model and detector, and the peers with the first model."""
    yunet = arguments.detector_model or cached_model()
    specs = {path: Embedder(path).spec for path in arguments.model}
    ours = [
        ("edge", f"edge_sphereface: {path.stem}, {detector}", path, detector)
        for path in specs
        for detector in _DETECTORS
    ]
    peers = [(name, find_contender(name).title, arguments.model[0], "") for name in arguments.peers]
    return [
        measure.Case(
            contender=contender,
            label=label,
            setup=Setup(
                model=str(path.absolute()),
                spec=specs[path],
                detector=detector,
                yunet=str(yunet.absolute()),
                threads=threads,
                folder="",
            ),
        )
        for contender, label, path, detector in (*ours, *peers)
    ]
