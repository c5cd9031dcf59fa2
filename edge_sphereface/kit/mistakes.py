"""Names the usual mistake behind outputs that are not those of the network.

A mistake of preprocessing is recognized by the outputs that the network itself gives for it, which the kit stores.
Others, such as outputs in another order, show in the outputs alone. A mistake is named only if it explains the outputs
clearly better than the correct outputs with a loss of precision do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_sphereface.kit.check import KitAgreement, NamedMistake
from edge_sphereface.storage.bounded_json import escaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_sphereface.kit.manifest import KitMistake
    from edge_sphereface.types import Float64Array

_CLEARLY = 0.6
"""A mistake must leave less than this share of the difference from the correct outputs."""
_FITS = 0.5
"""Largest relative difference from a mistake's outputs at which it may be named."""
_EQUAL = 1e-3
"""Relative difference up to which outputs count as equal."""
_SAME = 1.2
"""Mistakes whose differences are within this factor cannot be told apart."""
_UNIT = 1e-2
"""Largest deviation of a length from 1 for an output of unit length, which float16 and int8 reach."""
_RELATED = 0.3
"""Mean cosine similarity above which outputs are of the same network in some way. Those of two networks reach 0.2."""
_CERTAINLY = 0.5
"""A cause with one more freedom, such as a factor, must leave less than this share of the difference of the best other.
"""
_NEARLY_ALL = 0.2
"""Share of the difference that a factor close to 1 may leave: rounding toward zero shrinks all outputs a little too."""
_CLOSE = 0.02
"""Deviation of a factor from 1 up to which it is close to 1."""
_SHRUNK = 0.15
"""Deviation of a factor from 1 that quantization, which cuts off large values, may cause within its bounds."""
_SHOWN = 12
_MOST_WORDS = 400

_EXPLAINED = {
    "red-blue-swapped": (
        "red and blue are swapped: the network takes BGR, and got RGB",
        "do not convert to RGB, or set the swap in the converter's preprocessing once (rbuv_swap_switch of Ascend)",
    ),
    "normalized-twice": (
        "the crops were normalized twice, so that all inputs, and all people, look nearly alike",
        "normalize either before the network or inside the converted model, not in both",
    ),
    "not-normalized": (
        "the crops were not normalized: the network got values of 0 to 255",
        "set mean and scale in the converter, or normalize before the network",
    ),
    "zero-to-one": (
        "the crops were scaled to 0 to 1, and the network takes about -1 to 1",
        "subtract the mean and multiply by the scale of the kit's manifest",
    ),
    "mean-only": ("the mean was subtracted, but the result was not scaled", "multiply by the scale too (var_reci_chn)"),
    "scale-only": ("the crops were scaled, but the mean was not subtracted", "subtract the mean too (min_chn)"),
    "imagenet-normalized": (
        "the crops were normalized by the mean and deviation of ImageNet, a default of many tools",
        "give the tool the mean and scale of the kit's manifest",
    ),
    "height-width-swapped": (
        "height and width are swapped",
        "a crop is H rows of W pixels; cv2.resize and many tools take the width first",
    ),
    "nhwc-as-nchw": (
        "the layouts are confused: pixels (H, W, 3) were read as planes (3, H, W), or the other way round",
        "transpose the input, or name its real layout to the converter",
    ),
}
"""Explanation and remedy of each stored mistake."""
_SCALED, _OTHER_ORDER = "scaled", "other-order"
_NAME_IN_ORDER = "name the files in the order of the crops; tools sort names as text"


class _Candidate(NamedTuple):
    """Outputs that a mistake gives, beside those of the device.

    Attributes:
        mistake: its entry in the manifest; None for the expected outputs.
        outputs: (N, D) outputs that it gives.
        difference: relative difference of the device's outputs from those.
    """

    mistake: KitMistake | None
    outputs: Float64Array
    difference: float

    @property
    def names(self) -> tuple[str, ...]:
        return () if self.mistake is None else self.mistake.names


