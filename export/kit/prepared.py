"""Crops as a network takes them, and as the usual mistakes prepare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from export.parity import normalize_plainly

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge_sphereface.kit.manifest import MistakeName
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array

_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1. Source: the models of torchvision."""

_ROUNDING = 1e-2
"""Share of the input's range up to which values beyond it do not count."""


class PreparedWrongly(NamedTuple):
    """Crops as a mistake prepares them.

    Attributes:
        names: the mistake; two that are made at once.
        how: how exactly the crops were prepared.
        batch: (N, 3, H, W) float32, what the network gets.
    """

    names: tuple[MistakeName, ...]
    how: str
    batch: Float32Array


def mistaken_batches(crops: UInt8Array, spec: ModelSpec) -> Iterator[PreparedWrongly]:
    """Prepare crops with each usual mistake.

    A quantized input holds no values beyond those of rightly prepared crops: what exceeds them comes a second time, cut
    off there.

    Args:
        crops: (N, H, W, 3) uint8 BGR.
        spec: specification of the network; gives the right mean and scale.
    """
    low, high = ((value - spec.pixel_mean) * spec.pixel_scale for value in (0, 255))
    for prepared in _prepared(crops, spec):
        yield prepared
        cut = np.clip(prepared.batch, low, high)
        if np.abs(cut - prepared.batch).max() > _ROUNDING * (high - low):
            yield prepared._replace(how=f"{prepared.how}, cut off by a quantized input", batch=cut)


def _prepared(crops: UInt8Array, spec: ModelSpec) -> Iterator[PreparedWrongly]:
    mean, scale = spec.pixel_mean, spec.pixel_scale
    values = crops.astype(np.float64)
    right = (values - mean) * scale
    swapped = crops[..., ::-1]
    yield PreparedWrongly(("red-blue-swapped",), "RGB crops", normalize_plainly(swapped, spec))
    yield PreparedWrongly(("normalized-twice",), "normalized crops normalized again", _planes((right - mean) * scale))
    yield PreparedWrongly(("not-normalized",), "pixels of 0 to 255 as they are", _planes(values))
    yield PreparedWrongly(("zero-to-one",), "pixels divided by 255", _planes(values / 255))
    yield PreparedWrongly(("mean-only",), "pixels minus the mean", _planes(values - mean))
    yield PreparedWrongly(("scale-only",), "pixels times the scale", _planes(values * scale))
    imagenet = (swapped / 255 - _IMAGENET_MEAN) / _IMAGENET_DEVIATION
    yield PreparedWrongly(("imagenet-normalized",), "BGR crops", _planes(imagenet[..., ::-1]))
    yield PreparedWrongly(("imagenet-normalized", "red-blue-swapped"), "RGB crops", _planes(imagenet))
    yield from _confused_layouts(crops, spec)
    yield PreparedWrongly(("not-normalized", "red-blue-swapped"), "RGB pixels of 0 to 255", _planes(values[..., ::-1]))
    yield PreparedWrongly(("zero-to-one", "red-blue-swapped"), "RGB pixels divided by 255", _planes(swapped / 255))


def _confused_layouts(crops: UInt8Array, spec: ModelSpec) -> Iterator[PreparedWrongly]:
    count, height, width, _ = crops.shape
    planes = (count, 3, height, width)
    name: tuple[MistakeName, ...] = ("height-width-swapped",)
    right = normalize_plainly(crops, spec)
    if height != width:
        yield PreparedWrongly(
            name, "transposed crops in memory", np.ascontiguousarray(right.transpose(0, 1, 3, 2)).reshape(planes)
        )
        turned = _stacked(cv2.resize(crop, (height, width)) for crop in crops)  # OpenCV takes the width first
        yield PreparedWrongly(
            name, f"crops resized to {height} pixels of width", normalize_plainly(turned, spec).reshape(planes)
        )
    upright = _stacked(cv2.resize(np.ascontiguousarray(crop.transpose(1, 0, 2)), (width, height)) for crop in crops)
    yield PreparedWrongly(name, "transposed crops, resized to fit", normalize_plainly(upright, spec))
    pixels = np.ascontiguousarray(right.transpose(0, 2, 3, 1))
    yield PreparedWrongly(("nhwc-as-nchw",), "pixels read as planes", pixels.reshape(planes))
    as_pixels = np.ascontiguousarray(crops.transpose(0, 3, 1, 2)).reshape(crops.shape)
    yield PreparedWrongly(("nhwc-as-nchw",), "planes read as pixels", normalize_plainly(as_pixels, spec))


def _stacked(crops: Iterable[object]) -> UInt8Array:
    return np.stack([np.asarray(crop, dtype=np.uint8) for crop in crops])


def _planes(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Float32Array:
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2), dtype=np.float32)
