"""Tuning record of a model whose graph was rewritten for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Above, Between, Pattern, Record

DIRECT = "direct"
MATRICES = ".matrices"
"""Suffix of the names of Winograd weights."""
Stage = Annotated[
    str, Pattern(r"(direct|\dx\d[wp]?s?)(\+(direct|\dx\d[wp]?s?))?", "such as 'direct', '4x4' or '3x3ps+4x4'")
]
_Times = Annotated[int, Between(1, 1 << 31)]
_Positive = Annotated[float, Above(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning(Record):
    """How a network is computed, and the latency that was measured with it.

    Attributes:
        stages: for each stage ``direct``, or the tile of Winograd filtering of its residual layers such as ``4x4``, or
            those of its first layer and of the others such as ``3x3+4x4``. ``w`` has the weights as the left factor,
            ``p`` one product for each matrix, ``s`` the transforms of rows and of columns apart.
        weight_growth: size of all weights divided by that of the plain model.
        processor: processor of the measurement.
        threads: number of threads of one inference.
        pinned_threads: whether the threads were bound to processors.
        memory_arena: whether the session kept freed memory.
        batch: number of faces per inference.
        onnxruntime: version of onnxruntime.
        samples: number of latency samples of each model.
        plain_ms: median latency of the plain model in the same run; None if it was not measured.
        tuned_ms: median latency of this model.
    """

    record_name = "The model's record of its tuning"
    record_error = ModelFormatError
    record_hint = "tune the float model again"
    record_remedy = "tune-model"

    stages: tuple[Stage, ...]
    weight_growth: _Positive
    processor: str
    threads: _Times
    pinned_threads: bool
    memory_arena: bool
    batch: _Times
    onnxruntime: str
    samples: _Times
    plain_ms: _Positive | None
    tuned_ms: _Positive

    def __str__(self) -> str:
        against = "" if self.plain_ms is None else f" against {self.plain_ms:.1f}"
        return (
            f"stages {', '.join(self.stages)}; weights {self.weight_growth:.2f} times the plain model's; "
            f"{self.tuned_ms:.1f} ms{against} on {self.processor}, threads {self.threads}"
            f"{'' if self.batch == 1 else f', batch {self.batch}'}"
            f"{', pinned threads' if self.pinned_threads else ''}{', memory arena' if self.memory_arena else ''}"
        )
