"""What no file of weights tells, by publisher or as a user tells it: how the crops of a network are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.alignment import FIT_CP2TFORM, FIT_UMEYAMA

if TYPE_CHECKING:
    from edge_sphereface.alignment import AlignmentFit
    from edge_sphereface.model.origin import ColorOrder, Shortcut

PresetName: TypeAlias = Literal["mindspore", "caffe", "clcarwin", "uniface", "opensphere", "opensphere-deprecated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How the crops that a network expects are made from photographs.

    The landmark template follows from the size of the crop.

    Attributes:
        color_order: order of the three input channels.
        pixel_mean: value subtracted from each pixel (0 to 255).
        pixel_scale: factor applied to the difference.
        alignment_fit: kind of fit that aligned the training crops.
    """

    color_order: ColorOrder
    pixel_mean: float
    pixel_scale: float
    alignment_fit: AlignmentFit


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Conventions of a publisher.

    Attributes:
        name: name in options.
        title: description in words.
        preprocessing: how the crops are made.
        shortcut: where a residual pair adds its input; see :class:`export.topology.Topology`.
    """

    name: PresetName
    title: str
    preprocessing: Preprocessing
    shortcut: Shortcut


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a user tells of a network; None for what its file or its publisher tells.

    Attributes:
        preset: publisher whose conventions hold where the other values are None.
        input_size: height and width of the crop in pixels; see :func:`export.topology.infer_topology`.
        color_order: as in :class:`Preprocessing`.
        pixel_mean: as in :class:`Preprocessing`.
        pixel_scale: as in :class:`Preprocessing`.
        alignment_fit: as in :class:`Preprocessing`.
        shortcut: where a residual pair adds its input; see :class:`export.topology.Topology`.
    """

    preset: PresetName | None = None
    input_size: tuple[int, int] | None = None
    color_order: ColorOrder | None = None
    pixel_mean: float | None = None
    pixel_scale: float | None = None
    alignment_fit: AlignmentFit | None = None
    shortcut: Shortcut | None = None


NOTHING_TOLD = Told()

_ORIGINAL = Preprocessing(color_order="BGR", pixel_mean=127.5, pixel_scale=1 / 128, alignment_fit=FIT_CP2TFORM)
"""Source: wy1iu/sphereface, test/code/evaluation.m; clcarwin/sphereface_pytorch, lfw_eval.py; MindSpore's README."""

_LATER = Preprocessing(color_order="RGB", pixel_mean=127.5, pixel_scale=1 / 127.5, alignment_fit=FIT_CP2TFORM)
"""Source: ydwen/opensphere, main_inference.py and face_alignment."""
_UNIFACE = replace(_LATER, alignment_fit=FIT_UMEYAMA)
"""Source: yakhyo/uniface, uniface/recognition."""

_PUBLISHERS: tuple[tuple[PresetName, str, Preprocessing, Shortcut], ...] = (
    ("mindspore", "MindSpore Hub's SphereFace", _ORIGINAL, "after_activation"),
    ("caffe", "the authors' Caffe network (wy1iu/sphereface)", _ORIGINAL, "after_activation"),
    ("clcarwin", "clcarwin/sphereface_pytorch", _ORIGINAL, "after_activation"),
    ("uniface", "uniface, yakhyo/face-recognition", _UNIFACE, "after_activation"),
    ("opensphere", "ydwen/opensphere, sfnet", _LATER, "before_activation"),
    ("opensphere-deprecated", "ydwen/opensphere, sfnet_deprecated", _LATER, "after_activation"),
)
PRESETS = {
    name: Preset(name=name, title=title, preprocessing=preprocessing, shortcut=shortcut)
    for name, title, preprocessing, shortcut in _PUBLISHERS
}
"""Presets by name."""
PRESET_NAMES = tuple(PRESETS)
