"""The commands ``identification``, ``gallery-search`` and ``embed-folder`` of ``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import detector_options, json_option, open_named_detector, positive
from edge_sphereface.cli.runner import Outcome, Progress
from edge_sphereface.storage.files import SHARED, atomic_write

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands


def add_commands(commands: Commands) -> None:
    """Add the commands of galleries."""
    _add_identification(commands)
    _add_search(commands)
    _add_scale(commands)


def _add_identification(commands: Commands) -> None:
    parser = commands.add_parser(
        "identification",
        parents=[json_option(), detector_options()],
        help="measure identification: rank-1, and DIR at a false alarm rate of 1 %%",
        description="Enroll the people with at least 20 photographs, from 5 each. Identify their other photographs and "
        "500 strangers by a gallery file.",
        epilog="example: python -m benchmarks identification float.onnx int8.onnx --lfw lfw --plot identification.png",
    )
    parser.add_argument("model", nargs="+", type=Path, help="ONNX file")
    parser.add_argument(
        "--lfw", type=Path, required=True, metavar="FOLDER", help="folder with images/ and lfw_landmark.txt"
    )
    parser.add_argument("--detect", action="store_true", help="detect landmarks instead of using the given ones")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_identification)


def run_identification(arguments: argparse.Namespace) -> Outcome:
    """Run ``identification``: all models on the same photographs."""
    from benchmarks import plots
    from benchmarks.accuracy.embeddings import EmbeddingStore, embed_images, landmarks_digest
    from benchmarks.gallery import identification
    from edge_sphereface import __version__
    from edge_sphereface.evaluation.pairs import detected_landmarks, given_landmarks, read_landmarks
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.storage.files import sha256_of

    protocol = identification.make_protocol(arguments.lfw / "images")
    if arguments.detect:
        detector = open_named_detector(arguments)
        kind, locate = detector.name, detected_landmarks(detector)
        located_by = f"{kind}-{__version__}"
    else:
        landmarks = read_landmarks(arguments.lfw / "lfw_landmark.txt")
        kind, locate = "given", given_landmarks(landmarks)
        located_by = f"given-{landmarks_digest(landmarks)}"
    rows = []
    for path in arguments.model:
        embedder = Embedder(path)
        found = embed_images(
            protocol.images(),
            arguments.lfw / "images",
            spec=embedder.spec,
            embed=embedder.embed,
            store=EmbeddingStore(f"{sha256_of(path)[:24]}-{located_by}", embedder.spec.embedding_size),
            locate=locate,
            progress=Progress(f"{path.name}: photographs"),
        )
        rows.append(
            identification.IdentificationRow(
                label=path.stem if kind == "given" else f"{path.stem}, {kind}",
                model=path.name,
                precision=embedder.spec.precision,
                landmarks=kind,
                provider=embedder.provider,
                figures=identification.judge(identification.ask(protocol, found, embedder)),
            )
        )
    result = identification.IdentificationReport(environment=environment.describe(), identification=tuple(rows))
    keep_result(result, arguments.output)
    if arguments.plot is not None:
        with atomic_write(arguments.plot, mode=SHARED) as stream:
            stream.write(plots.identification(rows))
    return Outcome(result, identification.text(rows))


def _add_search(commands: Commands) -> None:
    parser = commands.add_parser(
        "gallery-search",
        parents=[json_option()],
        help="measure latency and recall of galleries with many identities",
        description="Fill a gallery file (and, with --milvus, Milvus Lite with exact and graph search) with random "
        "identities. Time single searches in turn, and compare the answers with the product over all templates.",
        epilog="example: python -m benchmarks gallery-search --identities 100000 --milvus -o search.json",
    )
    parser.add_argument("--identities", type=positive, default=100_000, metavar="N", help="default: 100000")
    parser.add_argument(
        "--probes", type=positive, default=1000, metavar="N", help="probes for the recall (default: 1000)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=100, metavar="N", help="samples of the latency (default: 100)"
    )
    parser.add_argument("--milvus", action="store_true", help="also measure Milvus Lite; takes minutes")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result with raw samples")
    parser.set_defaults(run=run_search)


def run_search(arguments: argparse.Namespace) -> Outcome:
    """Run ``gallery-search``: galleries measured in turn."""
    from benchmarks.gallery import search

    timed = environment.TimedRun()
    rows = search.measure(
        arguments.identities,
        probes=arguments.probes,
        rounds=arguments.rounds,
        milvus=arguments.milvus,
        reporter=Progress,
    )
    result = search.GallerySearchReport(
        environment=timed.describe(workers_elsewhere=arguments.milvus), galleries=tuple(rows)
    )
    keep_result(result, arguments.output)
    return Outcome(result, search.text(rows))


def _add_scale(commands: Commands) -> None:
    parser = commands.add_parser(
        "embed-folder",
        parents=[json_option(), detector_options()],
        help="measure photographs per second of one worker and of several",
        description="Run embed-folder in this process and on Ray, in turn, on the same photographs.",
        epilog="example: python -m benchmarks embed-folder model.onnx --photos photos --workers 1 2 -o scale.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=positive, default=500, metavar="N", help="photographs (default: 500)")
    parser.add_argument(
        "--workers", nargs="+", type=positive, default=[1, 2], metavar="N", help="numbers of Ray workers (default: 1 2)"
    )
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="runs of each (default: 3)")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_scale)


def run_scale(arguments: argparse.Namespace) -> Outcome:
    """Run ``embed-folder``: engines measured in turn."""
    from benchmarks.gallery import scale
    from edge_sphereface.batch import OperatorConfig

    config = OperatorConfig(
        folder=arguments.photos.absolute(),
        model=arguments.model.absolute(),
        detector=arguments.detector,
        detector_model=None if arguments.detector_model is None else arguments.detector_model.absolute(),
    )
    timed = environment.TimedRun()
    rows = scale.measure(
        config,
        photographs=arguments.count,
        workers=arguments.workers,
        rounds=arguments.rounds,
        reporter=Progress,
    )
    result = scale.ScaleReport(environment=timed.describe(workers_elsewhere=True), engines=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, scale.text(rows))