def unit(rows: Float64Array) -> Float64Array:
    """Rows scaled to length 1; zero rows stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float64Array = rows / np.where(lengths == 0, 1, lengths)
    return scaled


def is_unit(rows: Float64Array) -> bool:
    """Whether all rows have length 1."""
    return bool((np.abs(np.linalg.norm(rows, axis=1) - 1) <= _UNIT).all())


def agree(expected: Float64Array, got: Float64Array, *, directions: bool) -> KitAgreement:
    """Agreement of outputs with expected ones, both (N, D) and finite.

    Args:
        expected: expected outputs.
        got: outputs of the device.
        directions: whether only directions are compared.
    """
    cosines = np.clip(np.einsum("nd,nd->n", unit(expected), unit(got)), -1, 1)
    return KitAgreement(
        max_abs_error=None if directions else float(np.abs(expected - got).max() / np.abs(expected).max()),
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        worst_crop=int(cosines.argmin()),
    )


def difference(expected: Float64Array, got: Float64Array) -> float:
    """Mean length of the difference of rows, as a share of the expected row's length."""
    lengths = np.linalg.norm(expected, axis=1)
    return float((np.linalg.norm(got - expected, axis=1) / np.where(lengths == 0, 1, lengths)).mean())


def damage(got: Float64Array) -> NamedMistake | None:
    """Name what makes outputs incomparable: values that are not finite, or zeros.

    Args:
        got: (N, C) outputs of the device.
    """
    infinite = np.flatnonzero(~np.isfinite(got).all(axis=1))
    if infinite.size:
        return _named(
            "not-finite",
            f"outputs of the crops {_listed(infinite)} hold NaN or infinity",
            "a computation overflowed, as float16 does beyond 65504; compute in float32, or check the input's scale",
        )
    zero = np.flatnonzero(~got.any(axis=1))
    if zero.size == len(got):
        return _named("all-zero", "all outputs are zero", "copy the output from the device before it is written")
    if zero.size:
        return _named(
            "missing-outputs",
            f"outputs of the crops {_listed(zero)} are all zero",
            "run every crop; a model with a fixed batch needs as many calls as there are batches",
        )
    return None


def wrong_size(expected: Float64Array, got: Float64Array) -> NamedMistake:
    """Name why outputs have another number of components than the network's.

    Args:
        expected: (N, D) expected outputs.
        got: (N, C) outputs of the device, C other than D.
    """
    size, found = expected.shape[1], got.shape[1]
    parts = {"first": expected[:, :found], "last": expected[:, -found:]} if found < size else {}
    for which, part in parts.items():
        if difference(unit(part), unit(got)) <= _FITS:
            return _named(
                "half-embedding",
                f"the outputs have {found} numbers, the {which} of the {size} expected ones",
                "copy the whole output; its type may be wider than the buffer was made for",
                agree(part, got, directions=True),
            )
    return _named(
        "wrong-network",
        f"the outputs have {found} numbers, and those of the kit's network have {size}",
        "convert the kit's own ONNX file, and take its output, not that of a layer inside",
    )


def find_mistake(
    expected: Float64Array,
    got: Float64Array,
    stored: Sequence[tuple[KitMistake, Float64Array]],
    *,
    directions: bool,
    holds: bool,
) -> NamedMistake | None:
    """Name the mistake that explains outputs clearly better than a loss of precision does.

    Args:
        expected: (N, D) expected raw outputs.
        got: (N, D) outputs of the device, finite, no row zero.
        stored: mistakes with the raw outputs that they give.
        directions: whether only directions are compared, since the outputs have length 1.
        holds: whether the outputs keep their bounds. Wide bounds may hide a mistake whose outputs are stored, and
            other deviations within them are a loss of precision.

    Returns:
        The mistake; None if the outputs are closest to the expected ones, or fit nothing.
    """
    seen, mine = (unit(expected), unit(got)) if directions else (expected, got)
    right = _Candidate(None, seen, difference(seen, mine))
    wrong = []
    for mistake, outputs in stored:
        given = unit(outputs) if directions else outputs
        wrong.append(_Candidate(mistake, given, difference(given, mine)))
    wrong.sort(key=lambda candidate: candidate.difference)
    found = None if directions else _scaled(right, wrong, mine, holds=holds)
    if found is None:
        found = _stored(right, wrong, mine, directions=directions)
    if found is None:
        found = _reordered(right, wrong, mine, directions=directions)
    return found if found is not None or holds else _by_themselves(expected, got, stored, directions=directions)


