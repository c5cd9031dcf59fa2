"""Infer the topology of a SphereFace network from the names and shapes of its parameters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.errors import TopologyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from export.checkpoint import TensorInfo

STAGES = 4
STRIDE = 2**STAGES
"""Pixels of the input per cell of the last stage, in each direction: each stage halves height and width."""

RESIDUAL_PAIRS = {
    4: (0, 0, 0, 0),
    10: (0, 1, 2, 0),
    20: (1, 2, 4, 1),
    36: (2, 4, 8, 2),
    64: (3, 8, 16, 3),
}
"""Residual pairs of convolutions per stage, by depth. Source: Liu et al., CVPR 2017, table 2."""

_PREFIX = "network."
_OPTIMIZER_PREFIXES = ("moments.", "moment1.", "moment2.", "accum.", "stat.")
_HEAD_PREFIX = "fc6."
_NETWORK_NAME = re.compile(r"conv\d+_\d+\.(weight|bias)|relu\d+_\d+\.w|fc5\.(weight|bias)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Topology of a SphereFace network.

    Attributes:
        depth: number of layers: 4, 10, 20, 36 or 64.
        widths: channels of the four stages.
        embedding_size: number of components D of an embedding.
        input_height: height of the input in pixels.
        input_width: width of the input in pixels.
        parameters: names in the checkpoint by name in the network, such as ``conv1_1.weight``.
        skipped: names in the checkpoint that belong to training: optimizer state, head, counters.
    """

    depth: int
    widths: tuple[int, ...]
    embedding_size: int
    input_height: int
    input_width: int
    parameters: Mapping[str, str]
    skipped: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the architecture, such as ``SphereFace-20``."""
        return f"SphereFace-{self.depth}"

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Stage and number of each convolution, in the order of computation."""
        return _layers(self.depth)


def infer_topology(entries: Mapping[str, TensorInfo], *, input_size: tuple[int, int] | None = None) -> Topology:
    """Infer depth, widths, embedding size and input size from a checkpoint.

    The embedding layer determines only the number of cells of the last stage. Without ``input_size``, the grid is the
    one nearest to a square that is not wider than tall (42 cells: 7 x 6, so 112 x 96 pixels).

    Args:
        entries: parameters of the checkpoint, by name.
        input_size: height and width of the input in pixels, if the number of cells allows more than one.

    Raises:
        TopologyError: parameters are missing, unknown or of the wrong shape; the message lists all of them.
    """
    found, skipped, problems = _sort_names(entries)
    depth = _nearest_depth(found)
    expected = {f"conv{s}_{j}.weight" for s, j in _layers(depth)} | {f"relu{s}_{j}.w" for s, j in _layers(depth)}
    expected |= {"fc5.weight", "fc5.bias"}
    optional = {f"conv{s}_{j}.bias" for s, j in _layers(depth)}
    problems += [f"{name} is missing" for name in sorted(expected - set(found), key=_order)]
    problems += [f"{found[name]} is unknown" for name in sorted(set(found) - expected - optional, key=_order)]
    known = {name: entries[source] for name, source in found.items() if name in expected | optional}
    problems += [
        f"{name} has type {info.dtype}, not a floating-point type"
        for name, info in known.items()
        if "Float" not in info.dtype
    ]
    shapes = {name: info.shape for name, info in known.items()}
    widths = tuple(_first(shapes.get(f"conv{stage}_1.weight")) for stage in range(1, STAGES + 1))
    problems += _wrong_conv_shapes(shapes, depth, widths)
    grid = _grid(shapes, widths[-1], input_size, problems)
    if problems:
        raise TopologyError(
            f"The checkpoint is not a SphereFace network (nearest: SphereFace-{depth}): {'; '.join(problems)}.",
            hint="`python -m export inspect` lists its parameters",
        )
    return Topology(
        depth=depth,
        widths=widths,
        embedding_size=_first(shapes["fc5.weight"]),
        input_height=grid[0] * STRIDE,
        input_width=grid[1] * STRIDE,
        parameters={name: found[name] for name in sorted(shapes, key=_order)},
        skipped=tuple(skipped),
    )


