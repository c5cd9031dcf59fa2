"""Commands that take photographs: detect, align, embed, verify."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    cosine,
    detector_options,
    distinct_stems,
    draw_option,
    drawing_paths,
    json_option,
    model_option,
    open_named_detector,
    open_pipeline,
    require_picture,
    write_drawing,
)
from edge_sphereface.cli.runner import Outcome
from edge_sphereface.errors import NoFaceError
from edge_sphereface.json_output import INLINE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.types import DetectedFace, EmbeddedFace, Float32Array, UInt8Array


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_detect(commands)
    _add_align(commands)
    _add_embed(commands)
    _add_verify(commands)


def _add_detect(commands: Commands) -> None:
    parser = commands.add_parser(
        "detect",
        parents=[json_option(), detector_options(), draw_option()],
        help="find faces and their landmarks",
        description="Find the faces of photographs: box, five landmarks and score of each, in pixels of the "
        "photograph. Exit code 1 if a photograph shows no face.",
        epilog="examples: edge-sphereface detect --json photo.jpg; edge-sphereface detect --draw out.jpg photo.jpg",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.set_defaults(run=detect)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedImage:
    """The faces of a photograph.

    Attributes:
        path: path of the photograph.
        height: height of the photograph, in pixels.
        width: width of the photograph, in pixels.
        faces: faces in the photograph; empty if it shows none.
        drawn: path of the picture written by ``--draw``, which its owner alone may read (mode 0600); None without it.
    """

    path: Path
    height: int
    width: int
    faces: tuple[DetectedFace, ...]
    drawn: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectReport:
    """What ``detect`` found.

    Attributes:
        detector: name of the face detector.
        images: one per photograph, in the order of the command line. The exit code is 1 if one shows no face.
    """

    detector: str
    images: tuple[DetectedImage, ...]


def detect(arguments: argparse.Namespace) -> Outcome:
    """Faces of each photograph; exit code 1 if one shows none."""
    from edge_sphereface.detection.in_file import find_in_file
    from edge_sphereface.image import ImageFile, load_image
    from edge_sphereface.stream.outputs.frames.drawing import draw_faces

    targets = drawing_paths(arguments)
    detector = open_named_detector(arguments)
    images = []
    for path, target in zip(arguments.image, targets, strict=True):
        found = find_in_file(detector, ImageFile.read(path)).improved(detector)
        width, height = found.size
        in_full = found.in_full()
        if target is not None:
            write_drawing(arguments, target, draw_faces(load_image(path), in_full))
        faces = tuple(face.report() for face in in_full)
        images.append(DetectedImage(path=path, height=height, width=width, faces=faces, drawn=target))
    report = DetectReport(detector=detector.name, images=tuple(images))
    return Outcome(report, _detect_text(report), passed=all(image.faces for image in images))


def _detect_text(report: DetectReport) -> str:
    lines = []
    for image in report.images:
        size = f"{image.width} x {image.height} pixels"
        lines.append(f"{image.path}: {_count(len(image.faces), 'face')} ({report.detector}, {size})")
        lines += [f"  {number}. {_describe(face)}" for number, face in enumerate(image.faces, start=1)]
        lines += [] if image.drawn is None else [f"  drawn: {image.drawn}"]
    return "\n".join(lines)


def _add_align(commands: Commands) -> None:
    parser = commands.add_parser(
        "align",
        parents=[json_option(), detector_options()],
        help="cut out aligned crops as PNG files",
        description="Cut every face out as an aligned crop: as the original's, 112 x 96 with the fit cp2tform, or as a "
        "model takes it. The files are readable by their owner alone.",
        epilog="examples: edge-sphereface align -o crops photo.jpg; "
        "edge-sphereface align --model model.onnx -o crops photo.jpg",
    )
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="size, landmark template and fit of this model's crops"
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the crops")
    parser.set_defaults(run=align)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedCrop:
    """A crop that was written.

    Attributes:
        image: path of the photograph.
        face: where it was found in the photograph.
        crop: path of the crop, a PNG file that its owner alone may read (mode 0600).
    """

    image: Path
    face: DetectedFace
    crop: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignReport:
    """What ``align`` wrote.

    Attributes:
        detector: name of the face detector.
        crops: the crops that were written, one per face.
    """

    detector: str
    crops: tuple[AlignedCrop, ...]


def align(arguments: argparse.Namespace) -> Outcome:
    """One PNG per face: PHOTO.0.png, PHOTO.1.png, ….

    Raises:
        NoFaceError: no photograph shows a face.
    """
    from edge_sphereface.alignment import align as align_faces
    from edge_sphereface.alignment import align_for, stack_landmarks
    from edge_sphereface.image import load_image, save_image
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.storage.files import ensure_folder

    cut: Callable[[UInt8Array, Float32Array], UInt8Array] = align_faces
    if arguments.model is not None:
        cut = partial(align_for, Embedder(arguments.model, provider="cpu").spec)
    detector = open_named_detector(arguments)
    folder = ensure_folder(arguments.output, mode=0o700)
    crops = []
    for path, stem in zip(arguments.image, distinct_stems(arguments.image), strict=True):
        image = load_image(path)
        faces = detector.detect(image)
        for number, crop in enumerate(cut(image, stack_landmarks([face.landmarks for face in faces]))):
            target = folder / f"{stem}.{number}.png"
            save_image(target, crop)
            crops.append(AlignedCrop(image=path, face=faces[number].report(), crop=target))
    if not crops:
        raise NoFaceError(f"No face was found by {detector.name}.", hint="nothing was written")
    text = "\n".join(f"{crop.crop}  from {crop.image}, score {crop.face.score:.3f}" for crop in crops)
    return Outcome(AlignReport(detector=detector.name, crops=tuple(crops)), text)


def _add_embed(commands: Commands) -> None:
    parser = commands.add_parser(
        "embed",
        parents=[json_option(), model_option(), detector_options()],
        help="embed every face",
        description="Embed every face of the photographs. Embeddings are biometric data: a file written with -o is "
        "readable by its owner alone.",
        epilog="example: edge-sphereface embed --model model.onnx photo.jpg -o faces.npz",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE.npz", help="write numpy arrays: embeddings, images, boxes, landmarks"
    )
    parser.set_defaults(run=embed)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFace:
    """A face of a photograph.

    Attributes:
        image: path of the photograph.
        face: where it was found in the photograph.
    """

    image: Path
    face: DetectedFace = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedPhotoFace(PhotoFace):
    """A face of a photograph with its embedding.

    Attributes:
        embedding: embedding of length one. Biometric data: keep it as you would a password.
    """

    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReport:
    """What ``embed`` found.

    Attributes:
        detector: name of the face detector.
        provider: execution provider that ran the model.
        output: path of the file written by ``-o`` (mode 0600) with the arrays ``embeddings``, ``images``, ``boxes`` and
            ``landmarks``; None without ``-o``.
        faces: faces of all photographs; with their embeddings unless a file holds these.
    """

    detector: str
    provider: ProviderReport
    output: Path | None
    faces: tuple[EmbeddedPhotoFace, ...] | tuple[PhotoFace, ...]


def embed(arguments: argparse.Namespace) -> Outcome:
    """Embeddings of every face, to a file or within the JSON result.

    Raises:
        NoFaceError: no photograph shows a face.
    """
    import numpy as np

    from edge_sphereface.storage.files import PRIVATE, atomic_write

    pipeline = open_pipeline(arguments)
    found = [(path, face) for path in arguments.image for face in pipeline.process_file(path)]
    if not found:
        raise NoFaceError(f"No face was found by {pipeline.detector.name}.", hint="nothing was written")
    faces: tuple[EmbeddedPhotoFace, ...] | tuple[PhotoFace, ...]
    if arguments.output is None:
        faces = tuple(
            EmbeddedPhotoFace(image=path, face=item.face.report(), embedding=tuple(item.embedding.tolist()))
            for path, item in found
        )
        lines = [f"{face.image}: {_describe(face.face)}" for face in faces]
        text = "\n".join([*lines, "Embeddings are printed with --json and written with -o FILE.npz."])
    else:
        faces = tuple(PhotoFace(image=path, face=item.face.report()) for path, item in found)
        with atomic_write(arguments.output, mode=PRIVATE) as output:
            np.savez(
                output,
                embeddings=np.stack([item.embedding for _, item in found]),
                images=np.array([str(path) for path, _ in found]),
                boxes=np.stack([item.face.box for _, item in found]),
                landmarks=np.stack([item.face.landmarks for _, item in found]),
            )
        text = (
            f"{arguments.output}: {_count(len(found), 'embedding')} of {pipeline.embedder.spec.embedding_size} numbers"
        )
    report = EmbedReport(
        detector=pipeline.detector.name, provider=pipeline.embedder.provider, output=arguments.output, faces=faces
    )
    return Outcome(report, text)


def _add_verify(commands: Commands) -> None:
    parser = commands.add_parser(
        "verify",
        parents=[json_option(), model_option(), detector_options()],
        help="decide whether two photographs show the same person",
        description="Compare the faces of two photographs. Exit code 0 whatever the answer: read `same`.",
        epilog="example: edge-sphereface verify --model model.onnx a.jpg b.jpg",
    )
    parser.add_argument("first", type=Path, help="photograph")
    parser.add_argument("second", type=Path, help="photograph")
    parser.add_argument("--threshold", type=cosine, metavar="COSINE", help="minimum similarity of the same person")
    parser.add_argument(
        "--select", choices=("largest", "center"), default="largest", help="which face counts (default: largest)"
    )
    parser.add_argument(
        "--draw", type=Path, metavar="FILE", help="write both photographs side by side with the faces (.jpg or .png)"
    )
    parser.set_defaults(run=verify)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What ``verify`` decided; the exit code is 0 whatever the answer.

    Attributes:
        same: whether the similarity reaches the threshold.
        similarity: cosine of the two embeddings, -1 to 1.
        threshold: cosine from which two faces count as one person.
        threshold_source: where the threshold comes from, in words.
        detector: name of the face detector.
        provider: execution provider that ran the model.
        faces: the two faces that were compared.
        drawn: path of the picture written by ``--draw``, which its owner alone may read (mode 0600); None without it.
    """

    same: bool
    similarity: float
    threshold: float
    threshold_source: str
    detector: str
    provider: ProviderReport
    faces: tuple[PhotoFace, PhotoFace]
    drawn: Path | None