def _stored(
    right: _Candidate, wrong: Sequence[_Candidate], mine: Float64Array, *, directions: bool
) -> NamedMistake | None:
    if not wrong or wrong[0].difference > min(_CLEARLY * right.difference, _FITS):
        return None
    best = wrong[0]
    enough = _SAME * best.difference + _EQUAL
    alternatives = ["+".join(other.names) for other in wrong[1:] if other.difference <= enough]
    if not directions and difference(right.outputs * _factor(right.outputs, mine), mine) <= enough:
        alternatives.append(_SCALED)
    explanation, remedy = _explained(best)
    closer = np.linalg.norm(mine - right.outputs, axis=1) < np.linalg.norm(mine - best.outputs, axis=1)
    if closer.any():
        explanation = f"in the crops {_listed(np.flatnonzero(~closer))} only, {explanation}"
    name = "+".join(best.names)
    return NamedMistake(
        name=name,
        alternatives=tuple(dict.fromkeys(other for other in alternatives if other != name)),
        explanation=explanation[:_MOST_WORDS],
        remedy=remedy,
        agreement=agree(best.outputs, mine, directions=directions),
    )


def _explained(candidate: _Candidate) -> tuple[str, str]:
    """Explanation and remedy of a stored mistake."""
    if candidate.mistake is None:
        return "", ""
    explained = [_EXPLAINED[one] for one in candidate.mistake.names]
    return (
        f"{'; and '.join(words for words, _ in explained)} ({escaped(candidate.mistake.how)})",
        "; ".join(remedy for _, remedy in explained),
    )


def _factor(outputs: Float64Array, mine: Float64Array) -> float:
    """Median of the lengths of outputs, as shares of those of others."""
    return float(np.median(np.linalg.norm(mine, axis=1) / np.linalg.norm(outputs, axis=1)))


def _scaled(right: _Candidate, wrong: Sequence[_Candidate], mine: Float64Array, *, holds: bool) -> NamedMistake | None:
    """Name outputs that are the expected ones, or those of a mistake, times one factor."""
    scaled = []
    for one in (right, *wrong):
        given = one.outputs * _factor(one.outputs, mine)
        scaled.append(_Candidate(one.mistake, given, difference(given, mine)))
    best = min(scaled, key=lambda candidate: candidate.difference)
    if scaled[0].difference <= _SAME * best.difference + _EQUAL:
        best = scaled[0]
    unscaled = next(one for one in (right, *wrong) if one.mistake is best.mistake)
    factor = _factor(unscaled.outputs, mine)
    off = abs(factor - 1)
    clearly = _CLEARLY if best.mistake is None and off > _CLOSE else _NEARLY_ALL
    if best.difference > min(clearly * right.difference, _FITS) or (holds and off <= _SHRUNK):
        return None
    if wrong and best.difference > _CERTAINLY * wrong[0].difference - _EQUAL:
        return None
    explanation, remedy = _explained(best)
    before = f"{explanation}; and " if explanation else "the directions are right, and "
    what = "the one that this gives" if explanation else "the expected one"
    return _named(
        "+".join((*best.names, _SCALED)),
        f"{before}every output is {factor:.6g} times {what}"[:_MOST_WORDS],
        f"{remedy}{'; ' if remedy else ''}check the scale of the input, or of a quantized output that was not "
        "converted to floats; cosine similarities are not affected",
        agree(best.outputs, mine, directions=False),
    )


