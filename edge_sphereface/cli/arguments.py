"""Options shared by several commands."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import Parser, UsageError, note

if TYPE_CHECKING:
    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabelledPairs
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import SessionConfig
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.pipeline import FacePipeline

MODEL_VARIABLE = "EDGE_SPHEREFACE_MODEL"
_MAX_INTEGER = (1 << 31) - 1
_MAX_NUMBER = 1e9
GALLERY_VARIABLE = "EDGE_SPHEREFACE_GALLERY"


def json_option() -> Parser:
    """``--json``."""
    parser = Parser(add_help=False)
    parser.add_argument("--json", action="store_true", help="print exactly one JSON object on stdout")
    return parser


def session_options() -> Parser:
    """How the model runs."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("execution")
    group.add_argument(
        "--provider", default="auto", metavar="NAME", help="execution provider: auto (default), cpu, cuda, …"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="of model and detector (default: all usable)")
    group.add_argument("--memory-arena", action="store_true", help="keep freed memory for the next inference")
    group.add_argument("--spinning", action="store_true", help="let waiting threads burn processor time")
    group.add_argument(
        "--pinned-threads", action="store_true", help="bind helper threads to processors; they spin during inference"
    )
    group.add_argument("--allow-cpu-fallback", action="store_true", help="let a named provider leave nodes to the CPU")
    group.add_argument(
        "--provider-option",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUE",
        help="for the provider, such as trt_fp16_enable=1; may be given again",
    )
    return parser


def model_option() -> Parser:
    """``--model`` and how it runs."""
    parser = Parser(add_help=False, parents=[session_options()])
    parser.add_argument("--model", type=Path, metavar="FILE", help=f"ONNX model (default: ${MODEL_VARIABLE})")
    parser.add_argument("--flip", action="store_true", help="average with the mirrored crop: twice the work")
    return parser


def detector_options() -> Parser:
    """Which detector."""
    from edge_sphereface.detection.detector import DETECTOR_NAMES

    parser = Parser(add_help=False)
    group = parser.add_argument_group("detection")
    group.add_argument(
        "--detector", choices=DETECTOR_NAMES, default="auto", help="auto (default): YuNet if it is here, else MTCNN"
    )
    group.add_argument("--detector-model", type=Path, metavar="FILE", help="YuNet's ONNX file (default: in the cache)")
    return parser


def pairs_options() -> Parser:
    """Labelled pairs of photographs."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("labelled pairs")
    group.add_argument("--lfw", type=Path, metavar="FOLDER", help="images/, pairs.txt, lfw_landmark.txt")
    group.add_argument("--pairs", type=Path, metavar="FILE", help="pairs.txt, or CSV: image1_path,image2_path,label")
    group.add_argument("--images", type=Path, metavar="FOLDER", help="folder of the photographs named in --pairs")
    group.add_argument(
        "--landmarks", type=Path, metavar="FILE", help="landmarks of the photographs (default: detect them)"
    )
    return parser


def read_named_pairs(arguments: argparse.Namespace) -> LabelledPairs | None:
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
    return pairs.LabelledPairs(pairs.read_pairs(arguments.pairs), arguments.images, landmarks)


def gallery_options(*, required: bool = True) -> Parser:
    """Which gallery, and its key."""
    parser = Parser(add_help=False)
    group = parser.add_argument_group("gallery")
    group.add_argument(
        "--gallery",
        metavar="PLACE",
        help=f"FILE, milvus:FOLDER.db, or a Milvus cluster http://HOST:PORT (default: ${GALLERY_VARIABLE}"
        f"{'' if required else ', or none'})",
    )
    group.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help="key of an encrypted gallery (default: $EDGE_SPHEREFACE_GALLERY_KEY)",
    )
    return parser


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
    return _integer(text, 1)


def count(text: str) -> int:
    """An integer from 0."""
    return _integer(text, 0)


def _integer(text: str, least: int) -> int:
    # The length first: more digits than Python converts are no integer to it, and the message would hold them all
    try:
        value = int(text) if len(text) <= len(str(_MAX_INTEGER)) else _MAX_INTEGER + 1
    except ValueError:
        value = least - 1
    if not least <= value <= _MAX_INTEGER:
        raise argparse.ArgumentTypeError(f"expected an integer from {least} to {_MAX_INTEGER}, got {text!r:.40}")
    return value


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
    value = float_or_nan(text)
    if not -1.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a cosine from -1 to 1, got {text!r:.40}")
    return value


def above_zero(text: str) -> float:
    """A finite number above 0."""
    value = float_or_nan(text)
    if not 0 < value <= _MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to {_MAX_NUMBER:g}, got {text!r:.40}")
    return value


def from_zero(text: str) -> float:
    """A finite number of at least 0."""
    value = float_or_nan(text)
    if not 0 <= value <= _MAX_NUMBER:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to {_MAX_NUMBER:g}, got {text!r:.40}")
    return value


def named_model(arguments: argparse.Namespace) -> Path:
    """The model that was named, or the one in the environment.

    Raises:
        UsageError: none was named.
    """
    model = arguments.model or os.environ.get(MODEL_VARIABLE)
    if not model:
        raise UsageError(
            "No model was named.",
            hint=f"give --model FILE or set {MODEL_VARIABLE}; `python -m export convert` makes one",
        )
    return Path(model)


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


def open_named_detector(arguments: argparse.Namespace) -> Detector:
    """The detector that was named.

    Raises:
        UsageError: a model file for a detector that takes none.
    """
    from edge_sphereface.detection import open_detector

    if arguments.detector == "mtcnn" and arguments.detector_model is not None:
        raise UsageError("--detector-model is YuNet's, and --detector is mtcnn.", hint="leave one of them out")
    threads = getattr(arguments, "threads", None)
    return open_detector(arguments.detector, model=arguments.detector_model, threads=threads)


def open_pipeline(arguments: argparse.Namespace) -> FacePipeline:
    """Model and detector together."""
    from edge_sphereface.pipeline import FacePipeline

    return FacePipeline(open_embedder(arguments), open_named_detector(arguments))
