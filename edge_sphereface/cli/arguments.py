"""Options shared by several commands."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.option import Option, option_parser
from edge_sphereface.cli.runner import Parser, UsageError, note, refuse_to_replace_inputs
from edge_sphereface.cpu import MAX_THREADS
from edge_sphereface.setting import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.pipeline import FacePipeline
    from edge_sphereface.types import UInt8Array

MODEL_VARIABLE = "EDGE_SPHEREFACE_MODEL"
GALLERY_VARIABLE = "EDGE_SPHEREFACE_GALLERY"


@cache
def json_option() -> Parser:
    """``--json``."""
    return option_parser([Option(name="json", read=None, help="print exactly one JSON object on stdout")])


def thread_count(text: str) -> int:
    """A number of threads that can be started."""
    return int(_read(Range(least=1, most=MAX_THREADS, is_whole=True), text))


def session_group() -> tuple[Option, ...]:
    """How the model runs."""
    group = "execution"
    return (
        Option(
            name="provider",
            default="auto",
            metavar="NAME",
            group=group,
            help="execution provider: auto (default), cpu, cuda, …",
        ),
        Option(
            name="threads",
            read=thread_count,
            metavar="N",
            group=group,
            help="of model and detector (default: all usable)",
        ),
        Option(name="memory-arena", read=None, group=group, help="keep freed memory for the next inference"),
        Option(name="spinning", read=None, group=group, help="let waiting threads burn processor time"),
        Option(
            name="pinned-threads",
            read=None,
            group=group,
            help="bind helper threads to processors; they spin during inference",
        ),
        Option(name="allow-cpu-fallback", read=None, group=group, help="let a named provider leave nodes to the CPU"),
        Option(
            name="provider-option",
            is_list=True,
            read=named_value,
            default=[],
            metavar="NAME=VALUE",
            group=group,
            help="for the provider, such as trt_fp16_enable=1; may be given again",
        ),
    )


@cache
def session_options() -> Parser:
    """How the model runs."""
    return option_parser(session_group())


def model_group() -> tuple[Option, ...]:
    """``--model`` and how it runs."""
    return (
        *session_group(),
        Option(name="model", read=Path, metavar="FILE", help=f"ONNX model (default: ${MODEL_VARIABLE})"),
        Option(name="flip", read=None, help="average with the mirrored crop: twice the work"),
    )


@cache
def model_option() -> Parser:
    """``--model`` and how it runs."""
    return option_parser(model_group())


def detector_group() -> tuple[Option, ...]:
    """Which detector."""
    from edge_sphereface.detection.detector import DETECTOR_NAMES

    return (
        Option(
            name="detector",
            choices=DETECTOR_NAMES,
            default="auto",
            group="detection",
            help="auto (default): the better one here, as info prints",
        ),
        Option(
            name="detector-model",
            read=Path,
            metavar="FILE",
            group="detection",
            help="YuNet's ONNX file (default: in the cache)",
        ),
        Option(
            name="detector-provider",
            metavar="NAME",
            group="detection",
            help="execution provider of the detector (default: the model's)",
        ),
    )


def liveness_group() -> tuple[Option, ...]:
    """Whether faces are live."""
    from edge_sphereface.liveness.result import DEFAULT_THRESHOLD

    return (
        Option(
            name="liveness",
            is_list=True,
            read=Path,
            default=[],
            metavar="FILE.onnx",
            group="liveness",
            help="liveness model: only faces that look live get a name, which is no protection against fraud; the "
            "probabilities of several are averaged",
        ),
        Option(
            name="liveness-threshold",
            read=share,
            metavar="P",
            group="liveness",
            help="mean probability from which a face counts as live (default: the one that calibrate-liveness stored "
            f"beside the model, or {DEFAULT_THRESHOLD})",
        ),
    )


@cache
def liveness_options() -> Parser:
    """Whether faces are live."""
    return option_parser(liveness_group())


@cache
def detector_options() -> Parser:
    """Which detector."""
    return option_parser(detector_group())


@cache
def pairs_options() -> Parser:
    """Labeled pairs of photographs."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("labeled pairs")
    group.add_argument("--lfw", type=Path, metavar="FOLDER", help="images/, pairs.txt, lfw_landmark.txt")
    group.add_argument("--pairs", type=Path, metavar="FILE", help="pairs.txt, or CSV: image1_path,image2_path,label")
    group.add_argument("--images", type=Path, metavar="FOLDER", help="folder of the photographs named in --pairs")
    group.add_argument(
        "--landmarks", type=Path, metavar="FILE", help="landmarks of the photographs (default: detect them)"
    )
    return parser


