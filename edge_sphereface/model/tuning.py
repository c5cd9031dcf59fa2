"""Tuning metadata of a model whose graph was rewritten for speed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Above, Between, Pattern, Record

DIRECT = "direct"
MATRICES = ".matrices"
"""How the names of Winograd's weights end."""
Stage = Annotated[str, Pattern(r"direct|\dx\dw?", "such as 'direct' or '4x4'")]
_Times = Annotated[int, Between(1, 1 << 31)]
_Positive = Annotated[float, Above(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning(Record):
    """How a network is computed, and what that brought where it was measured.

    Attributes:
        stages: of each stage ``direct`` or the tile of Winograd's filtering, such as ``4x4`` or, with the weights as
            the left factor, ``2x2w``.
        weight_growth: size of all weights over that of the plain model.
        processor: on which it was measured.
        threads: of an inference.
        pinned_threads: whether they were bound to processors.
        memory_arena: whether the session kept freed memory.
        batch: faces in an inference.
        onnxruntime: its version.
        samples: of each model.
        plain_ms: median of an inference of the plain model; None where it was not measured beside.
        tuned_ms: median of this one, in the same run.
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
