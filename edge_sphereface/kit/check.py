"""``KitCheck``: what a comparison of a device's outputs with a kit found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from edge_sphereface.errors import KitError
from edge_sphereface.json_output import OMIT_NONE
from edge_sphereface.kit.manifest import Precision, lax_bounds
from edge_sphereface.model.certificate import Bounds
from edge_sphereface.storage.record import Cosine, Count, Length, Record, Sha256
from edge_sphereface.storage.regular_file import RegularFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_sphereface.types import JsonObject

KIND: Final = "edge_sphereface.kit_check"
SCHEMA_VERSION: Final = 1
_HINT = "check the outputs again"
_ROUNDING = 1e-9
_FILE = RegularFile(what="kit check", limit=1 << 18, error=KitError, hint=_HINT)
_Words = Annotated[str, Length(400, 1)]


class _Part(Record):
    """Base of the records in a check."""

    __slots__ = ()
    record_name = "The check of a kit's outputs"
    record_error = KitError
    record_hint = _HINT
    record_bytes = _FILE.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class KitAgreement(_Part):
    """Agreement of a device's outputs with the expected ones.

    Attributes:
        max_abs_error: largest absolute difference of a component, as a share of the largest expected component; None
            if only directions can be compared, because the outputs have length 1.
        min_cosine: smallest cosine similarity between an output and the expected one.
        mean_cosine: mean of that similarity.
        worst_crop: number of the crop with the smallest similarity, from 0.
    """

    max_abs_error: float | None
    min_cosine: Cosine
    mean_cosine: Cosine
    worst_crop: Count

    def keeps(self, bounds: Bounds) -> bool:
        """Whether the outputs keep bounds; of outputs of length 1, only the cosine is compared."""
        return self.min_cosine >= bounds.min_cosine and (self.max_abs_error or 0.0) <= bounds.max_abs_error


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedMistake(_Part):
    """The usual mistake that the outputs show.

    Attributes:
        name: stable name, such as ``red-blue-swapped``; two that were made at once are joined by ``+``.
        alternatives: names of other mistakes that the outputs cannot be told apart from.
        explanation: what happened.
        remedy: what to change.
        agreement: agreement of the outputs with what the mistake gives; None if the outputs alone show it.
    """

    name: Annotated[str, Length(64, 1)]
    alternatives: tuple[str, ...] = ()
    explanation: _Words
    remedy: _Words
    agreement: KitAgreement | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSeparation(_Part):
    """How well outputs tell people apart, over all pairs of labeled crops.

    Attributes:
        genuine_pairs: number of pairs of one person.
        impostor_pairs: number of pairs of two people.
        genuine_mean: mean cosine similarity of genuine pairs.
        impostor_mean: mean cosine similarity of impostor pairs.
        auc: probability that a genuine pair is more similar than an impostor pair.
        accepted_genuine: share of genuine pairs that reach the model's threshold.
        accepted_impostor: share of impostor pairs that reach the model's threshold.
    """

    genuine_pairs: Count
    impostor_pairs: Count
    genuine_mean: Cosine
    impostor_mean: Cosine
    auc: float
    accepted_genuine: float
    accepted_impostor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPairs(_Part):
    """Separation of the device's outputs beside the expected one.

    Attributes:
        measured: separation by the device's outputs.
        expected: separation by the kit's outputs.
    """

    measured: PairSeparation
    expected: PairSeparation


@dataclass(frozen=True, slots=True, kw_only=True)
class KitCheck(_Part):
    """Outcome of ``check-outputs``.

    Attributes:
        kind: identifies the record.
        schema_version: version of this record.
        passed: whether the outputs are those of the network, within the bounds.
        manifest_sha256: SHA-256 of the kit's manifest in hexadecimal.
        result_sha256: SHA-256 of the kit's result, if one was checked; left out otherwise.
        outputs_sha256: SHA-256 of the checked values, float32 little-endian (N, D), in hexadecimal.
        form: name of the form whose outputs were expected.
        precision: precision whose bounds were applied.
        crops: number of crops.
        bounds: bounds that the outputs had to keep.
        keeps: precisions whose bounds the outputs keep.
        agreement: agreement with the expected outputs; None if the outputs cannot be compared.
        unit_length: whether the outputs were already of length 1, so that only directions were compared.
        mistake: usual mistake that the outputs show; None if they passed, or fit none.
        pairs: separation of labeled pairs, if it was asked for; left out otherwise.
    """

    kind: Literal["edge_sphereface.kit_check"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    passed: bool
    manifest_sha256: Sha256
    result_sha256: Sha256 | None = field(default=None, metadata=OMIT_NONE)
    outputs_sha256: Sha256
    form: _Words
    precision: Precision
    crops: Count
    bounds: Bounds
    keeps: tuple[Precision, ...]
    agreement: KitAgreement | None
    unit_length: bool
    mistake: NamedMistake | None
    pairs: CheckedPairs | None = field(default=None, metadata=OMIT_NONE)

    def _faults(self) -> Iterator[str]:
        yield from lax_bounds(self.precision, self.bounds)
        found = self.agreement
        holds = found is not None and found.keeps(self.bounds)
        if self.passed != (holds and self.mistake is None):
            yield "passed must be true exactly if the outputs keep the bounds and show no mistake"
        if (self.precision in self.keeps) != holds:
            yield f"keeps must name {self.precision} exactly if the outputs keep its bounds"
        if len(set(self.keeps)) < len(self.keeps):
            yield "keeps must name different precisions"
        if found is not None:
            if found.worst_crop >= self.crops:
                yield f"worst_crop must be one of {self.crops} crops, not {found.worst_crop}"
            if found.mean_cosine < found.min_cosine - _ROUNDING:
                yield "mean_cosine must be at least min_cosine"
            if (found.max_abs_error is None) != self.unit_length:
                yield "max_abs_error must be missing exactly if only directions were compared"

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return {"result_sha256": None, "pairs": None, **values}


def read_kit_check(path: Path) -> KitCheck:
    """Read a check that was stored as JSON.

    Raises:
        KitError: the file is not a check that this version can read.
    """
    return KitCheck.from_json(_FILE.read(path), name=f"The check {path}")