def verify(arguments: argparse.Namespace) -> Outcome:
    """Similarity of the two faces and what the threshold makes of it.

    Raises:
        NoFaceError: a photograph shows no face.
    """
    from edge_sphereface.compare import verify as verify_embeddings
    from edge_sphereface.image import load_image

    if arguments.draw is not None:
        require_picture(arguments.draw)
    pipeline = open_pipeline(arguments)
    spec = pipeline.embedder.spec

    def face_of(path: Path) -> EmbeddedFace:
        try:
            return pipeline.process_one_file(path, select=arguments.select)
        except NoFaceError as error:
            raise error.about(path) from error

    first, second = face_of(arguments.first), face_of(arguments.second)
    threshold = spec.threshold if arguments.threshold is None else arguments.threshold
    answer = verify_embeddings(first, second, threshold=threshold)
    report = VerifyReport(
        same=answer.same,
        similarity=answer.similarity,
        threshold=threshold,
        threshold_source=spec.threshold_source if arguments.threshold is None else "command line",
        detector=pipeline.detector.name,
        provider=pipeline.embedder.provider,
        faces=(
            PhotoFace(image=arguments.first, face=first.face.report()),
            PhotoFace(image=arguments.second, face=second.face.report()),
        ),
        drawn=arguments.draw,
    )
    if arguments.draw is not None:
        images = [load_image(path) for path in (arguments.first, arguments.second)]
        _draw_pair(arguments.draw, images, (first, second), report)
    return Outcome(report, _verify_text(report))


