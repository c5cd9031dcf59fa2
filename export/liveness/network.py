"""Structure of a MiniFASNet, read from the names and shapes of its parameters.

The network halves the size of a crop four times. Between, blocks of three convolutions (1 x 1, depthwise 3 x 3, 1 x 1)
are added to their input; in the variants whose names end in SE, the last block of each group weighs its channels first.

Source: minivision-ai/Silent-Face-Anti-Spoofing, src/model_lib/MiniFASNet.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from export.errors import CheckpointError, TopologyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from export.checkpoint import Checkpoint

    Parameters = Mapping[str, np.ndarray[Any, Any]]

EPSILON: Final = 1e-5
"""PyTorch's default, which the published networks were trained with. Files of parameters do not tell it."""
CHANNELS: Final = 3
_HALVINGS: Final = 4
_GROUPS: Final = (("conv_23", "conv_3", 4), ("conv_34", "conv_4", 6), ("conv_45", "conv_5", 2))
"""A block that halves the size, and the group of residual blocks after it with their number."""
_PARALLEL_PREFIX: Final = "module."
"""What PyTorch's DataParallel puts before every name."""
_COUNTER: Final = "num_batches_tracked"
_MOMENTS: Final = ("weight", "bias", "running_mean", "running_var")
_MAX_CHANNELS: Final = 4096
_MAX_KERNEL: Final = 64
_NO_NETWORK_HINT: Final = "take one of the files of Silent-Face-Anti-Spoofing: python -m export fetch minifasnet-v2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """A convolution with batch normalization after it.

    Attributes:
        name: prefix of its parameters; those of the normalization begin with ``normalization``.
        normalization: likewise.
        stride: of both directions.
        padding: zeros on each side.
        groups: number of groups; the number of channels for a depthwise one.
        slopes: name of the slopes of the PReLU after it; empty where none follows.
    """

    name: str
    normalization: str
    stride: int = 1
    padding: int = 0
    groups: int = 1
    slopes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Convolutions one after the other, and what surrounds them.

    Attributes:
        convolutions: in order.
        is_residual: whether the input is added to the result.
        gate: the two 1 x 1 convolutions that compute a weight of each channel from its mean; () without.
    """

    convolutions: tuple[Convolution, ...]
    is_residual: bool = False
    gate: tuple[Convolution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LivenessNetwork:
    """A MiniFASNet with its parameters.

    Attributes:
        architecture: ``MiniFASNet``, or ``MiniFASNetSE`` if it weighs channels.
        blocks: in order, up to one vector per crop.
        side: height and width of the crop in pixels, from the size of the last convolution.
        classes: number of classes.
        parameters: arrays by name, each of which the network uses.
        skipped: names of parameters that only training needs.
    """

    architecture: str
    blocks: tuple[Block, ...]
    side: int
    classes: int
    parameters: Parameters
    skipped: tuple[str, ...]


def read_network(checkpoint: Checkpoint) -> LivenessNetwork:
    """Read a network from an open file of parameters.

    Raises:
        TopologyError: a parameter is missing, is too many, or has another shape: it is another network.
        CheckpointError: a value is not finite, or a variance is negative.
    """
    names = {name.removeprefix(_PARALLEL_PREFIX): name for name in checkpoint.entries}
    if "conv_6_dw.conv.weight" not in names or "prob.weight" not in names:
        raise TopologyError(
            f"Expected the parameters of a MiniFASNet, but {checkpoint.path.name} has none of them.",
            hint=_NO_NETWORK_HINT,
        )
    blocks = tuple(_blocks(names))
    expected = _expected_shapes(blocks, {name: checkpoint.entries[file].shape for name, file in names.items()})
    skipped = tuple(sorted(name for name in names if name.endswith(f".{_COUNTER}")))
    foreign = sorted(set(names) - set(expected) - set(skipped))
    if foreign:
        raise TopologyError(
            f"{checkpoint.path.name} has {len(foreign)} parameters that no MiniFASNet has, such as {foreign[0]!r:.80}.",
            hint=_NO_NETWORK_HINT,
        )
    parameters = {name: checkpoint.read(names[name]) for name in expected}
    _check_values(parameters)
    last = parameters["conv_6_dw.conv.weight"]
    return LivenessNetwork(
        architecture="MiniFASNetSE" if any(block.gate for block in blocks) else "MiniFASNet",
        blocks=blocks,
        side=last.shape[2] << _HALVINGS,
        classes=parameters["prob.weight"].shape[0],
        parameters=parameters,
        skipped=skipped,
    )


def _blocks(names: Mapping[str, str]) -> Iterator[Block]:
    yield Block(convolutions=(_convolution("conv1", stride=2, padding=1),))
    yield Block(convolutions=(_convolution("conv2_dw", padding=1, groups=0),))
    for halving, group, count in _GROUPS:
        yield Block(convolutions=_depthwise(halving, stride=2))
        for number in range(count):
            name = f"{group}.model.{number}"
            gate = f"{name}.se_module"
            yield Block(
                convolutions=_depthwise(name),
                is_residual=True,
                gate=(_gate(gate, 1), _gate(gate, 2)) if f"{gate}.fc1.weight" in names else (),
            )
    yield Block(convolutions=(_convolution("conv_6_sep"), _convolution("conv_6_dw", groups=0, is_linear=True)))


def _convolution(
    name: str, *, stride: int = 1, padding: int = 0, groups: int = 1, is_linear: bool = False
) -> Convolution:
    """A convolution; ``groups`` of 0 stand for one of each channel, see :func:`_expected_shapes`."""
    return Convolution(
        name=f"{name}.conv",
        normalization=f"{name}.bn",
        stride=stride,
        padding=padding,
        groups=groups,
        slopes="" if is_linear else f"{name}.prelu.weight",
    )


def _depthwise(name: str, *, stride: int = 1) -> tuple[Convolution, ...]:
    return (
        _convolution(f"{name}.conv"),
        _convolution(f"{name}.conv_dw", stride=stride, padding=1, groups=0),
        _convolution(f"{name}.project", is_linear=True),
    )


def _gate(name: str, number: int) -> Convolution:
    return Convolution(name=f"{name}.fc{number}", normalization=f"{name}.bn{number}")


def _expected_shapes(blocks: tuple[Block, ...], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter, with the numbers of channels that the file has.

    Raises:
        TopologyError: one is missing or has another shape.
    """
    found = _Shapes(shapes)
    channels = CHANNELS
    for block in blocks:
        before = channels
        for layer in block.convolutions:
            channels = found.convolve(layer, channels)
        gated = channels
        for layer in block.gate:
            gated = found.convolve(layer, gated)
        if (block.is_residual and channels != before) or gated != channels:
            raise TopologyError(
                f"{block.convolutions[0].name} begins a block of {before} channels that ends with {channels}.",
                hint=_NO_NETWORK_HINT,
            )
    rows, columns = shapes["conv_6_dw.conv.weight"][2:]
    if rows != columns or not 1 <= rows <= _MAX_KERNEL:
        raise TopologyError(f"Expected crops as high as wide, but the last convolution is {rows} x {columns}.")
    values = found.require("linear.weight", (None, channels))[0]
    found.require_normalization("bn", values)
    found.require("prob.weight", (None, values))
    return found.expected


class _Shapes:
    """Checks the shapes of the parameters of a file, and collects those that the network uses."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self.expected: dict[str, tuple[int, ...]] = {}

    def require(self, name: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        """Require a shape in which None stands for any number of channels."""
        found = self._shapes.get(name)
        sizes = () if found is None else found
        if len(sizes) != len(shape) or any(
            wanted not in (None, size) for wanted, size in zip(shape, sizes, strict=True)
        ):
            raise TopologyError(
                f"Expected the parameter {name} of shape {_words(shape)}, but the file has "
                f"{'none' if found is None else _words(found) or 'a number'}.",
                hint=_NO_NETWORK_HINT,
            )
        if not 1 <= min(sizes) <= max(sizes) <= _MAX_CHANNELS:
            raise TopologyError(f"Expected 1 to {_MAX_CHANNELS} channels, but {name} has the shape {_words(sizes)}.")
        self.expected[name] = sizes
        return sizes

    def require_normalization(self, name: str, channels: int) -> None:
        """Require the parameters of a batch normalization."""
        for moment in _MOMENTS:
            self.require(f"{name}.{moment}", (channels,))

    def convolve(self, layer: Convolution, channels: int) -> int:
        """Require a convolution of some channels with what follows it; returns its number of outputs."""
        kernel = _kernel(layer)
        is_depthwise = layer.groups == 0
        shape = (channels, 1, kernel, kernel) if is_depthwise else (None, channels, kernel, kernel)
        outputs = self.require(f"{layer.name}.weight", shape)[0]
        self.require_normalization(layer.normalization, outputs)
        if layer.slopes:
            self.require(layer.slopes, (outputs,))
        return outputs


def _words(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)


def _kernel(layer: Convolution) -> int | None:
    if layer.name == "conv_6_dw.conv":
        return None
    return 3 if layer.padding else 1


def _check_values(parameters: Parameters) -> None:
    for name, values in parameters.items():
        if not np.issubdtype(values.dtype, np.floating):
            raise CheckpointError(f"Expected floating-point values, but {name} has the type {values.dtype}.")
        if not np.isfinite(values).all():
            raise CheckpointError(f"The parameter {name} has values that are not finite.")
        if name.endswith(".running_var") and values.min() < 0:
            raise CheckpointError(f"Expected variances of at least 0, but the least of {name} is {values.min():g}.")
