"""Commands that take photographs: detect, align, embed, verify."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.cli.arguments import (
    cosine,
    detector_options,
    json_option,
    model_option,
    open_named_detector,
    open_pipeline,
)
from edge_sphereface.cli.runner import Outcome
from edge_sphereface.errors import NoFaceError

if TYPE_CHECKING:
    import argparse

    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.types import Face, JsonObject, UInt8Array


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_detect(commands)
    _add_align(commands)
    _add_embed(commands)
    _add_verify(commands)


def _add_detect(commands: Commands) -> None:
    parser = commands.add_parser(
        "detect",
        parents=[json_option(), detector_options()],
        help="find faces and their landmarks",
        epilog="example: edge-sphereface detect --json photo.jpg",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.set_defaults(run=detect)


def detect(arguments: argparse.Namespace) -> Outcome:
    """Faces of each photograph; exit code 1 if one shows none."""
    from edge_sphereface.image import load_image

    detector = open_named_detector(arguments)
    images: list[JsonObject] = []
    lines = []
    for path in arguments.image:
        image = load_image(path)
        faces = detector.detect(image)
        images.append({"path": str(path), **_size(image), "faces": [face.as_json() for face in faces]})
        lines.append(
            f"{path}: {_count(len(faces), 'face')} ({detector.name}, {image.shape[1]} x {image.shape[0]} pixels)"
        )
        lines += [f"  {number}. {_describe(face)}" for number, face in enumerate(faces, start=1)]
    return Outcome(
        {"detector": detector.name, "images": images},
        "\n".join(lines),
        passed=all(image["faces"] for image in images),
    )


def _add_align(commands: Commands) -> None:
    parser = commands.add_parser(
        "align",
        parents=[json_option(), detector_options()],
        help="cut out aligned crops as PNG files",
        description="Cut every face out as an aligned 112 x 96 crop. The files are readable by their owner alone.",
        epilog="example: edge-sphereface align -o crops photo.jpg",
    )
    parser.add_argument("image", nargs="+", type=Path, help="photograph")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the crops")
    parser.set_defaults(run=align)


def align(arguments: argparse.Namespace) -> Outcome:
    """One PNG per face: PHOTO.0.png, PHOTO.1.png, ….

    Raises:
        NoFaceError: no photograph shows a face.
    """
    from edge_sphereface.alignment import align as align_faces
    from edge_sphereface.alignment import stack_landmarks
    from edge_sphereface.image import load_image, save_image
    from edge_sphereface.storage.files import ensure_folder

    detector = open_named_detector(arguments)
    folder = ensure_folder(arguments.output, mode=0o700)
    crops: list[JsonObject] = []
    seen: Counter[str] = Counter()
    for path in arguments.image:
        image = load_image(path)
        faces = detector.detect(image)
        seen[path.stem] += 1
        # Photographs of one name from several folders must not overwrite one another's crops.
        stem = path.stem if seen[path.stem] == 1 else f"{path.stem}-{seen[path.stem]}"
        for number, crop in enumerate(align_faces(image, stack_landmarks([face.landmarks for face in faces]))):
            target = folder / f"{stem}.{number}.png"
            save_image(target, crop)
            crops.append({"image": str(path), "face": faces[number].as_json(), "crop": str(target)})
    if not crops:
        raise NoFaceError(f"No face was found by {detector.name}.", hint="nothing was written")
    text = "\n".join(f"{crop['crop']}  from {crop['image']}, score {crop['face']['score']:.3f}" for crop in crops)
    return Outcome({"detector": detector.name, "crops": crops}, text)


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


def embed(arguments: argparse.Namespace) -> Outcome:
    """Embeddings of every face, to a file or within the JSON result.

    Raises:
        NoFaceError: no photograph shows a face.
    """
    import numpy as np

    from edge_sphereface.image import load_image
    from edge_sphereface.storage.files import PRIVATE, atomic_write

    pipeline = open_pipeline(arguments)
    found = [(path, face) for path in arguments.image for face in pipeline.process(load_image(path))]
    if not found:
        raise NoFaceError(f"No face was found by {pipeline.detector.name}.", hint="nothing was written")
    faces: list[JsonObject] = [{"image": str(path), **item.face.as_json()} for path, item in found]
    if arguments.output is None:
        for row, (_, item) in zip(faces, found, strict=True):
            row["embedding"] = [float(value) for value in item.embedding]
        text = "\n".join(f"{row['image']}: {_describe(i.face)}" for row, (_, i) in zip(faces, found, strict=True))
        text += "\nEmbeddings are printed with --json and written with -o FILE.npz."
    else:
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
    return Outcome(
        {
            "detector": pipeline.detector.name,
            "provider": pipeline.embedder.provider.as_json(),
            "output": None if arguments.output is None else str(arguments.output),
            "faces": faces,
        },
        text,
    )


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
    parser.set_defaults(run=verify)


def verify(arguments: argparse.Namespace) -> Outcome:
    """Similarity of the two faces and what the threshold makes of it.

    Raises:
        NoFaceError: a photograph shows no face.
    """
    from edge_sphereface.compare import verify as verify_embeddings
    from edge_sphereface.image import load_image

    pipeline = open_pipeline(arguments)
    spec = pipeline.embedder.spec
    embeddings, faces = [], []
    for path in (arguments.first, arguments.second):
        try:
            item = pipeline.process_one(load_image(path), select=arguments.select)
        except NoFaceError as error:
            raise error.about(path) from error
        embeddings.append(item.embedding)
        faces.append({"image": str(path), **item.face.as_json()})
    threshold = spec.threshold if arguments.threshold is None else arguments.threshold
    source = spec.threshold_source if arguments.threshold is None else "command line"
    answer = verify_embeddings(embeddings[0], embeddings[1], threshold=threshold)
    relation = "reaches" if answer.same else "is below"
    return Outcome(
        {
            "same": answer.same,
            "similarity": answer.similarity,
            "threshold": threshold,
            "threshold_source": source,
            "detector": pipeline.detector.name,
            "provider": pipeline.embedder.provider.as_json(),
            "faces": faces,
        },
        f"{'SAME PERSON' if answer.same else 'DIFFERENT PEOPLE'}: similarity {answer.similarity:.4f} {relation} the "
        f"threshold {threshold:.3f} ({source})",
    )


def _describe(face: Face) -> str:
    left, top, right, bottom = face.box
    return f"box {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}, score {face.score:.3f}"


def _size(image: UInt8Array) -> JsonObject:
    return {"height": image.shape[0], "width": image.shape[1]}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
