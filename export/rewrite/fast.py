"""The float model in the form that onnxruntime runs fastest on a CPU, if it is equal and measurably faster."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx

from edge_sphereface.certificate import certificate_path
from edge_sphereface.embed import Embedder
from edge_sphereface.files import SHARED, atomic_write
from edge_sphereface.model_spec import METADATA_KEY, ModelSpec
from export import parity
from export.outputs import check_output
from export.plain import open_plain
from export.rewrite.prelu import decompose_prelu
from export.speed import ROUNDS, measure_latency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.timing import LatencySummary
    from export.parity import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What came of a rewrite.

    Attributes:
        written: whether it was fast enough to be kept.
        spec: what the model says of itself.
        proof: that it equals the model that it was made from.
        before: latency of that model.
        after: its own.
    """

    written: bool
    spec: ModelSpec
    proof: Proof
    before: LatencySummary
    after: LatencySummary

    @property
    def ratio(self) -> float:
        """Median latency after over before."""
        return self.after.median_ms / self.before.median_ms


def rewrite(
    source: Path,
    output: Path,
    *,
    max_ratio: float = 1.0,
    note: Callable[[str], None] = lambda _: None,
) -> Rewritten:
    """Rewrite a float model, prove it, time it against its source, and write it with its certificate if it is faster.

    Args:
        source: plain float ONNX file.
        output: where the result belongs.
        max_ratio: most latency as a part of the source's, on this machine.
        note: told what is being done.

    Raises:
        ModelFormatError: not a plain float32 model of ours.
        ParityError: the result does not equal its source; nothing is written.
        OutputError: it cannot be written.
    """
    check_output(output, source)
    original, plain = open_plain(source, "cpu")
    spec = replace(original.spec, rewrites=("prelu",))
    model = decompose_prelu(plain)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    try:
        with (
            atomic_write(certificate_path(output), mode=SHARED) as certificate_stream,
            atomic_write(output, mode=SHARED) as stream,
        ):
            stream.write(model.SerializeToString(deterministic=True))
            stream.flush()
            embedder = Embedder(stream.name, provider="cpu")
            proof = parity.prove_against_model(embedder, original, note=note)
            parity.require(proof, "The rewritten graph", original=source.name)
            note(f"timing {ROUNDS} inferences of each, in turn")
            latency = measure_latency({"before": original, "after": embedder})
            made = Rewritten(written=True, spec=spec, proof=proof, **latency)
            if not made.ratio <= max_ratio:  # a bound that is no number is not kept
                raise _TooSlowError(made)
            record = parity.certificate(proof, embedder, model_name=output.name)
            certificate_stream.write(json.dumps(record, indent=1).encode())
            del embedder  # Windows cannot rename a file that is mapped
    except _TooSlowError as error:
        return replace(error.made, written=False)
    return made


class _TooSlowError(Exception):
    """Leaves the block that writes, so that nothing is kept."""

    def __init__(self, made: Rewritten) -> None:
        super().__init__()
        self.made = made
