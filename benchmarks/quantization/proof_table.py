"""Table of recorded proofs of ``python -m export quantize``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.storage.record import Cosine, Count, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.types import JsonObject

_FLOAT = "the float model"


class _Part(Record):
    """A part of a recorded proof, of which only the fields of the table are read."""

    __slots__ = ()
    record_name = "The recorded proof"
    record_error = UsageError
    record_hint = "give a file that holds the output of export quantize --json as report"
    record_is_partial = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Similarity(_Part):
    """Cosine similarity of the quantized and the float embeddings over all crops."""

    mean: Cosine
    p1: Cosine
    min: Cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lost(_Part):
    """Points lost against float, and the upper end of the 95 % confidence interval."""

    points: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pairs(_Part):
    """Accuracy on labeled pairs against float."""

    count: Count
    accuracy_points_lost: _Lost
    tar_points_lost: _Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio(_Part):
    """Latency over that of a float model, with the 95 % confidence interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof(_Part):
    """Comparison of a quantized with its float model."""

    passed: bool
    missed: tuple[str, ...]
    crops: Count
    cosine: _Similarity
    pairs: _Pairs | None
    latency_ratios: dict[str, _Ratio]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network(_Part):
    """Network of a quantized model."""

    architecture: str
    widths: tuple[Count, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantized(_Part):
    """A quantized model and its proof."""

    spec: _Network
    bytes: Count
    float_bytes: Count
    proof: _Proof


def text(results: Sequence[JsonObject]) -> str:
    """Format the proofs as a table, with what each model missed below it.

    Args:
        results: recorded results whose ``report`` is the output of ``export quantize --json``.

    Raises:
        UsageError: a result is not valid.
    """
    columns = f"{'cosine mean':>11} {'p1':>7} {'min':>7} {'accuracy lost':>15} {'TAR lost':>15}"
    lines = [f"{'network':<34} {'proof':<8} {'size':>5} {columns} {'latency over float':>22}"]
    for result in results:
        lines += _row(_Quantized.from_values(result["report"]))
    return "\n".join(lines)


def _row(quantized: _Quantized) -> list[str]:
    proof = quantized.proof
    ratio = proof.latency_ratios.get(_FLOAT)
    network = f"{quantized.spec.architecture}, {'/'.join(map(str, quantized.spec.widths))}"
    lost = ("", "")
    if proof.pairs is not None:
        lost = (_points(proof.pairs.accuracy_points_lost), _points(proof.pairs.tar_points_lost))
    latency = "" if ratio is None else f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    line = (
        f"{network:<34} {'passed' if proof.passed else 'REFUSED':<8} {quantized.bytes / quantized.float_bytes:>5.2f} "
        f"{proof.cosine.mean:>11.5f} {proof.cosine.p1:>7.4f} {proof.cosine.min:>7.4f} "
        f"{lost[0]:>15} {lost[1]:>15} {latency:>22}"
    )
    return [line, *(f"  {missed}" for missed in proof.missed)]


def _points(lost: _Lost) -> str:
    return f"{lost.points:.2f} (≤ {lost.most:.2f})"
