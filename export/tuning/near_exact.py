"""The near-exact form: the chosen float network with the weights of its embedding layer in 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from export.quantization.output import write_quantized
from export.quantization.policy import Policy
from export.quantization.quantize import WEIGHTS8, QuantizationOptions, quantize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.evaluation.latency import Plan
    from edge_sphereface.evaluation.model_selection import Setting
    from export.quantization.proof import Proof

LEAST_COSINE = 0.9999
"""Least cosine similarity of a near-exact form to its float model, of every crop of the proof."""


class NearExact(NamedTuple):
    """A near-exact form.

    Attributes:
        proof: comparison with its float model.
        files: paths of the files that were written, the model first; empty if it misses a bound.
    """

    proof: Proof
    files: tuple[Path, ...]


def make_near_exact(
    source: Path, output: Path, *, setting: Setting, plan: Plan, note: Callable[[str], None] = lambda _: None
) -> NearExact:
    """Make the near-exact form of a float network. It is written if it is near and measurably faster for one face.

    Args:
        source: path of the float model, plain or tuned.
        output: path of the result, whose precision is ``weights8``.
        setting: session setting of the timed inferences.
        plan: number of latency samples.
        note: called with a description of each step.

    Raises:
        OutputError: the output cannot be written.
    """
    bounds = Policy(mean=LEAST_COSINE, p1=LEAST_COSINE, known=LEAST_COSINE, min=LEAST_COSINE)
    options = QuantizationOptions(precision=WEIGHTS8, policy=bounds, setting=setting, plan=plan)
    made = quantize(source, None, options, note=note)
    return NearExact(made.proof, write_quantized(made, output, source, "cpu") if made.proof.passed else ())
