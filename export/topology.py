"""Infer the topology of a SphereFace network from the names and shapes of its parameters."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.storage.bounded_json import shown
from export.errors import TopologyError
from export.naming import MOMENTS, sort_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_sphereface.model.origin import Shortcut
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
"""Residual pairs of convolutions per stage, by depth. Source: Liu et al., CVPR 2017, table 2. Other networks may have
other numbers: the authors' Caffe network of the name SphereFace-64 has 3, 7, 16 and 3."""

BATCH_NORMALIZATION_EPSILON = 1e-5
"""Default of PyTorch's batch normalization, which no state dict holds."""

Activation: TypeAlias = Literal["prelu", "relu"]

_LAYER = re.compile(r"(?:conv|relu|bn)([0-9]{1,4})_([0-9]{1,4})\.")
_MAX_PAIRS = 512
_MAX_PROBLEMS = 20
"""A different network has hundreds: the first ones tell as much."""
_MAX_FOREIGN = 0.25
"""Share of the parameters without a place in SphereFace above which a file holds another architecture."""
_SHOWN_NAMES = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What the parameters of a network do not tell.

    Attributes:
        activation: ``prelu``, with one slope per channel, or ``relu``; None to take it from the names of the
            parameters.
        shortcut: where a residual pair adds its input: ``after_activation`` for x + act(conv(...)), as in the original;
            ``before_activation`` for act(x + conv(...)).
        epsilon: constant added to the variance of each batch normalization.
    """

    activation: Activation | None = None
    shortcut: Shortcut = "after_activation"
    epsilon: float = BATCH_NORMALIZATION_EPSILON


_ORIGINAL_STRUCTURE = Structure()


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """Topology of a SphereFace network.

    Attributes:
        pairs: residual pairs of convolutions of the four stages.
        widths: channels of the four stages.
        embedding_size: number of components D of an embedding.
        input_height: height of the input in pixels.
        input_width: width of the input in pixels.
        parameters: names in the checkpoint by name in the network, such as ``conv1_1.weight``; see
            :mod:`export.naming`.
        skipped: names in the checkpoint that belong to training: optimizer state, head, counters.
        activation: ``prelu``, with one slope per channel, or ``relu``.
        shortcut: where a residual pair adds its input, see :class:`Structure`.
        epsilon: constant added to the variance of each batch normalization.
    """

    pairs: tuple[int, ...]
    widths: tuple[int, ...]
    embedding_size: int
    input_height: int
    input_width: int
    parameters: Mapping[str, str]
    skipped: tuple[str, ...]
    activation: Activation = "prelu"
    shortcut: Shortcut = "after_activation"
    epsilon: float = BATCH_NORMALIZATION_EPSILON

    @property
    def depth(self) -> int:
        """Number of convolutions."""
        return _depth(self.pairs)

    @property
    def name(self) -> str:
        """Name of the architecture, such as ``SphereFace-20``."""
        return _name(self.pairs)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Stage and number of each convolution, in the order of computation."""
        return _layers(self.pairs)

    @property
    def is_normalized(self) -> bool:
        """Whether batch normalizations follow the convolutions or the embedding layer."""
        return any(name.startswith("bn") for name in self.parameters)

    @property
    def normalization_epsilon(self) -> float | None:
        """Constant added to the variances; None for a network without batch normalization."""
        return self.epsilon if self.is_normalized else None

    @property
    def is_original(self) -> bool:
        """Whether the network computes as the original does: PReLU, no batch normalization, addition at the end."""
        is_sum_last = self.shortcut == "after_activation"
        return self.activation == "prelu" and is_sum_last and not self.is_normalized


def infer_topology(
    entries: Mapping[str, TensorInfo],
    *,
    input_size: tuple[int, int] | None = None,
    structure: Structure = _ORIGINAL_STRUCTURE,
) -> Topology:
    """Infer depth, widths, embedding size and input size from a checkpoint.

    The embedding layer determines only the number of cells of the last stage. Without ``input_size``, the grid is the
    one nearest to a square that is not wider than tall (42 cells: 7 x 6, so 112 x 96 pixels).

    Args:
        entries: parameters of the checkpoint, by name.
        input_size: height and width of the input in pixels, if the number of cells allows more than one.
        structure: what the parameters do not tell.

    Raises:
        TopologyError: parameters are missing, unknown or of the wrong shape; the message lists them.
    """
    names = sort_names(entries)
    found, problems = names.found, list(names.problems)
    pairs = _pairs(found)
    activation = structure.activation or ("relu" if names.style == "layers" else "prelu")
    expected, optional = _expected(pairs, found, activation)
    foreign = sorted(set(found) - expected - optional, key=_order)
    if len(foreign) > _MAX_FOREIGN * len(found):
        raise _other_architecture([found[name] for name in foreign], entries)
    problems += [f"{name} is missing" for name in sorted(expected - set(found), key=_order)]
    problems += [f"{shown(found[name])} is unknown" for name in foreign]
    known = {name: entries[source] for name, source in found.items() if name in expected | optional}
    problems += [
        f"{name} has type {info.dtype}, not a floating-point type"
        for name, info in known.items()
        if "Float" not in info.dtype
    ]
    shapes = {name: info.shape for name, info in known.items()}
    widths = tuple(_first(shapes.get(f"conv{stage}_1.weight")) for stage in range(1, STAGES + 1))
    problems += _wrong_shapes(shapes, pairs, widths)
    grid = _grid(shapes, widths[-1], input_size, problems)
    if problems:
        more = len(problems) - _MAX_PROBLEMS
        listed = problems if more <= 0 else [*problems[:_MAX_PROBLEMS], f"and {more} more"]
        raise TopologyError(
            f"The checkpoint is not a SphereFace network (nearest: {_name(pairs)}): {'; '.join(listed)}.",
            hint="`python -m export inspect` lists its parameters",
        )
    return Topology(
        pairs=pairs,
        widths=widths,
        embedding_size=_first(shapes["fc5.weight"]),
        input_height=grid[0] * STRIDE,
        input_width=grid[1] * STRIDE,
        parameters={name: found[name] for name in sorted(shapes, key=_order)},
        skipped=names.skipped,
        activation=activation,
        shortcut=structure.shortcut,
        epsilon=structure.epsilon,
    )