def read_named_pairs(arguments: argparse.Namespace) -> LabeledPairs | None:
    """The pairs that were named, or None.

    Raises:
        UsageError: pairs without a folder of photographs.
        PairsError: a file is missing or has another form.
    """
    from edge_sphereface.errors import PairsError
    from edge_sphereface.evaluation import pairs

    if arguments.lfw is not None:
        return pairs.read_lfw(arguments.lfw)
    if arguments.pairs is None:
        return None
    if arguments.images is None:
        raise UsageError("--pairs names photographs, and their folder is missing.", hint="add --images FOLDER")
    if not arguments.images.is_dir():
        raise PairsError(f"There is no folder {arguments.images} with photographs.", hint="check --images")
    landmarks = None if arguments.landmarks is None else pairs.read_landmarks(arguments.landmarks)
    return pairs.LabeledPairs(pairs.read_pairs(arguments.pairs), arguments.images, landmarks)


def gallery_group(*, required: bool = True) -> tuple[Option, ...]:
    """Which gallery, and its key."""
    return (
        Option(
            name="gallery",
            metavar="PLACE",
            group="gallery",
            help=f"FILE, milvus:FOLDER.db, or a Milvus cluster http://HOST:PORT (default: ${GALLERY_VARIABLE}"
            f"{'' if required else ', or none'})",
        ),
        Option(
            name="key-file",
            read=Path,
            metavar="FILE",
            group="gallery",
            help="key of an encrypted gallery (default: $EDGE_SPHEREFACE_GALLERY_KEY)",
        ),
    )


@cache
def gallery_options(*, required: bool = True) -> Parser:
    """Which gallery, and its key."""
    return option_parser(gallery_group(required=required))


def open_named_gallery(
    arguments: argparse.Namespace,
    made_by: Embedder | Fingerprint | None,
    *,
    create: bool = False,
    keep_crops: bool = False,
) -> Gallery:
    """The gallery that was named, or the one in the environment.

    Raises:
        UsageError: none was named.
    """
    from edge_sphereface.gallery import open_gallery, read_key

    place, key = require_gallery(arguments), read_key(arguments.key_file)
    return open_gallery(place, made_by, create=create, keep_crops=keep_crops, key=key)


def warn_without_crops(arguments: argparse.Namespace, gallery: Gallery) -> None:
    """Say that ``--keep-crops`` does nothing in a gallery that was made without crops."""
    if arguments.keep_crops and not gallery.keep_crops:
        note(f"warning: --keep-crops has no effect: {gallery.location} was made without crops and keeps none")


def distinct_stems(paths: Iterable[Path]) -> Iterator[str]:
    """A name for each file, without suffix, that no other has; files of one name may come from several folders."""
    used = set[str]()
    for path in paths:
        stem, number = path.stem, 1
        while stem.casefold() in used:
            number += 1
            stem = f"{path.stem}-{number}"
        used.add(stem.casefold())
        yield stem


def require_picture(path: Path) -> None:
    """Refuse a name of a picture whose kind is not written.

    Raises:
        UsageError: it ends neither in .jpg nor in .png.
    """
    if path.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise UsageError(f"Expected a picture that ends in .jpg or .png, got {path}.", hint=f"name it {path.stem}.jpg")


@cache
def draw_option() -> Parser:
    """``--draw`` of commands that take several photographs."""
    return option_parser(
        [
            Option(
                name="draw",
                read=Path,
                metavar="PATH",
                help="write the photographs with boxes: FILE.jpg or FILE.png for one photograph, or a folder",
            )
        ]
    )


def drawing_paths(arguments: argparse.Namespace) -> list[Path | None]:
    """Where the picture of each photograph goes; photographs of one name get numbers.

    Raises:
        UsageError: a file was named for several photographs, is no picture, or would replace an input.
    """
    paths: list[Path] = arguments.image
    if arguments.draw is None:
        return [None] * len(paths)
    if _is_picture(arguments.draw):
        require_picture(arguments.draw)
        if len(paths) > 1:
            raise UsageError(
                f"{arguments.draw} can hold one photograph, and {len(paths)} were named.", hint="name a folder"
            )
        return [arguments.draw]
    targets = [arguments.draw / f"{stem}.jpg" for stem in distinct_stems(paths)]
    for target in targets:
        refuse_to_replace_inputs(arguments, target)
    return [*targets]


def write_drawing(arguments: argparse.Namespace, path: Path, picture: UInt8Array) -> None:
    """Write a picture to one of :func:`drawing_paths`."""
    from edge_sphereface.image import save_image
    from edge_sphereface.storage.files import ensure_folder

    if not _is_picture(arguments.draw):
        ensure_folder(arguments.draw, mode=0o700)
    save_image(path, picture)


def _is_picture(path: Path) -> bool:
    return bool(path.suffix) and not path.is_dir()


def require_gallery(arguments: argparse.Namespace) -> str:
    """Where the gallery is.

    Raises:
        UsageError: none was named.
    """
    place = named_gallery(arguments)
    if place is None:
        raise UsageError("No gallery was named.", hint=f"give --gallery PLACE or set {GALLERY_VARIABLE}")
    return place


