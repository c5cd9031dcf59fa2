"""``edge-sphereface embed-folder``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    detector_options,
    json_option,
    model_option,
    named_model,
    positive,
    require_detector,
    session_config,
)
from edge_sphereface.cli.runner import Outcome, Progress, UsageError, note

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.batch import FolderResult
    from edge_sphereface.batch.engines import Engine
    from edge_sphereface.cli.runner import Commands


def add_command(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = commands.add_parser(
        "embed-folder",
        parents=[json_option(), model_option(), detector_options()],
        help="embed every face below a folder into one Parquet file",
        description="Embed every face of every photograph below a folder. Stopped at any moment, the same command goes "
        "on where it was. Unreadable photographs are listed in NAME.unreadable.csv. Embeddings are biometric data: the "
        "files are readable by their owner alone.",
        epilog="example: edge-sphereface embed-folder --model model.onnx photos faces.parquet",
    )
    parser.add_argument("folder", type=Path, help="folder of photographs")
    parser.add_argument("output", type=Path, metavar="OUT.parquet", help="output, one row per face")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace an existing result")
    existing.add_argument(
        "--update", action="store_true", help="embed only new and changed photographs, and keep the rest of the result"
    )
    parser.add_argument(
        "--remove-deleted",
        action="store_true",
        help="with --update: remove the faces of photographs that are no longer in the folder (default: keep them)",
    )
    parser.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="this process (default), or Ray Data"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="with ray: number of actors (default: one per processor)"
    )
    parser.add_argument(
        "--ray-address", metavar="HOST:PORT", help="with ray: address of a cluster (default: a local one for this run)"
    )
    parser.set_defaults(run=embed_folder)


def embed_folder(arguments: argparse.Namespace) -> Outcome:
    """A table of faces.

    Raises:
        UsageError: options of another engine, or ``--remove-deleted`` without ``--update``.
    """
    if arguments.remove_deleted and not arguments.update:
        raise UsageError("--remove-deleted is for --update.", hint="add --update")
    from edge_sphereface.batch import OperatorConfig
    from edge_sphereface.batch import embed_folder as embed

    require_detector(arguments)
    engine = _engine(arguments)
    config = OperatorConfig(
        folder=arguments.folder.absolute(),
        model=named_model(arguments).absolute(),
        flip=arguments.flip,
        detector=arguments.detector,
        detector_model=None if arguments.detector_model is None else arguments.detector_model.absolute(),
        detector_provider=arguments.detector_provider,
        session=session_config(arguments),
    )
    try:
        result = embed(
            config,
            arguments.output,
            engine=engine,
            overwrite=arguments.overwrite,
            update=arguments.update,
            remove_deleted=arguments.remove_deleted,
            progress=Progress("embedding", "photographs"),
        )
    except KeyboardInterrupt:
        note("run the same command again to resume: finished work is kept")
        raise
    return Outcome(result, _text(result, arguments))


def _text(result: FolderResult, arguments: argparse.Namespace) -> str:
    text = (
        f"{result.output}: {result.faces} faces of {result.photographs} photographs; {result.without_face} show none, "
        f"{result.unreadable} cannot be read"
    )
    if result.unreadable_list is not None:
        text += f" ({result.unreadable_list})"
    if arguments.update:
        text += f"; new: {result.added}, changed: {result.replaced}, unchanged: {result.unchanged}"
    if result.resumed:
        text += f"; {result.resumed} were done by an earlier run"
    if result.deleted:
        fate = "removed" if arguments.remove_deleted else "kept; --remove-deleted removes them"
        text += f"\nphotographs of the earlier result that are no longer in the folder: {result.deleted}, {fate}"
    if result.unknown:
        text += f"\nphotographs of the earlier result where the folder could not be searched: {result.unknown}, kept"
    return text


def _engine(arguments: argparse.Namespace) -> Engine:
    from edge_sphereface.batch.engines import LocalEngine, RayEngine

    if arguments.engine == "local":
        if arguments.workers is not None or arguments.ray_address is not None:
            raise UsageError("--workers and --ray-address are for --engine ray.", hint="add --engine ray")
        return LocalEngine()
    workers = arguments.workers or max((os.cpu_count() or 1) // (arguments.threads or 1), 1)
    return RayEngine(workers=workers, threads=arguments.threads, address=arguments.ray_address)
