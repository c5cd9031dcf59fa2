"""Options of several commands: what no file of weights tells, and how a conversion is proven."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.alignment import ALIGNMENT_FITS
from export.presets import PRESET_NAMES, Told
from export.reference import REFERENCE_NAMES

if TYPE_CHECKING:
    from edge_sphereface.model.origin import ColorOrder, Shortcut

_SHORTCUTS: dict[str, Shortcut] = {"after-activation": "after_activation", "before-activation": "before_activation"}


def add_told_options(parser: argparse.ArgumentParser, *, size: bool = True) -> None:
    """Add the options to a parser.

    Args:
        parser: parser of a command that reads weights.
        size: whether the size of the crops may be told.
    """
    group = parser.add_argument_group(
        "network", "What no file tells. The options after --preset replace its values, or stand without it."
    )
    group.add_argument(
        "--preset",
        choices=PRESET_NAMES,
        help="publisher of the weights, which determines how crops are made (default: recognized from the file)",
    )
    if size:
        group.add_argument(
            "--input-size", type=_size, metavar="HxW", help="size of the crops, if the file allows more than one"
        )
    group.add_argument("--color-order", type=_color_order, metavar="bgr|rgb", help="of the crops in training")
    group.add_argument("--pixel-mean", type=_number, metavar="M", help="subtracted from each pixel, such as 127.5")
    group.add_argument("--pixel-scale", type=_scale, metavar="S", help="then multiplied with, such as 1/127.5")
    group.add_argument(
        "--alignment-fit",
        choices=ALIGNMENT_FITS,
        help="alignment of the training crops: cp2tform, as in the original; umeyama, as in scikit-image",
    )
    group.add_argument(
        "--shortcut",
        choices=tuple(_SHORTCUTS),
        help="where a residual pair adds its input: after-activation, as in the original; before-activation, as "
        "opensphere's sfnet20",
    )


def told(arguments: argparse.Namespace) -> Told:
    """What the options tell."""
    return Told(
        preset=arguments.preset,
        input_size=getattr(arguments, "input_size", None),
        color_order=arguments.color_order,
        pixel_mean=arguments.pixel_mean,
        pixel_scale=arguments.pixel_scale,
        alignment_fit=arguments.alignment_fit,
        shortcut=_SHORTCUTS.get(arguments.shortcut),
    )


def add_proof_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a proof against weights to a parser."""
    group = parser.add_argument_group("proof")
    group.add_argument(
        "--reference",
        choices=REFERENCE_NAMES,
        default="auto",
        help="auto (default): MindSpore if installed, else numpy",
    )
    group.add_argument(
        "--photos", type=Path, metavar="FOLDER", help="photographs for the proof (default: the built-in one)"
    )


def _size(value: str) -> tuple[int, int]:
    height, _, width = value.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH such as 112x96, got {value!r}")
    return (int(height), int(width))


def _color_order(text: str) -> ColorOrder:
    match text.upper():
        case "BGR" | "RGB" as order:
            return order
    raise argparse.ArgumentTypeError(f"expected bgr or rgb, got {text!r:.80}")


def _number(value: str) -> float:
    """A finite number, or a quotient of two."""
    numerator, slash, denominator = value.partition("/")
    try:
        number = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"expected a number such as 127.5 or 1/127.5, got {value!r}")
    return number


def _scale(value: str) -> float:
    number = _number(value)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0 such as 1/127.5, got {value!r}")
    return number