def named_gallery(arguments: argparse.Namespace) -> str | None:
    """Where the gallery is, if one was named."""
    return arguments.gallery or os.environ.get(GALLERY_VARIABLE) or None


def named_value(text: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def positive(text: str) -> int:
    """An integer from 1 that every library takes."""
    return int(_read(Range(least=1, is_whole=True), text))


def count(text: str) -> int:
    """An integer from 0."""
    return int(_read(Range(least=0, is_whole=True), text))


def float_or_nan(text: str) -> float:
    """The number that a text writes; NaN, which fails every comparison, if it writes none.

    For the types of options: a ``ValueError`` would make argparse name the Python function to the user.
    """
    try:
        return float(text)
    except ValueError:
        return math.nan


def cosine(text: str) -> float:
    """A number from -1 to 1."""
    return _read(Range(least=-1, most=1, noun="a cosine"), text)


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _read(Range(least=0, most=1, noun="a share"), text)


def rate(text: str) -> float:
    """A share that is neither 0 nor 1."""
    value = float_or_nan(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a rate above 0 and below 1, got {text!r:.40}")
    return value


def above_zero(text: str) -> float:
    """A finite number above 0."""
    return _read(Range(least=0, is_open=True), text)


def from_zero(text: str) -> float:
    """A finite number of at least 0."""
    return _read(Range(least=0), text)


def between(least: float, most: float, *, is_whole: bool = False) -> Callable[[str], float]:
    """The type of an option that takes a number between two limits, both included.

    Args:
        least: lower limit.
        most: upper limit.
        is_whole: whether it must be an integer.
    """

    def read(text: str) -> float:
        number = _read(Range(least=least, most=most, is_whole=is_whole), text)
        return int(number) if is_whole else number

    return read


def _read(permitted: Range, text: str) -> float:
    try:
        return permitted.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def model_or_none(arguments: argparse.Namespace) -> Path | None:
    """The model that was named, or the one in the environment, if any."""
    model = arguments.model or os.environ.get(MODEL_VARIABLE)
    return Path(model) if model else None


def named_model(arguments: argparse.Namespace) -> Path:
    """The model that was named, or the one in the environment.

    Raises:
        UsageError: none was named.
    """
    model = model_or_none(arguments)
    if model is None:
        raise UsageError(
            "No model was named.",
            hint=f"give --model FILE or set {MODEL_VARIABLE}; `edge-sphereface fetch-model` takes a published one, and "
            "`make model` in a checkout makes one (docs/models.md)",
        )
    return model


def session_config(arguments: argparse.Namespace) -> SessionConfig:
    """How the model is to run."""
    from edge_sphereface.inference.session import SessionConfig

    return SessionConfig(
        provider=arguments.provider,
        threads=arguments.threads,
        memory_arena=arguments.memory_arena,
        spinning=arguments.spinning,
        pinned_threads=arguments.pinned_threads,
        allow_cpu_fallback=arguments.allow_cpu_fallback,
        provider_options=dict(arguments.provider_option),
    )


def open_embedder(arguments: argparse.Namespace) -> Embedder:
    """The model that was named, or the one in the environment.

    Raises:
        UsageError: none was named.
    """
    from edge_sphereface.inference.embedder import Embedder

    return Embedder(named_model(arguments), flip=getattr(arguments, "flip", False), session=session_config(arguments))


def require_detector(arguments: argparse.Namespace) -> None:
    """Refuse options of the detector that contradict each other.

    Raises:
        UsageError: a model file for a detector that takes none.
    """
    if arguments.detector == "mtcnn" and arguments.detector_model is not None:
        raise UsageError("--detector-model is YuNet's, and --detector is mtcnn.", hint="leave one of them out")


def open_named_detector(arguments: argparse.Namespace, *, threads: int | None = None) -> Detector:
    """The detector that was named.

    Args:
        arguments: parsed arguments.
        threads: threads of one inference, instead of those that were asked for; None for these.

    Raises:
        UsageError: a model file for a detector that takes none.
    """
    from edge_sphereface.detection import open_detector
    from edge_sphereface.inference.session import SessionConfig

    require_detector(arguments)
    has_session = hasattr(arguments, "memory_arena")  # other commands run no model, or choose its options themselves
    session = session_config(arguments) if has_session else SessionConfig(threads=getattr(arguments, "threads", None))
    if threads is not None:
        session = replace(session, threads=threads)
    return open_detector(
        arguments.detector, model=arguments.detector_model, session=session.for_detector(arguments.detector_provider)
    )


def open_pipeline(arguments: argparse.Namespace) -> FacePipeline:
    """Model and detector together."""
    from edge_sphereface.pipeline import FacePipeline

    require_detector(arguments)
    return FacePipeline(open_embedder(arguments), open_named_detector(arguments))
