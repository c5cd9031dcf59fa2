"""What the integer kernels of a runtime need of a quantized graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.model.quantization import INT8_TARGETS, TARGET_OPENVINO, TARGET_X86_AMX, WEIGHT_BITS

if TYPE_CHECKING:
    from edge_sphereface.model.quantization import Target

_WIDE = 128
"""Output channels from which onnxruntime's AMX product is faster than its VNNI convolution. With 64 it ties on one
thread and loses on two, since the larger image has to be unfolded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Integer kernels of a runtime.

    Attributes:
        weight_bits: bits of a weight, 7 or 8.
        fuses_prelu: the kernel of a convolution also computes its bias and its PRelu, in float, before it rounds. PRelu
            then follows its convolution directly, and activations are signed and symmetric, without which OpenVINO
            leaves the kernel that also adds the residual.
        shifts_weights: weights of wide convolutions have zero point -1 instead of 0. onnxruntime has a convolution of
            its own for zero point 0, in VNNI instructions, and unfolds the image for a matrix product otherwise. That
            product runs in AMX tiles where the processor has them. The sums are the same whole numbers.
    """

    weight_bits: int
    fuses_prelu: bool = False
    shifts_weights: bool = False

    @property
    def is_symmetric(self) -> bool:
        """Whether activations are signed, with zero point 0."""
        return self.fuses_prelu

    @property
    def fused(self) -> tuple[str, ...]:
        """Operators that round what a convolution before them writes."""
        return ("Relu", "PRelu") if self.fuses_prelu else ("Relu",)

    def weight_zero(self, operator: str, shape: tuple[int, ...]) -> int:
        """Zero point of the weights of an operator.

        Args:
            operator: ``Conv`` or ``Gemm``.
            shape: shape of the weights, output channels first.
        """
        is_wide = operator == "Conv" and shape[0] >= _WIDE and shape[1] > 1
        return -1 if self.shifts_weights and is_wide else 0


KERNELS: dict[Target, Kernels] = {
    target: Kernels(
        weight_bits=WEIGHT_BITS[target],
        fuses_prelu=target == TARGET_OPENVINO,
        shifts_weights=target == TARGET_X86_AMX,
    )
    for target in INT8_TARGETS
}
"""Kernels by target of an INT8 model."""