def _reordered(
    right: _Candidate, wrong: Sequence[_Candidate], mine: Float64Array, *, directions: bool
) -> NamedMistake | None:
    """Name outputs of other crops, and say which crop each output is of. A mistake may have been made besides."""
    of = _sources(right.outputs, mine)
    expected = right.outputs[of]
    rival = difference(expected if directions else expected * _factor(expected, mine), mine)
    moved = []
    for one in wrong:
        order = _sources(one.outputs, mine)
        given = one.outputs[order]
        after = difference(given, mine)
        is_moved = len(set(order)) == len(order) and (order != np.arange(len(order))).any()
        if is_moved and after <= min(_CLEARLY * one.difference, _CERTAINLY**2 * rival, _FITS):
            moved.append((_Candidate(one.mistake, given, after), order))
    if moved:
        best, order = min(moved, key=lambda pair: pair[0].difference)
        enough = _SAME * best.difference + _EQUAL
        names = ["+".join((*one.names, _OTHER_ORDER)) for one, _ in moved if one.difference <= enough]
        explanation, remedy = _explained(best)
        name = "+".join((*best.names, _OTHER_ORDER))
        return NamedMistake(
            name=name,
            alternatives=tuple(dict.fromkeys(other for other in names if other != name)),
            explanation=f"{explanation}; and the outputs are of the crops {_listed(order)}"[:_MOST_WORDS],
            remedy=f"{remedy}; {_NAME_IN_ORDER}",
            agreement=agree(best.outputs, mine, directions=directions),
        )
    if (of == np.arange(len(of))).all():
        return None
    got = unit(mine)
    if difference(unit(expected), got) > min(_CLEARLY * difference(unit(right.outputs), got), _FITS):
        return None
    agreement = agree(expected, mine, directions=directions)
    if len(set(of)) == len(of):
        return _named(
            _OTHER_ORDER,
            f"the outputs are in another order: they are of the crops {_listed(of)}",
            _NAME_IN_ORDER,
            agreement,
        )
    if len(set(of)) == 1:
        return _named(
            "one-crop-repeated",
            f"every output is that of crop {of[0]}",
            "copy each crop into the input before its call, and copy the output before the next",
            agreement,
        )
    return _named(
        "outputs-of-other-crops",
        f"the outputs are those of the crops {_listed(of)}",
        "give each crop once; a call with a batch needs as many different crops",
        agreement,
    )


def _sources(outputs: Float64Array, mine: Float64Array) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Number of the crop whose output is most similar to each of the device's."""
    nearest: np.ndarray[tuple[int, ...], np.dtype[np.int64]] = (unit(mine) @ unit(outputs).T).argmax(axis=1)
    return nearest


def _by_themselves(
    expected: Float64Array,
    got: Float64Array,
    stored: Sequence[tuple[KitMistake, Float64Array]],
    *,
    directions: bool,
) -> NamedMistake | None:
    """Name a mistake that shows in the outputs alone."""
    if difference(np.broadcast_to(got[0], got.shape), got) <= _EQUAL:
        return _named(
            "constant-output",
            "the outputs of all crops are equal",
            "the input does not reach the network: check its name, type and layout, and the quantization's ranges",
        )
    half = got.shape[1] // 2
    for which, kept in (("first", slice(half)), ("second", slice(half, None))):
        rest = np.delete(got, np.arange(got.shape[1])[kept], axis=1)
        if not rest.any() and difference(unit(expected[:, kept]), unit(got[:, kept])) <= _FITS:
            return _named(
                "half-embedding",
                f"only the {which} half of each output was filled",
                "copy the whole output; its type may be wider than the buffer was made for",
                agree(expected[:, kept], got[:, kept], directions=directions),
            )
    outputs = (expected, *(one for _, one in stored))
    related = [float(np.abs(np.einsum("nd,nd->n", unit(one), unit(got)).mean())) for one in outputs]
    if max(related) < _RELATED:
        return _named(
            "wrong-network",
            "the outputs resemble nothing that the kit's network gives: they are of another network, of other weights, "
            "or of crops that are not the kit's, such as crops upside down",
            "convert the kit's own ONNX file, and give the kit's crops as they are",
        )
    return None


def _listed(numbers: Sequence[int] | np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    shown = ", ".join(str(number) for number in numbers[:_SHOWN])
    return shown if len(numbers) <= _SHOWN else f"{shown} and {len(numbers) - _SHOWN} more"


def _named(name: str, explanation: str, remedy: str, agreement: KitAgreement | None = None) -> NamedMistake:
    return NamedMistake(name=name, explanation=explanation, remedy=remedy, agreement=agreement)