def training_reason(name: str, info: TensorInfo) -> str | None:
    """Reason why a parameter of a checkpoint is not exported; None if it is part of the network."""
    bare = name.removeprefix(_PREFIX)
    if name.startswith(_OPTIMIZER_PREFIXES) or bare.startswith(_OPTIMIZER_PREFIXES):
        return "optimizer"
    if bare.startswith(_HEAD_PREFIX):
        return "training head"
    if _NETWORK_NAME.fullmatch(bare) is None and info.shape in ((), (1,)):
        return "training state"
    return None


def _sort_names(entries: Mapping[str, TensorInfo]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the checkpoint names by network name, the names that belong to training, and problems with duplicates."""
    found: dict[str, str] = {}
    skipped, problems = [], []
    for name, info in entries.items():
        bare = name.removeprefix(_PREFIX)
        if training_reason(name, info) is not None:
            skipped.append(name)
        elif bare in found:
            problems.append(f"{bare} occurs with and without the prefix {_PREFIX!r}")
        else:
            found[bare] = name
    return found, skipped, problems


def _nearest_depth(names: Mapping[str, str]) -> int:
    """Return the shallowest depth that contains every convolution found."""
    convolutions = {name for name in names if name.startswith("conv") and name.endswith(".weight")}
    for depth in sorted(RESIDUAL_PAIRS):
        if convolutions <= {f"conv{s}_{j}.weight" for s, j in _layers(depth)}:
            return depth
    return max(RESIDUAL_PAIRS)


def _layers(depth: int) -> list[tuple[int, int]]:
    return [
        (stage, number)
        for stage, pairs in enumerate(RESIDUAL_PAIRS[depth], start=1)
        for number in range(1, 2 + 2 * pairs)
    ]


def _wrong_conv_shapes(shapes: Mapping[str, tuple[int, ...]], depth: int, widths: tuple[int, ...]) -> list[str]:
    problems = []
    for stage, number in _layers(depth):
        width = widths[stage - 1]
        before = width if number > 1 else (3 if stage == 1 else widths[stage - 2])
        wanted = {
            f"conv{stage}_{number}.weight": (width, before, 3, 3),
            f"conv{stage}_{number}.bias": (width,),
            f"relu{stage}_{number}.w": (width,),
        }
        problems += [
            f"{name} has shape {shapes[name]}, not {shape}"
            for name, shape in wanted.items()
            if name in shapes and (shapes[name] != shape or width == 0)
        ]
    return problems


def _grid(
    shapes: Mapping[str, tuple[int, ...]], width: int, input_size: tuple[int, int] | None, problems: list[str]
) -> tuple[int, int]:
    """Return rows and columns of the last stage's cells; append problems of fc5 to ``problems``."""
    weight, bias = shapes.get("fc5.weight"), shapes.get("fc5.bias")
    if weight is None or not width:
        return (0, 0)
    if len(weight) != 2 or not weight[0] or not weight[1] or weight[1] % width:
        problems.append(f"fc5.weight has shape {weight}, not (embedding size, a multiple of {width})")
        return (0, 0)
    if bias is not None and bias != weight[:1]:
        problems.append(f"fc5.bias has shape {bias}, not {weight[:1]}")
    cells = weight[1] // width
    if input_size is None:
        columns = max(number for number in range(1, math.isqrt(cells) + 1) if cells % number == 0)
        return (cells // columns, columns)
    rows, columns = (math.ceil(pixels / STRIDE) for pixels in input_size)
    if rows * columns != cells or any(pixels % STRIDE for pixels in input_size):
        problems.append(
            f"an input of {input_size[0]} x {input_size[1]} pixels does not give the {cells} cells of {STRIDE} x "
            f"{STRIDE} pixels that fc5.weight expects"
        )
    return (rows, columns)


def _first(shape: tuple[int, ...] | None) -> int:
    return shape[0] if shape else 0


def _order(name: str) -> tuple[int, int, str]:
    """Sort key: stage, number, name; fc5 last."""
    stage, _, number = name.partition(".")[0].removeprefix("conv").removeprefix("relu").partition("_")
    return (int(stage), int(number), name) if stage.isdecimal() and number.isdecimal() else (STAGES + 1, 0, name)
