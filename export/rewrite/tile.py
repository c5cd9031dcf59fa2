"""Tiles of Winograd's filtering and their names in options and in models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from edge_sphereface.model.tuning import DIRECT
from export.rewrite.cook_toom import MOST, TAPS, amplification, products
from export.topology import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Factors = Literal["", "w", "p"]
"""How the products are computed: by one batched product, by one with the weights first, or by one for each matrix."""
_TILE = re.compile(rf"(\d)x(\d)([{''.join(get_args(Factors))}]?)(s?)$")
_FIRST = "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Tile of the outputs of a layer, and how its graph computes it.

    Attributes:
        rows: number of rows of outputs.
        columns: number of columns of outputs.
        factors: ``""`` multiplies activations by weights in one batched product. onnxruntime copies the right factor of
            every product, so large weights cost a copy in each inference. ``w`` multiplies weights by activations,
            which takes two transpositions instead. ``p`` takes one product for each matrix, whose copy onnxruntime
            makes when it loads the model.
        separate: transform rows and columns one after the other instead of by one Kronecker product.
    """

    rows: int
    columns: int
    factors: Factors = ""
    separate: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= MOST and 1 <= self.columns <= MOST):
            raise ValueError(f"Expected a tile of 1 to {MOST} rows and columns, got {self.rows} x {self.columns}.")

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}{self.factors}{'s' if self.separate else ''}"

    @classmethod
    def parse(cls, text: str) -> Tile:
        """Parse a name such as ``4x4``, ``2x2w`` or ``4x3ps``.

        Raises:
            ValueError: the name has another form or size.
        """
        found = _TILE.match(text)
        if found is None:
            raise ValueError(f"Expected a tile such as 4x4, 2x2w or 4x3ps, got {text!r}.")
        return cls(
            rows=int(found[1]), columns=int(found[2]), factors=cast("Factors", found[3]), separate=bool(found[4])
        )

    def weight_growth(self, stride: int = 1) -> float:
        """Size of the weights divided by that of a direct convolution."""
        return products(self.rows, stride) * products(self.columns, stride) / TAPS**2

    def error_growth(self, stride: int = 1) -> float:
        """Bound of the intermediate values relative to the result, which bounds the loss of precision."""
        return amplification(self.rows, stride) * amplification(self.columns, stride)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageForm:
    """How the layers of a stage are computed.

    Attributes:
        first: tile of the first layer, of stride 2; None for a direct convolution.
        rest: tile of the other layers; None for direct convolutions.
    """

    first: Tile | None = None
    rest: Tile | None = None

    def __str__(self) -> str:
        rest = str(self.rest or DIRECT)
        return rest if self.first is None else f"{self.first}{_FIRST}{rest}"

    @classmethod
    def parse(cls, text: str) -> StageForm:
        """Parse ``direct``, a tile of the layers after the first, or both as in ``3x3ps+4x4``.

        Raises:
            ValueError: a name is neither ``direct`` nor a tile.
        """
        tiles = [None if name == DIRECT else Tile.parse(name) for name in text.split(_FIRST, 1)]
        return cls(first=tiles[0] if len(tiles) > 1 else None, rest=tiles[-1])

    def tile(self, number: int) -> Tile | None:
        """Tile of a layer by its number in the stage, from 1; None for a direct convolution."""
        return self.first if number == 1 else self.rest


def read_stages(names: Sequence[str]) -> dict[int, StageForm]:
    """Parse the names of all stages, such as ``4x4 direct 3x3+2x2w direct``, into the forms of those in tiles.

    Raises:
        ValueError: a name is neither ``direct`` nor a tile, or there is not one name per stage (no names: all direct).
    """
    if len(names) not in (0, STAGES):
        raise ValueError(f"Expected a name for each of {STAGES} stages, got {len(names)}.")
    forms = {stage: StageForm.parse(name) for stage, name in enumerate(names, start=1)}
    return {stage: form for stage, form in forms.items() if form != StageForm()}


def stage_names(forms: Mapping[int, StageForm], count: int) -> tuple[str, ...]:
    """Return the names of all stages, the inverse of :func:`read_stages`."""
    return tuple(str(forms.get(stage, StageForm())) for stage in range(1, count + 1))
