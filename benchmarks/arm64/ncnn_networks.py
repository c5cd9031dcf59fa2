"""Networks of ncnn's own benchmark, as graphs without weights, whose published times the cost model is compared with.

ncnn's ``benchncnn`` runs them with zeros as weights, so that a graph is all that it needs. The graphs are written from
the networks' papers, with batch normalization folded and activations fused as in ncnn's files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAGIC = 7767517
"""First line of a graph. Source: ncnn's "param and model file structure"."""
_RELU, _RELU_6 = " 9=1", " 9=3 -23310=2,0.000000e+00,6.000000e+00"


@dataclass(slots=True)
class _Graph:
    """A graph in the making: its lines, and the number of blobs."""

    side: int
    lines: list[str] = field(default_factory=list)
    blobs: int = 0

    def layer(self, kind: str, inputs: tuple[str, ...], parameters: str = "", outputs: int = 1) -> tuple[str, ...]:
        made = tuple(f"b{self.blobs + number}" for number in range(outputs))
        self.blobs += outputs
        words = [kind, f"l{len(self.lines)}", str(len(inputs)), str(outputs), *inputs, *made, parameters]
        self.lines.append(" ".join(words).rstrip())
        return made

    def input(self) -> str:
        return self.layer("Input", (), f"0={self.side} 1={self.side} 2=3")[0]

    def conv(
        self,
        blob: str,
        channels: tuple[int, int],
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        activation: str = _RELU,
    ) -> str:
        inputs, outputs = channels
        shape = f"0={outputs} 1={kernel} 3={stride} 4={pad} 5=1 6={inputs * outputs * kernel * kernel}"
        return self.layer("Convolution", (blob,), shape + activation)[0]

    def depthwise(self, blob: str, channels: int, stride: int, activation: str = _RELU) -> str:
        shape = f"0={channels} 1=3 3={stride} 4=1 5=1 6={channels * 9} 7={channels}"
        return self.layer("ConvolutionDepthWise", (blob,), shape + activation)[0]

    def max_pool(self, blob: str, size: int) -> str:
        return self.layer("Pooling", (blob,), f"0=0 1={size} 2=2")[0]

    def global_pool(self, blob: str) -> str:
        return self.layer("Pooling", (blob,), "0=1 4=1")[0]

    def dense(self, blob: str, inputs: int, outputs: int, activation: str = "") -> str:
        return self.layer("InnerProduct", (blob,), f"0={outputs} 1=1 2={inputs * outputs}{activation}")[0]

    def split(self, blob: str) -> tuple[str, ...]:
        return self.layer("Split", (blob,), outputs=2)

    def add(self, one: str, other: str, activation: str = "") -> str:
        total = self.layer("Eltwise", (one, other), "0=1")[0]
        return self.layer("ReLU", (total,))[0] if activation else total

    def text(self) -> str:
        return "\n".join([str(_MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines, ""])


def _resnet18(graph: _Graph) -> None:
    blob, before = graph.max_pool(graph.conv(graph.input(), (3, 64), 7, stride=2, pad=3), 3), 64
    for width, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for block in range(2):
            stride = 1 if block else first
            one, other = graph.split(blob)
            if not block:
                one = graph.conv(one, (before, width), 1, stride=stride, activation="")
            other = graph.conv(other, (before, width), 3, stride=stride, pad=1)
            blob = graph.add(one, graph.conv(other, (width, width), 3, pad=1, activation=""), _RELU)
            before = width
    graph.layer("Softmax", (graph.dense(graph.global_pool(blob), 512, 1000),))


def _resnet50(graph: _Graph) -> None:
    blob, before = graph.max_pool(graph.conv(graph.input(), (3, 64), 7, stride=2, pad=3), 3), 64
    for width, blocks, first in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            stride = 1 if block else first  # of the first of the three convolutions, as in the original
            one, other = graph.split(blob)
            if not block:
                one = graph.conv(one, (before, 4 * width), 1, stride=stride, activation="")
            other = graph.conv(other, (before, width), 1, stride=stride)
            other = graph.conv(other, (width, width), 3, pad=1)
            blob = graph.add(one, graph.conv(other, (width, 4 * width), 1, activation=""), _RELU)
            before = 4 * width
    graph.layer("Softmax", (graph.dense(graph.global_pool(blob), 2048, 1000),))


def _squeezenet(graph: _Graph) -> None:
    """Version 1.1."""
    blob, before = graph.max_pool(graph.conv(graph.input(), (3, 64), 3, stride=2), 3), 64
    for squeezed, expanded, pooled in (
        (16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True),
        (48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        one, other = graph.split(graph.conv(blob, (before, squeezed), 1))
        expansions = (
            graph.conv(one, (squeezed, expanded), 1),
            graph.conv(other, (squeezed, expanded), 3, pad=1),
        )
        (blob,) = graph.layer("Concat", expansions)
        blob = graph.max_pool(blob, 3) if pooled else blob
        before = 2 * expanded
    graph.layer("Softmax", (graph.global_pool(graph.conv(blob, (before, 1000), 1)),))


def _mobilenet(graph: _Graph) -> None:
    blob, before = graph.conv(graph.input(), (3, 32), 3, stride=2, pad=1), 32
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    widths = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    for width, stride in zip(widths, strides, strict=True):
        blob = graph.conv(graph.depthwise(blob, before, stride), (before, width), 1)
        before = width
    graph.layer("Softmax", (graph.dense(graph.global_pool(blob), 1024, 1000),))


def _mobilenet_v2(graph: _Graph) -> None:
    blob, before = graph.conv(graph.input(), (3, 32), 3, stride=2, pad=1, activation=_RELU_6), 32
    for factor, width, blocks, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            is_added = bool(block)
            kept, inner = graph.split(blob) if is_added else (blob, blob)
            wide = factor * before
            if factor > 1:
                inner = graph.conv(inner, (before, wide), 1, activation=_RELU_6)
            inner = graph.depthwise(inner, wide, 1 if block else first, _RELU_6)
            inner = graph.conv(inner, (wide, width), 1, activation="")
            blob = graph.add(kept, inner) if is_added else inner
            before = width
    blob = graph.global_pool(graph.conv(blob, (before, 1280), 1, activation=_RELU_6))
    graph.layer("Softmax", (graph.dense(blob, 1280, 1000),))


_NETWORKS: Mapping[str, tuple[Callable[[_Graph], None], int]] = {
    "squeezenet": (_squeezenet, 227),
    "mobilenet": (_mobilenet, 224),
    "mobilenet_v2": (_mobilenet_v2, 224),
    "resnet18": (_resnet18, 224),
    "resnet50": (_resnet50, 224),
}
"""How each network is made, and the side of its input in pixels, as in ncnn's ``benchncnn.cpp``."""

NETWORKS = tuple(_NETWORKS)
"""Names of the networks."""


def network_graph(name: str) -> str:
    """Return the graph of a network as the text of a ``.param`` file."""
    make, side = _NETWORKS[name]
    graph = _Graph(side)
    make(graph)
    return graph.text()