def _other_architecture(foreign: Sequence[str], entries: Mapping[str, TensorInfo]) -> TopologyError:
    names = ", ".join(shown(name) for name in [name for name in entries if name in set(foreign)][:_SHOWN_NAMES])
    more = f" and {len(foreign) - _SHOWN_NAMES} more" if len(foreign) > _SHOWN_NAMES else ""
    likely = ", whose names are those of a ResNet" if any(".downsample." in name for name in foreign) else ""
    return TopologyError(
        f"The checkpoint holds another architecture{likely}. Expected a SphereFace network: the weights of four stages "
        "of convolutions and of one embedding layer, under the names of one of its publishers. But "
        f"{len(foreign)} of {len(entries)} parameters are unknown: {names}{more}.",
        hint="take a SphereFace network, or give your own the names conv1_1.weight, relu1_1.weight, … fc5.bias; "
        "`python -m export inspect` lists the parameters",
    )


def _name(pairs: tuple[int, ...]) -> str:
    published = pairs in RESIDUAL_PAIRS.values()
    return f"SphereFace-{_depth(pairs)}" + ("" if published else f" ({'-'.join(map(str, pairs))})")


def _depth(pairs: tuple[int, ...]) -> int:
    return STAGES + 2 * sum(pairs)


def _layers(pairs: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(stage, number) for stage, count in enumerate(pairs, start=1) for number in range(1, 2 + 2 * count)]


def _pairs(names: Mapping[str, str]) -> tuple[int, ...]:
    """Return the fewest residual pairs per stage that contain every convolution found."""
    last = [1] * STAGES
    for name in names:
        stage, number, _ = _order(name)
        if name.startswith("conv") and name.endswith(".weight") and 1 <= stage <= STAGES and number <= 2 * _MAX_PAIRS:
            last[stage - 1] = max(last[stage - 1], number)
    return tuple(number // 2 for number in last)


def _expected(pairs: tuple[int, ...], found: Mapping[str, str], activation: Activation) -> tuple[set[str], set[str]]:
    """Return the names that a network of these pairs must have, and those that it may have."""
    layers = [f"{stage}_{number}" for stage, number in _layers(pairs)]
    expected = {"fc5.weight", "fc5.bias", *(f"conv{layer}.weight" for layer in layers)}
    if activation == "prelu":
        expected |= {f"relu{layer}.w" for layer in layers}
    normalized = [*layers] if any(name.startswith("bn") and "_" in name for name in found) else []
    normalized += ["5"] if any(name.startswith("bn5.") for name in found) else []
    expected |= {f"bn{layer}.{moment}" for layer in normalized for moment in MOMENTS}
    return expected, {f"conv{layer}.bias" for layer in layers}


def _wrong_shapes(shapes: Mapping[str, tuple[int, ...]], pairs: tuple[int, ...], widths: tuple[int, ...]) -> list[str]:
    wanted: dict[str, tuple[int, ...]] = {}
    for stage, number in _layers(pairs):
        width = widths[stage - 1]
        before = width if number > 1 else (3 if stage == 1 else widths[stage - 2])
        layer = f"{stage}_{number}"
        wanted[f"conv{layer}.weight"] = (width, before, 3, 3)
        for name in (f"conv{layer}.bias", f"relu{layer}.w", *(f"bn{layer}.{moment}" for moment in MOMENTS)):
            wanted[name] = (width,)
    for name in ("fc5.bias", *(f"bn5.{moment}" for moment in MOMENTS)):
        wanted[name] = shapes.get("fc5.weight", ())[:1]
    return [
        f"{name} has shape {shapes[name]}, not {shape}"
        for name, shape in wanted.items()
        if name in shapes and (shapes[name] != shape or 0 in shape)
    ]


def _grid(
    shapes: Mapping[str, tuple[int, ...]], width: int, input_size: tuple[int, int] | None, problems: list[str]
) -> tuple[int, int]:
    """Return rows and columns of the last stage's cells; append problems of fc5 to ``problems``."""
    weight = shapes.get("fc5.weight")
    if weight is None or not width:
        return (0, 0)
    if len(weight) != 2 or not weight[0] or not weight[1] or weight[1] % width:
        problems.append(f"fc5.weight has shape {weight}, not (embedding size, a multiple of {width})")
        return (0, 0)
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
    found = _LAYER.match(name)
    return (int(found[1]), int(found[2]), name) if found is not None else (STAGES + 1, 0, name)
