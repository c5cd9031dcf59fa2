"""How a network was trained, as far as its conversion had to know it, and what was folded into its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_sphereface.errors import ModelFormatError
from edge_sphereface.storage.record import Record

ColorOrder: TypeAlias = Literal["BGR", "RGB"]
Shortcut: TypeAlias = Literal["after_activation", "before_activation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin(Record):
    """Conventions of the network that a model was made from. The model itself takes BGR crops and does not normalize.

    Attributes:
        preset: publisher whose conventions were taken, such as ``uniface``; None if all were given one by one.
        color_order: color order of the crops in training. For ``RGB``, the input channels of the first convolution
            were reversed.
        shortcut: where a residual pair adds its input: ``after_activation`` for x + act(conv(...)), as in the
            original; ``before_activation`` for act(x + conv(...)).
        is_normalized: whether the network has batch normalization, which was folded into the weights before it.
    """

    record_name = "The model's record of its origin"
    record_error = ModelFormatError
    record_hint = "convert the weights again with this version"
    record_remedy = "convert-model"

    preset: str | None
    color_order: ColorOrder
    shortcut: Shortcut
    is_normalized: bool

    @property
    def folded(self) -> tuple[str, ...]:
        """What the conversion folded into the weights, in words."""
        colors = ("color order (RGB to BGR)",) if self.color_order == "RGB" else ()
        return (*colors, "batch normalization") if self.is_normalized else colors

    @property
    def is_original(self) -> bool:
        """Whether the network computes as the original does, so that nothing was folded."""
        return not self.folded and self.shortcut == "after_activation"
