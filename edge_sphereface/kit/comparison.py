"""Compares what a device computed with a kit's expected outputs."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edge_sphereface.errors import KitError
from edge_sphereface.kit.check import CheckedPairs, KitAgreement, KitCheck, NamedMistake, PairSeparation
from edge_sphereface.kit.manifest import PRECISIONS, Precision
from edge_sphereface.kit.mistakes import agree, damage, find_mistake, is_unit, unit, wrong_size
from edge_sphereface.metrics import roc_auc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.kit.golden import Kit
    from edge_sphereface.kit.manifest import KitForm
    from edge_sphereface.model.certificate import Bounds
    from edge_sphereface.types import Float32Array, Float64Array

Lengths: TypeAlias = Literal["any", "raw", "unit"]
"""Lengths that outputs must have: any of the two; those of the network's output; 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """What is known of the outputs.

    Attributes:
        form: name of the form that the device ran; None for the float form, the first.
        precision: precision in which the device computed; None for the form's own.
        lengths: lengths that the outputs must have.
        pairs: whether to compare the separation of labeled pairs.
        result_sha256: SHA-256 of the kit's result that named the outputs, if one did.
    """

    form: str | None = None
    precision: Precision | None = None
    lengths: Lengths = "any"
    pairs: bool = False
    result_sha256: str | None = None


def check_outputs(kit: Kit, outputs: Float32Array, options: CheckOptions | None = None) -> KitCheck:
    """Compare outputs with the expected ones, and name the usual mistake that they show.

    A device that computes in the form's own precision is compared with the form's outputs; one that was given the float
    form and computes in less, with the float network's, within wider bounds.

    Args:
        kit: the kit.
        outputs: (N, C) float32 outputs of the device, raw or of length 1, from
            :func:`~edge_sphereface.kit.outputs.read_outputs`.
        options: what is known of the outputs; None for nothing.

    Raises:
        KitError: the kit is damaged, has no such form, or no labeled pairs although they are asked for.
    """
    chosen = options or CheckOptions()
    form = kit.manifest.forms[0] if chosen.form is None else kit.manifest.form(chosen.form)
    precision = chosen.precision or form.precision
    bounds = _bounds(kit, form, precision)
    found = _compare(kit, form, precision, outputs.astype(np.float64), chosen.lengths)
    pairs = None
    if chosen.pairs and found.is_comparable:
        pairs = compare_pairs(kit, outputs.astype(np.float64))
    return KitCheck(
        passed=found.mistake is None and found.keeps(bounds),
        manifest_sha256=kit.manifest_sha256,
        result_sha256=chosen.result_sha256,
        outputs_sha256=hashlib.sha256(np.ascontiguousarray(outputs, "<f4").tobytes()).hexdigest(),
        form=form.name,
        precision=precision,
        crops=kit.shape[0],
        bounds=bounds,
        keeps=tuple(one for one in PRECISIONS if found.keeps(_bounds(kit, form, one))),
        agreement=found.agreement,
        unit_length=found.directions,
        mistake=found.mistake,
        pairs=pairs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What a comparison found.

    Attributes:
        agreement: agreement with the expected outputs; None if they cannot be compared.
        directions: whether only directions were compared.
        mistake: mistake that the outputs show.
    """

    agreement: KitAgreement | None = None
    directions: bool = False
    mistake: NamedMistake | None = None

    @property
    def is_comparable(self) -> bool:
        return self.agreement is not None

    def keeps(self, bounds: Bounds) -> bool:
        """Whether the outputs can be compared, and keep bounds."""
        return self.agreement is not None and self.agreement.keeps(bounds)


def _bounds(kit: Kit, form: KitForm, precision: Precision) -> Bounds:
    return form.bounds if precision == form.precision else kit.manifest.bounds[precision]


def _compare(kit: Kit, form: KitForm, precision: Precision, got: Float64Array, lengths: Lengths) -> _Finding:
    same = precision == form.precision
    expected = (kit.outputs_of(form) if same else kit.outputs()).astype(np.float64)
    mistake = damage(got)
    if mistake is not None:
        return _Finding(mistake=mistake)
    if got.shape[1] != expected.shape[1]:
        return _Finding(mistake=wrong_size(expected, got))
    directions = lengths == "unit" or (is_unit(got) and not is_unit(expected))
    agreement = agree(expected, got, directions=directions)
    stored = [(one, kit.outputs_by(one).astype(np.float64)) for one in kit.manifest.mistakes]
    bounds = _bounds(kit, form, precision)
    if not _is_exact(agreement):
        holds = agreement.keeps(bounds)
        mistake = find_mistake(expected, got, stored, directions=directions, holds=holds)
    if mistake is None and agreement.min_cosine >= bounds.min_cosine:
        mistake = _length_mistake(got, lengths, directions=directions)
    return _Finding(agreement=agreement, directions=directions, mistake=mistake)


def _is_exact(found: KitAgreement) -> bool:
    """Whether outputs are so close to the expected ones that no mistake can be seen in them."""
    return found.min_cosine > 1 - 1e-6 and (found.max_abs_error or 0.0) < 1e-4


def _length_mistake(got: Float64Array, lengths: Lengths, *, directions: bool) -> NamedMistake | None:
    """Name lengths that are not the required ones, of outputs whose directions are right."""
    if lengths == "raw" and directions:
        return NamedMistake(
            name="unit-length",
            explanation="the directions are right, and the outputs have length 1; the network's own have other lengths",
            remedy="give the network's raw output; something normalizes it after the network",
            agreement=None,
        )
    if lengths == "unit" and not is_unit(got):
        mean = float(np.linalg.norm(got, axis=1).mean())
        return NamedMistake(
            name="not-unit-length",
            explanation=f"the directions are right, and the outputs have a mean length of {mean:.4g}, not 1",
            remedy="divide each output by its length; a threshold on dot products needs that",
            agreement=None,
        )
    return None


def compare_pairs(kit: Kit, got: Float64Array) -> CheckedPairs:
    """Separation of labeled pairs by outputs, beside the separation by the expected ones.

    Args:
        kit: the kit.
        got: (N, D) outputs of the device, finite.

    Raises:
        KitError: the kit's crops are not labeled with at least two people, one of them twice.
    """
    people = [crop.person for crop in kit.manifest.crops]
    pairs = [
        (one, other, people[one] == people[other])
        for one, other in itertools.combinations(range(len(people)), 2)
        if people[one] is not None and people[other] is not None
    ]
    if len({same for *_, same in pairs}) < 2:
        raise KitError(
            "The kit's crops are not labeled with people, so there are no genuine and impostor pairs.",
            hint="make the kit with crops of several people, a folder for each",
        )
    threshold = kit.manifest.spec.threshold
    return CheckedPairs(
        measured=_separation(got, pairs, threshold),
        expected=_separation(kit.outputs().astype(np.float64), pairs, threshold),
    )


def _separation(rows: Float64Array, pairs: Sequence[tuple[int, int, bool]], threshold: float) -> PairSeparation:
    directions = unit(rows)
    scores = np.clip([float(directions[one] @ directions[other]) for one, other, _ in pairs], -1, 1)
    same = np.array([is_same for *_, is_same in pairs])
    genuine, impostor = scores[same], scores[~same]
    return PairSeparation(
        genuine_pairs=len(genuine),
        impostor_pairs=len(impostor),
        genuine_mean=float(genuine.mean()),
        impostor_mean=float(impostor.mean()),
        auc=roc_auc(genuine, impostor),
        accepted_genuine=float((genuine >= threshold).mean()),
        accepted_impostor=float((impostor >= threshold).mean()),
    )