def _draw_pair(
    path: Path, images: Sequence[UInt8Array], faces: tuple[EmbeddedFace, EmbeddedFace], report: VerifyReport
) -> None:
    """Both photographs at the height of the lower one, side by side."""
    import cv2
    import numpy as np

    from edge_sphereface.image import save_image
    from edge_sphereface.stream.outputs.frames.drawing import FaceLabel, draw_labels

    height = min(image.shape[0] for image in images)
    caption = f"{'same' if report.same else 'different'} {report.similarity:.2f}"
    sides = []
    for image, face in zip(images, faces, strict=True):
        scale = height / image.shape[0]
        fitted = cv2.resize(image, (max(round(image.shape[1] * scale), 1), height), interpolation=cv2.INTER_AREA)
        label = FaceLabel(face.face.box, caption, "identified" if report.same else "unknown")
        sides.append(draw_labels(np.asarray(fitted, np.uint8), [label], scale=scale))
    save_image(path, np.concatenate(sides, axis=1))


def _verify_text(report: VerifyReport) -> str:
    verdict, relation = ("SAME PERSON", "reaches") if report.same else ("DIFFERENT PEOPLE", "is below")
    source = report.threshold_source
    lines = [
        f"{verdict}: similarity {report.similarity:.4f} {relation} the threshold {report.threshold:.3f} ({source})",
        *(f"  {item.image}: {_describe(item.face)}" for item in report.faces),
    ]
    return "\n".join([*lines, *([] if report.drawn is None else [f"  drawn: {report.drawn}"])])


def _describe(face: DetectedFace) -> str:
    left, top, right, bottom = face.box
    return f"box {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}, score {face.score:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
