"""What a model whose graph was rewritten for speed says of itself."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.errors import ModelFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECT = "direct"
MATRICES = ".matrices"
"""How the names of Winograd's weights end."""
_STAGE = re.compile(r"direct|\dx\dw?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
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
        plain_ms: median of an inference of the plain model.
        tuned_ms: median of this one, in the same run.
    """

    stages: tuple[str, ...]
    weight_growth: float
    processor: str
    threads: int
    pinned_threads: bool
    memory_arena: bool
    batch: int
    onnxruntime: str
    samples: int
    plain_ms: float
    tuned_ms: float

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ModelFormatError(f"The model's record of its tuning is not valid: {'; '.join(problems)}.")

    def __str__(self) -> str:
        return (
            f"stages {', '.join(self.stages)}; weights {self.weight_growth:.2f} times the plain model's; "
            f"{self.tuned_ms:.1f} ms against {self.plain_ms:.1f} on {self.processor}, --threads {self.threads}"
            f"{'' if self.batch == 1 else f', batch {self.batch}'}"
            f"{' --pinned-threads' if self.pinned_threads else ''}{' --memory-arena' if self.memory_arena else ''}"
        )


def _problems(record: Tuning) -> Iterator[str]:
    stages = record.stages
    if not isinstance(stages, tuple) or not all(isinstance(name, str) and _STAGE.fullmatch(name) for name in stages):
        yield f"stages must be 'direct' or tiles such as '4x4', not {stages!r}"
    for name in ("processor", "onnxruntime"):
        if not isinstance(getattr(record, name), str):
            yield f"{name} must be text, not {getattr(record, name)!r}"
    for name in ("pinned_threads", "memory_arena"):
        if not isinstance(getattr(record, name), bool):
            yield f"{name} must be true or false, not {getattr(record, name)!r}"
    for name in ("threads", "batch", "samples"):
        if type(getattr(record, name)) is not int or getattr(record, name) < 1:
            yield f"{name} must be a count, not {getattr(record, name)!r}"
    for name in ("weight_growth", "plain_ms", "tuned_ms"):
        value = getattr(record, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
            yield f"{name} must be a positive number, not {value!r}"
