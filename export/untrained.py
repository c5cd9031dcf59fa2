"""A checkpoint of the official architecture and file format with random weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from export.checkpoint.ckpt_writer import write_ckpt
from export.topology import RESIDUAL_PAIRS, STAGES, STRIDE

if TYPE_CHECKING:
    from pathlib import Path

OFFICIAL_WIDTHS = (64, 128, 256, 512)
OFFICIAL_HEAD = 10574
_SEED = 17
_SLOPE = 0.25


def untrained_parameters(
    *,
    depth: int = 20,
    pairs: tuple[int, ...] | None = None,
    widths: tuple[int, int, int, int] = OFFICIAL_WIDTHS,
    embedding_size: int = 512,
    input_size: tuple[int, int] = (112, 96),
    bias: bool = False,
) -> dict[str, np.ndarray[Any, Any]]:
    """Generate random parameters of a SphereFace network. The result is deterministic.

    Args:
        depth: number of layers: 4, 10, 20, 36 or 64.
        pairs: residual pairs of each stage; None for those of ``depth``.
        widths: channels of the four stages.
        embedding_size: number of components D of an embedding.
        input_size: height and width of the input in pixels.
        bias: add biases to the convolutions; the original has none.

    Returns:
        float32 arrays by name, in the order of computation.
    """
    random = np.random.RandomState(_SEED)  # the same stream in every numpy
    parameters: dict[str, np.ndarray[Any, Any]] = {}
    before = 3
    for stage, (width, count) in enumerate(zip(widths, pairs or RESIDUAL_PAIRS[depth], strict=True), start=1):
        for number in range(1, 2 + 2 * count):
            parameters[f"conv{stage}_{number}.weight"] = _normal(random, (width, before, 3, 3), before * 9)
            if bias:
                parameters[f"conv{stage}_{number}.bias"] = _normal(random, (width,), 100)
            parameters[f"relu{stage}_{number}.w"] = np.full(width, _SLOPE, dtype=np.float32)
            before = width
    cells = math.prod(size // STRIDE for size in input_size)
    parameters["fc5.weight"] = _normal(random, (embedding_size, widths[STAGES - 1] * cells), widths[STAGES - 1] * cells)
    parameters["fc5.bias"] = np.zeros(embedding_size, dtype=np.float32)
    return parameters


def write_untrained(path: Path, *, depth: int = 20) -> None:
    """Write an untrained network with the layout of the official file: network, training head, momentum of both.

    Args:
        path: path of the file.
        depth: number of layers, see :func:`untrained_parameters`.

    Raises:
        OutputError: the file cannot be written.
    """
    network = untrained_parameters(depth=depth)
    random = np.random.RandomState(_SEED)
    network["fc6.weight"] = _normal(random, (len(network["fc5.bias"]), OFFICIAL_HEAD), len(network["fc5.bias"]))
    named = {f"network.{name}": values for name, values in network.items()}
    momentum = {f"moments.{name}": np.zeros_like(values) for name, values in named.items()}
    write_ckpt(path, {**named, **momentum})


def _normal(random: np.random.RandomState, shape: tuple[int, ...], fan_in: int) -> np.ndarray[Any, Any]:
    return (random.standard_normal(shape) * math.sqrt(2 / fan_in)).astype(np.float32)
