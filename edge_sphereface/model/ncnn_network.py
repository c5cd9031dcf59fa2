"""Reads the description of a network for ncnn (``.param``), which ncnn itself does not check.

ncnn takes sizes and names as they come, and reads or writes beyond its buffers where they are wrong. Only networks of
this project are accepted: 3 x 3 convolutions with PReLU or ReLU, residual additions, and a fully connected layer.

References:
    https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure and .../wiki/operators
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.model.spec import LAYOUT_NCHW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_sphereface.model.spec import ModelSpec

    Shape = tuple[int, ...]

INPUT, OUTPUT = "in0", "out0"
"""Names of the input and the output of a network, as pnnx gives them."""
MAX_NETWORK_BYTES = 1 << 20

_FORMAT = "7767517"
"""First line of every description. Source: ncnn, Net::load_param."""
_MAX_LAYERS = 1024
_MAX_VALUES = 1 << 24
"""Largest number of values between two layers. The official network has 172,032."""
_NAME = re.compile(r"[A-Za-z0-9_.]{1,255}")
_VALUE = re.compile(r"(\d{1,2})=(\d{1,10})")
FLOAT16: Final = "float16"
LARGE_TILES: Final = "float16-large-tiles"
"""Precision of a network that ncnn may filter in tiles of any size in half precision."""
HALF_PRECISIONS = (FLOAT16, LARGE_TILES)
"""Precisions that ncnn computes in half precision where the processor can."""
_HALF: Final = (b"Gk0\x01", 2)
_TAGS: dict[str, tuple[bytes, int]] = {"float32": (bytes(4), 4), **dict.fromkeys(HALF_PRECISIONS, _HALF)}
"""Tag of a block of weights, and bytes of a weight, by precision. Source: ncnn, ModelBinFromDataReader::load."""
_FLOAT_BYTES: Final = 4

# Numbers of the parameters of a layer. Source: ncnn, the load_param of each layer.
_OUTPUTS, _ACTIVATION, _RELU = 0, 9, 1
_HAS_BIAS, _WEIGHTS = 5, 6
_DENSE_HAS_BIAS, _DENSE_WEIGHTS = 1, 2


class Block(NamedTuple):
    """A block of weights that begins with a tag.

    Attributes:
        start: position in the file of weights.
        tag: the bytes that must stand there.
    """

    start: int
    tag: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnNetwork:
    """A checked network.

    Attributes:
        text: the description, to give to ncnn.
        layers: number of layers.
        blocks: blocks of weights.
        weights_bytes: exact size of the file of weights.
    """

    text: str
    layers: int
    blocks: tuple[Block, ...]
    weights_bytes: int


def read_network(text: str, spec: ModelSpec) -> NcnnNetwork:
    """Check the description of a network.

    Args:
        text: content of the file ``.param``.
        spec: specification of the model, which the input, the output and the precision must match.

    Raises:
        ModelFormatError: it is not a network of this project, or of other sizes.
    """
    reader = _Reader(spec)
    try:
        lines = [line.split() for line in text.splitlines()]
        if len(text) > MAX_NETWORK_BYTES or len(lines) > _MAX_LAYERS + 2:
            raise _FaultError(f"it has more than {MAX_NETWORK_BYTES} characters or {_MAX_LAYERS} layers")
        if len(lines) < 2 or lines[0] != [_FORMAT]:
            raise _FaultError(f"it does not begin with {_FORMAT}")
        for number, words in enumerate(lines[2:], start=3):
            reader.layer(number, words)
        reader.finish(lines[1])
    except _FaultError as fault:
        raise ModelFormatError(
            f"The model's network for ncnn is not one of this project: {fault}.", hint="make the file again"
        ) from fault
    return NcnnNetwork(
        text="".join(f"{' '.join(words)}\n" for words in lines),
        layers=len(lines) - 2,
        blocks=tuple(reader.blocks),
        weights_bytes=reader.position,
    )


class _FaultError(ValueError):
    """A fault of a description."""


class _Reader:
    """Follows the shapes of the values from layer to layer, and the place of each weight."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        if spec.precision not in _TAGS:
            raise ModelFormatError(
                f"Expected a model for ncnn of precision {' or '.join(_TAGS)}, got {spec.precision!r:.80}.",
                hint="make the file again",
            )
        if spec.input_layout != LAYOUT_NCHW:
            raise ModelFormatError(
                f"Expected layout {LAYOUT_NCHW} for ncnn, got {spec.input_layout}.",
                hint="make the file again",
            )
        self._tag, self._weight_bytes = _TAGS[spec.precision]
        self._values: dict[str, Shape] = {}
        self._made = set[str]()
        self._line = 0
        self.blocks: list[Block] = []
        self.position = 0

    def layer(self, number: int, words: Sequence[str]) -> None:
        """Read one line: operator, name, numbers of inputs and outputs, their names, parameters."""
        self._line = number
        kinds: dict[str, tuple[int, Callable[[Sequence[Shape], Mapping[int, int]], Shape]]] = {
            "Input": (0, self._input),
            "Convolution": (1, self._convolution),
            "PReLU": (1, self._prelu),
            "ReLU": (1, self._same),
            "Split": (1, self._same),
            "BinaryOp": (2, self._add),
            "Flatten": (1, self._flatten),
            "InnerProduct": (1, self._dense),
        }
        if len(words) < 5 or not all(word.isascii() for word in words):
            raise self._fault("is not a layer")
        kind, name, *counts = words[:4]
        if kind not in kinds or not _NAME.fullmatch(name):
            raise self._fault(f"is of an unknown kind, {kind[:40]!r}")
        count, follow = kinds[kind]
        outputs = int(counts[1]) if re.fullmatch(r"\d{1,2}", counts[1]) else 0
        if counts[0] != str(count) or not (1 <= outputs <= 16 if kind == "Split" else outputs == 1):
            raise self._fault("has another number of inputs or outputs than its kind")
        names, rest = words[4 : 4 + count + outputs], words[4 + count + outputs :]
        if len(names) < count + outputs:
            raise self._fault("lacks the name of a value")
        made = follow([self._take(value) for value in names[:count]], self._parameters(rest))
        if math.prod(made) > _MAX_VALUES:
            raise self._fault(f"makes more than {_MAX_VALUES} values")
        for value in names[count:]:
            if value in self._made or not _NAME.fullmatch(value) or (kind == "Input") != (value == INPUT):
                raise self._fault(f"makes {value[:40]!r}, which is no name, is another layer's, or is not the input's")
            self._made.add(value)
            self._values[value] = made

    def finish(self, totals: Sequence[str]) -> None:
        """Check what the second line counts, and that exactly the embedding is left."""
        if list(totals) != [str(self._line - 2), str(len(self._made))]:
            raise _FaultError("its second line does not count its layers and values")
        if self._values != {OUTPUT: (self._spec.embedding_size,)}:
            raise _FaultError(f"it does not end in {OUTPUT} of {self._spec.embedding_size} values alone")

    def _fault(self, what: str) -> _FaultError:
        return _FaultError(f"line {self._line} {what}")

    def _take(self, name: str) -> Shape:
        """A value is used once; ``Split`` copies those that are used twice."""
        if name not in self._values:
            raise self._fault(f"takes {name[:40]!r}, which no layer before it leaves")
        return self._values.pop(name)

    def _parameters(self, words: Sequence[str]) -> Mapping[int, int]:
        found = [_VALUE.fullmatch(word) for word in words]
        values = {int(one[1]): int(one[2]) for one in found if one is not None}
        if len(values) < len(words):
            raise self._fault("has a parameter that is not a number, or twice the same")
        return values

    def _require(self, given: Mapping[int, int], expected: Mapping[int, int]) -> None:
        if given != expected:
            raise self._fault(f"has parameters {dict(given)}, expected {dict(expected)}"[:400])

    def _input(self, _: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        self._require(given, {})
        if self._made:
            raise self._fault("is a second input")
        return (3, self._spec.input_height, self._spec.input_width)

    def _image(self, shape: Shape) -> Shape:
        if len(shape) != 3:
            raise self._fault("takes an image, and follows the flattening")
        return shape

    def _convolution(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        channels, height, width = self._image(inputs[0])
        outputs, stride, bias = given.get(_OUTPUTS, 0), given.get(3, 0), given.get(_HAS_BIAS, 0)
        if not (1 <= outputs <= _MAX_VALUES and stride in (1, 2) and bias in (0, 1)):
            raise self._fault("is not a convolution of stride 1 or 2")
        weights = 9 * channels * outputs
        kernel = {1: 3, 11: 3, 2: 1, 12: 1, 3: stride, 13: stride, 4: 1, 14: 1}
        activation = {_ACTIVATION: _RELU} if _ACTIVATION in given else {}
        self._require(given, {_OUTPUTS: outputs, **kernel, _HAS_BIAS: bias, _WEIGHTS: weights, **activation})
        self._tagged(weights)
        self._plain(outputs * bias)
        return (outputs, -(-height // stride), -(-width // stride))

    def _prelu(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        channels = self._image(inputs[0])[0]
        self._require(given, {_OUTPUTS: channels})
        self._plain(channels)
        return inputs[0]

    def _same(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        self._require(given, {})
        return inputs[0]

    def _add(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        self._require(given, {0: 0})
        if inputs[0] != inputs[1]:
            raise self._fault(f"adds values of shapes {inputs[0]} and {inputs[1]}")
        return inputs[0]

    def _flatten(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        self._require(given, {})
        return (math.prod(inputs[0]),)

    def _dense(self, inputs: Sequence[Shape], given: Mapping[int, int]) -> Shape:
        if len(inputs[0]) != 1:
            raise self._fault("is fully connected, and stands before the flattening")
        outputs = self._spec.embedding_size
        weights = inputs[0][0] * outputs
        self._require(given, {_OUTPUTS: outputs, _DENSE_HAS_BIAS: 1, _DENSE_WEIGHTS: weights})
        self._tagged(weights)
        self._plain(outputs)
        return (outputs,)

    def _tagged(self, count: int) -> None:
        """Weights of the file's precision; the next ones begin at a multiple of four bytes."""
        self.blocks.append(Block(self.position, self._tag))
        self.position += len(self._tag) + -(-count * self._weight_bytes // 4) * 4

    def _plain(self, count: int) -> None:
        """Biases and slopes, which are float32 in every file."""
        self.position += count * _FLOAT_BYTES
