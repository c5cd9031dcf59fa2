"""The commands ``quality`` and ``templates`` of ``python -m benchmarks``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.cli.arguments import detector_options, json_option, open_named_detector, positive
from edge_sphereface.cli.runner import Outcome, Progress

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands


def add_commands(commands: Commands) -> None:
    """Add the commands of enrollment."""
    _add_quality(commands)
    _add_templates(commands)


def _add_quality(commands: Commands) -> None:
    parser = commands.add_parser(
        "quality",
        parents=[json_option(), detector_options()],
        help="check measures of a face's quality against recognition, and the bounds of enroll --strict",
        description="Recognize each photograph of people with at least 4 by their other photographs, at the threshold "
        "that 1 % of strangers reach. Compare the errors of the tenth of the photographs that a measure calls worst "
        "with those of the best tenth; shrink, blur and cover photographs, and see which are refused.",
        epilog="example: python -m benchmarks quality model.onnx --lfw lfw -o quality.json",
    )
    _add_inputs(parser)
    parser.add_argument(
        "--degraded",
        type=positive,
        default=150,
        metavar="N",
        help="photographs to shrink, blur and cover (default 150)",
    )
    parser.set_defaults(run=run_quality)


def _add_templates(commands: Commands) -> None:
    parser = commands.add_parser(
        "templates",
        parents=[json_option(), detector_options()],
        help="compare templates of people, and score normalization by a cohort: rank-1, and DIR at 1 %% false alarms",
        description="Enroll people of LFW with at least 4 photographs, and people of the ORL faces, from half of their "
        "photographs, at most 5. Identify the others and strangers by each kind of template, and by the mean with "
        "similarities less those to a cohort of other strangers.",
        epilog="example: python -m benchmarks templates model.onnx --lfw lfw -o templates.json",
    )
    _add_inputs(parser)
    parser.set_defaults(run=run_templates)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="+", type=Path, help="ONNX file")
    parser.add_argument("--lfw", type=Path, required=True, metavar="FOLDER", help="folder with images/")
    parser.add_argument("--no-cache", action="store_true", help="do not store embeddings on disk")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")


def run_quality(arguments: argparse.Namespace) -> Outcome:
    """Run ``quality``: each model on the same photographs."""
    from benchmarks.enrollment import quality
    from benchmarks.enrollment.photographs import FaceFinder, RawEmbeddings, lfw_photographs
    from edge_sphereface.compare import normalize
    from edge_sphereface.inference.embedder import Embedder

    known, others = lfw_photographs(arguments.lfw)
    detector = open_named_detector(arguments)
    finder = FaceFinder(detector)
    rows = []
    for path in arguments.model:
        embedder = Embedder(path)
        embeddings = RawEmbeddings(embedder, keep=not arguments.no_cache)
        show = [Progress(f"{path.name}: {what}") for what in ("embeddings", "degraded")]
        faces = finder.find("known", known, embedder.spec)
        strangers = finder.find("strangers", others, embedder.spec)
        raw = embeddings.of(faces.crops, progress=show[0])
        stranger_rows = normalize(embeddings.of(strangers.crops, progress=show[0]))
        mirrored = normalize(embeddings.of(faces.crops[:, :, ::-1], progress=show[0]))
        found = quality.recognize(faces, raw, stranger_rows)
        rows.append(
            quality.QualityRow(
                model=path.name,
                precision=embedder.spec.precision,
                detector=detector.name,
                people=len(found.templates.sums),
                photographs=len(raw),
                strangers=len(stranger_rows),
                threshold=found.threshold,
                errors=float(found.missed.mean()),
                measures=quality.measure_rows(found, mirrored),
                refusals=quality.refusal_rows(
                    found, known, embedder, detector, count=arguments.degraded, progress=show[1]
                ),
                poses=quality.pose_rows(found),
                not_this_person=quality.not_this_person_rows(found, embedder.spec.threshold),
                repeats=quality.repeat_row(found, known, embedder, detector, count=arguments.degraded),
            )
        )
    result = quality.QualityReport(environment=environment.describe(), quality=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, quality.text(rows))


def run_templates(arguments: argparse.Namespace) -> Outcome:
    """Run ``templates``: each model on the same photographs."""
    from benchmarks.enrollment import templates
    from benchmarks.enrollment.photographs import FaceFinder, RawEmbeddings, lfw_photographs, orl_photographs
    from edge_sphereface.inference.embedder import Embedder

    known, others = lfw_photographs(arguments.lfw)
    orl = orl_photographs()
    detector = open_named_detector(arguments)
    finder = FaceFinder(detector)
    rows = []
    for path in arguments.model:
        embedder = Embedder(path)
        embeddings = RawEmbeddings(embedder, keep=not arguments.no_cache)
        show = Progress(f"{path.name}: embeddings")
        faces = [
            finder.find(name, photographs, embedder.spec)
            for name, photographs in (("known", known), ("strangers", others), ("ORL", orl))
        ]
        sets = [templates.described(each, embeddings.of(each.crops, progress=show)) for each in faces]
        rows.append(
            templates.TemplatesRow(
                model=path.name,
                precision=embedder.spec.precision,
                detector=detector.name,
                sets=templates.compare(*sets),
            )
        )
    result = templates.TemplatesReport(environment=environment.describe(), templates=tuple(rows))
    keep_result(result, arguments.output)
    return Outcome(result, templates.text(rows))
