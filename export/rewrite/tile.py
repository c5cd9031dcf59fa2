"""Tiles of Winograd's filtering and their names in options and in models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.model.tuning import DIRECT
from export.rewrite.cook_toom import OUTPUTS, TAPS, amplification
from export.topology import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TILE = re.compile(r"(\d)x(\d)(w?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Tile of a stage.

    Attributes:
        rows: number of rows of outputs.
        columns: number of columns of outputs.
        weights_first: multiply weights by activations instead of activations by weights. This needs two transpositions,
            but avoids a copy of large weights, since onnxruntime copies the right factor of every product.
    """

    rows: int
    columns: int
    weights_first: bool = False

    def __post_init__(self) -> None:
        if self.rows not in OUTPUTS or self.columns not in OUTPUTS:
            raise ValueError(f"Expected a tile of {OUTPUTS} rows and columns, got {self.rows} x {self.columns}.")

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}{'w' if self.weights_first else ''}"

    @classmethod
    def parse(cls, text: str) -> Tile:
        """Parse a name such as ``4x4`` or, with the weights first, ``2x2w``.

        Raises:
            ValueError: the name has another form or size.
        """
        found = _TILE.match(text)
        if found is None:
            raise ValueError(f"Expected a tile such as 4x4 or 2x2w, got {text!r}.")
        return cls(rows=int(found[1]), columns=int(found[2]), weights_first=bool(found[3]))

    @property
    def cells(self) -> int:
        """Number of inputs of a tile, which is also the number of weight matrices."""
        return (self.rows + TAPS - 1) * (self.columns + TAPS - 1)

    @property
    def weight_growth(self) -> float:
        """Size of the weights divided by that of a direct convolution."""
        return self.cells / TAPS**2

    @property
    def error_growth(self) -> float:
        """Bound of the intermediate values relative to the result, which bounds the loss of precision."""
        return amplification(self.rows) * amplification(self.columns)


def read_stages(names: Sequence[str]) -> dict[int, Tile]:
    """Parse the names of all stages, such as ``4x4 direct 2x2w direct``, into tiles by stage.

    Raises:
        ValueError: a name is neither ``direct`` nor a tile, or there is not one name per stage (no names: all direct).
    """
    if len(names) not in (0, STAGES):
        raise ValueError(f"Expected a name for each of {STAGES} stages, got {len(names)}.")
    return {stage: Tile.parse(name) for stage, name in enumerate(names, start=1) if name != DIRECT}


def stage_names(tiles: Mapping[int, Tile], count: int) -> tuple[str, ...]:
    """Return the names of all stages, the inverse of :func:`read_stages`."""
    return tuple(str(tiles.get(stage, DIRECT)) for stage in range(1, count + 1))
