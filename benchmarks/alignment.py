"""Compare crops with those of the original's evaluation: kind of fit, warp and JPEG decoder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import environment
from benchmarks.result_file import keep_result
from edge_sphereface.alignment import FIT_CP2TFORM, FIT_UMEYAMA, align_for, similarity_transform
from edge_sphereface.cli.arguments import json_option, positive
from edge_sphereface.cli.runner import Outcome, Progress, UsageError
from edge_sphereface.evaluation.pairs import images_of, read_lfw
from edge_sphereface.image import load_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.json_output import INLINE, json_object

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from benchmarks.environment import Environment
    from edge_sphereface.cli.runner import Commands
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, Float64Array, UInt8Array

_BATCH = 16
_SMALLER = 0.97
_ENLARGED, _FACTORS, _NOISE = 60, (2, 3, 6), 10.0
"""Number of photographs, factors of their enlargement, and noise of the camera in levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Crops of one photograph, and their differences from those of the original's evaluation.

    Attributes:
        crop: (H, W, 3) uint8 BGR, by the fit of MATLAB's ``cp2tform``, the original's.
        umeyama_crop: the same by Umeyama's fit.
        to_reference: largest difference of a pixel from the independent solution, in levels.
        warp: largest difference of a pixel between a warp of integers and of floats, in levels.
        to_original: largest difference of a pixel from the original's crop, in levels.
        to_original_mean: mean difference of a pixel from the original's crop, in levels.
        decoder: largest difference of a pixel between the JPEG decoders, in levels.
        scale_ratio: scale of Umeyama's fit over that of ``cp2tform``.
        reflects: whether a reflection fits better.
    """

    crop: UInt8Array
    umeyama_crop: UInt8Array
    to_reference: float
    warp: float
    to_original: float
    to_original_mean: float
    decoder: float
    scale_ratio: float
    reflects: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentFigures:
    """Differences over all photographs.

    Attributes:
        to_reference_max_levels: largest difference of a pixel from the independent solution, in levels.
        umeyama_scale_ratio_median: median of the scale of Umeyama's fit over that of ``cp2tform``.
        umeyama_scale_ratio_min: least of these ratios.
        umeyama_smaller_by_3_percent: share of the photographs whose ratio is below 0.97.
        cosine_of_fits_mean: mean cosine similarity of the embeddings of both fits.
        cosine_of_fits_min: least of these similarities.
        reflection_fits_better: number of photographs that a reflection fits better.
        float_warp_max_levels: largest difference of a pixel between a warp of integers and of floats, in levels.
        decoder_max_levels: largest difference of a pixel between the JPEG decoders, in levels.
        to_original_max_levels: largest difference of a pixel from the original's crop, in levels.
        to_original_mean_levels: mean difference of a pixel from the original's crop, in levels.
    """

    to_reference_max_levels: float
    umeyama_scale_ratio_median: float
    umeyama_scale_ratio_min: float
    umeyama_smaller_by_3_percent: float
    cosine_of_fits_mean: float
    cosine_of_fits_min: float
    reflection_fits_better: int
    float_warp_max_levels: float
    decoder_max_levels: float
    to_original_max_levels: float
    to_original_mean_levels: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnlargedRow:
    """Crops of enlarged photographs with noise, compared with crops of the photographs as they are.

    Attributes:
        by: factor of the enlargement.
        photographs: number of photographs.
        noise_levels: standard deviation of the noise in levels.
        averaged_cosine_mean: mean cosine similarity of the embeddings of crops with averaging.
        averaged_cosine_min: least of these similarities.
        averaged_median_ms: median duration of such an alignment in milliseconds.
        plain_cosine_mean: mean cosine similarity of the embeddings of crops without averaging.
        plain_cosine_min: least of these similarities.
        plain_median_ms: median duration of such an alignment in milliseconds.
    """

    by: int
    photographs: int
    noise_levels: float
    averaged_cosine_mean: float
    averaged_cosine_min: float
    averaged_median_ms: float
    plain_cosine_mean: float
    plain_cosine_min: float
    plain_median_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentReport:
    """What ``alignment`` measured.

    Attributes:
        environment: machine and versions.
        model: file name of the model.
        photographs: number of photographs.
        figures: differences over all photographs.
        enlarged: one row for each factor of enlargement.
    """

    environment: Environment
    model: str
    photographs: int
    figures: AlignmentFigures = field(metadata=INLINE)
    enlarged: tuple[EnlargedRow, ...]


def add_command(added: Commands) -> None:
    """Add the command ``alignment``."""
    from pathlib import Path

    command = added.add_parser(
        "alignment",
        parents=[json_option()],
        help="compare crops of LFW with those of the original's evaluation, and measure each difference",
        description="Compare crops with an independent least-squares fit in the original's direction, both kinds of "
        "fit with each other, and warp and decoder with those of the original.",
        epilog="example: python -m benchmarks alignment model.onnx --lfw lfw -o alignment.json",
    )
    command.add_argument("model", type=Path, help="ONNX file")
    command.add_argument(
        "--lfw", type=Path, required=True, metavar="FOLDER", help="folder with images/, pairs.txt and lfw_landmark.txt"
    )
    command.add_argument(
        "--count", type=positive, default=1000, metavar="N", help="number of photographs (default 1000)"
    )
    command.add_argument("-o", "--output", type=Path, metavar="FILE.json", help="write the result")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> Outcome:
    """Measure all differences over the first photographs of the pairs."""
    pairs, folder, landmarks = read_lfw(arguments.lfw)
    if landmarks is None:
        raise UsageError("The folder has no landmarks.", hint="lfw_landmark.txt is the original's file")
    names = images_of(pairs)[: arguments.count]
    embedder = Embedder(arguments.model, provider="cpu")
    show = Progress("photographs")
    faces = []
    for number, name in enumerate(names, start=1):
        faces.append(_compare(folder / name, landmarks[name], embedder.spec))
        show(number, len(names))
    result = AlignmentReport(
        environment=environment.describe(),
        model=arguments.model.name,
        photographs=len(names),
        figures=summarize(faces, embedder),
        enlarged=tuple(_enlarged(names[:_ENLARGED], folder, landmarks, embedder, by) for by in _FACTORS),
    )
    keep_result(result, arguments.output)
    shown = {name: value for name, value in json_object(result).items() if name != "environment"}
    return Outcome(result, "\n".join(f"{name:<36} {value}" for name, value in shown.items()))


def reference_transform(landmarks: Float64Array, template: Float64Array) -> tuple[Float64Array, float]:
    """Compute the original's transform (2, 3) by numpy's general solvers, and its residual in pixels of the crop.

    The system is that of MATLAB's ``cp2tform`` for a nonreflective similarity: from template to photograph, inverted.
    """
    (x, y), one, zero = template.T, np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, y, one, zero]), np.column_stack([y, -x, zero, one])])
    (c, s, u, v), *_ = np.linalg.lstsq(system, landmarks.T.ravel(), rcond=None)
    transform = np.linalg.inv(np.array([[c, s, u], [-s, c, v], [0, 0, 1]]))[:2]
    return transform, float(np.linalg.norm(np.column_stack([landmarks, one]) @ transform.T - template))


def _compare(path: Path, landmarks: Float64Array, spec: ModelSpec) -> Comparison:
    """Compare the crops of one photograph."""
    from PIL import Image

    image, template = load_image(path), np.array(spec.landmark_template)
    ours, umeyama = (
        align_for(replace(spec, alignment_fit=fit), image, landmarks)[0] for fit in (FIT_CP2TFORM, FIT_UMEYAMA)
    )
    transform, residual = reference_transform(landmarks, template)
    _, mirrored = reference_transform(landmarks, template * [-1, 1])
    with Image.open(path) as opened:
        decoded = np.ascontiguousarray(np.asarray(opened.convert("RGB"))[..., ::-1])
    as_original = _warp(decoded.astype(np.float32), transform, (spec.input_width, spec.input_height))
    as_float = _warp(image.astype(np.float32), transform, (spec.input_width, spec.input_height))
    reference = _warp(image, transform, (spec.input_width, spec.input_height))
    scales = [
        float(np.hypot(*similarity_transform(landmarks[None], template, fit=fit)[0, :, 0]))
        for fit in (FIT_UMEYAMA, FIT_CP2TFORM)
    ]
    return Comparison(
        crop=ours,
        umeyama_crop=umeyama,
        to_reference=_furthest(ours, reference),
        warp=_furthest(reference, as_float),
        to_original=_furthest(ours, as_original),
        to_original_mean=float(np.abs(ours - as_original).mean()),
        decoder=_furthest(image, decoded),
        scale_ratio=scales[0] / scales[1],
        reflects=mirrored < residual,
    )


def summarize(faces: Sequence[Comparison], embedder: Embedder) -> AlignmentFigures:
    """Summarize the comparisons of all photographs.

    Args:
        faces: comparisons of each face.
        embedder: embeds the crops of both kinds of fit.
    """
    ratios = np.array([face.scale_ratio for face in faces])
    crops = [face.crop for face in faces], [face.umeyama_crop for face in faces]
    cosines = np.einsum("nd,nd->n", *(_embed(embedder, some) for some in crops))
    return AlignmentFigures(
        to_reference_max_levels=max(face.to_reference for face in faces),
        umeyama_scale_ratio_median=float(np.median(ratios)),
        umeyama_scale_ratio_min=float(ratios.min()),
        umeyama_smaller_by_3_percent=float((ratios < _SMALLER).mean()),
        cosine_of_fits_mean=float(cosines.mean()),
        cosine_of_fits_min=float(cosines.min()),
        reflection_fits_better=sum(face.reflects for face in faces),
        float_warp_max_levels=max(face.warp for face in faces),
        decoder_max_levels=max(face.decoder for face in faces),
        to_original_max_levels=max(face.to_original for face in faces),
        to_original_mean_levels=float(np.mean([face.to_original_mean for face in faces])),
    )


def _enlarged(
    names: list[str], folder: Path, landmarks: dict[str, Float64Array], embedder: Embedder, by: int
) -> EnlargedRow:
    """Compare crops of enlarged photographs, with and without averaging, with crops of the originals.

    The enlarged photographs get noise, as from a camera with more pixels.
    """
    import cv2

    random = np.random.default_rng(0)
    spec = embedder.spec
    crops: tuple[list[UInt8Array], ...] = ([], [], [])
    took: tuple[list[float], list[float]] = ([], [])
    for name in names:
        image = load_image(folder / name)
        large = cv2.resize(image, None, fx=by, fy=by, interpolation=cv2.INTER_CUBIC).astype(np.float32)
        large += random.standard_normal(large.shape, dtype=np.float32) * _NOISE
        noisy = np.clip(np.rint(large), 0, 255).astype(np.uint8)
        points = (landmarks[name] + 0.5) * by - 0.5
        crops[0].append(align_for(spec, image, landmarks[name])[0])
        begin = time.perf_counter()
        crops[1].append(align_for(spec, noisy, points)[0])
        middle = time.perf_counter()
        transform = similarity_transform(points[None], spec.landmark_template, fit=spec.alignment_fit)[0]
        crops[2].append(_warp(noisy, transform, (spec.input_width, spec.input_height)))
        took[0].append(1000 * (middle - begin))
        took[1].append(1000 * (time.perf_counter() - middle))
    as_is, averaged, plain = (_embed(embedder, some) for some in crops)
    to_averaged, to_plain = (np.einsum("nd,nd->n", as_is, rows) for rows in (averaged, plain))
    return EnlargedRow(
        by=by,
        photographs=len(names),
        noise_levels=_NOISE,
        averaged_cosine_mean=float(to_averaged.mean()),
        averaged_cosine_min=float(to_averaged.min()),
        averaged_median_ms=float(np.median(took[0])),
        plain_cosine_mean=float(to_plain.mean()),
        plain_cosine_min=float(to_plain.min()),
        plain_median_ms=float(np.median(took[1])),
    )


def _embed(embedder: Embedder, crops: list[UInt8Array]) -> Float32Array:
    batches = [crops[at : at + _BATCH] for at in range(0, len(crops), _BATCH)]
    return np.concatenate([embedder.embed(np.stack(batch)) for batch in batches])


def _warp(image: NDArray[Any], transform: Float64Array, size: tuple[int, int]) -> NDArray[Any]:
    """Warp as the original does: bilinear, with a black border. ``size`` is (width, height) in pixels."""
    import cv2

    warped: NDArray[Any] = np.asarray(cv2.warpAffine(image, transform, size))
    return warped


def _furthest(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(np.abs(first.astype(np.float32) - second.astype(np.float32)).max())
