"""Find the quantized form that changes the embeddings least, by measuring.

Every choice is judged by the embeddings of crops that did not determine the ranges: by the root mean square of 1 -
cosine to the float model, which weighs poor results more than a mean does.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.compare import normalize
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.json_output import named
from export.graph import OUTPUT_NAME
from export.layers import layer_of, layers_of, weight_counts
from export.quantization.activation_statistics import channel_maxima, embed_all, extended, histograms, observe
from export.quantization.bias import correct_biases
from export.quantization.prefix import EMPTY, Prefix
from export.quantization.qdq import WeightCache, quantize_graph
from export.quantization.ranges import RULES
from export.rewrite import decompose_prelu, equalize_channels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array
    from export.quantization.kernels import Kernels
    from export.quantization.ranges import Histogram, Range

    Reporter = Callable[[str], Callable[[int, int], None]]

STRENGTHS = (0.0, 0.5)
"""Strengths of the channel equalization to try. On the trained checkpoint, 0.25, 0.75 and 1 were worse than 0.5."""
BIAS_CROPS = 100
_AT_ONCE = 4
"""Largest number of forms that are tried at the same time; each takes memory."""
_SURELY = 1.001
"""Factor by which a sum of squares must exceed another one to be larger whatever the order of summation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to quantize a network.

    Attributes:
        rules: name of the rule in :data:`export.quantization.ranges.RULES`, by layer.
        equalization: strength of the channel equalization, see :mod:`export.rewrite.equalize`.
        bias_correction: whether biases are corrected for the mean error.
        float_layers: names of the layers that remain in float32.
        drift: root mean square of 1 - cosine over the judging crops.
    """

    rules: Mapping[str, str]
    equalization: float
    bias_correction: bool = False
    float_layers: tuple[str, ...] = ()
    drift: float = np.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Result of the search.

    Attributes:
        model: the quantized model.
        chosen: the candidate that the model was made from.
        tried: drift by description of the candidate, in the order of the search.
        layer_costs: decrease of the drift if only that layer remains in float32, by layer.
    """

    model: onnx.ModelProto
    chosen: Candidate
    tried: Mapping[str, float]
    layer_costs: Mapping[str, float]

    def report(self) -> SearchReport:
        """Return the search as commands print it."""
        return SearchReport(
            drift=self.chosen.drift,
            equalization=self.chosen.equalization,
            bias_correction=self.chosen.bias_correction,
            tried=self.tried,
            layers=tuple(
                LayerReport(
                    layer=layer, rule=rule, cost=self.layer_costs[layer], is_float=layer in self.chosen.float_layers
                )
                for layer, rule in self.chosen.rules.items()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """How one layer is quantized.

    Attributes:
        layer: name of the layer.
        rule: name of the rule that determines its ranges.
        cost: decrease of the drift if only this layer remains in float32.
        is_float: whether the layer remains in float32.
    """

    layer: str
    rule: str
    cost: float
    is_float: bool = field(metadata=named("float"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """Result of the search for the INT8 form.

    Attributes:
        drift: root mean square of 1 - cosine over the judging crops, of the chosen candidate.
        equalization: strength of the channel equalization, 0 to 1.
        bias_correction: whether biases are corrected for the mean error.
        tried: drift by description of the candidate, in the order of the search.
        layers: how each layer is quantized.
    """

    drift: float
    equalization: float
    bias_correction: bool
    tried: Mapping[str, float]
    layers: tuple[LayerReport, ...]


def search(
    plain: onnx.ModelProto,
    spec: ModelSpec,
    calibration: UInt8Array,
    judging: UInt8Array,
    *,
    kernels: Kernels,
    max_drift: float,
    reporter: Reporter,
) -> Search:
    """Quantize a network in many ways and keep the best.

    The steps are: equalization with one rule for all layers; another rule layer by layer; bias correction; float
    layers, those first that gain most for their size, until the drift is at most ``max_drift``.

    Args:
        plain: plain float32 model.
        spec: specification of the model.
        calibration: (N, H, W, 3) uint8 BGR crops that determine the ranges.
        judging: (M, H, W, 3) uint8 BGR crops that judge the choices.
        kernels: integer kernels that will run the result.
        max_drift: largest mean of 1 - cosine.
        reporter: returns a progress function for a named step.
    """
    with ThreadPoolExecutor(min(_AT_ONCE, usable_cpus())) as workers:  # most of their time is onnxruntime's
        return _Searcher(plain, spec, calibration, judging, kernels, reporter, workers).run(max_drift)


class _Searcher:
    def __init__(
        self,
        plain: onnx.ModelProto,
        spec: ModelSpec,
        calibration: UInt8Array,
        judging: UInt8Array,
        kernels: Kernels,
        reporter: Reporter,
        workers: ThreadPoolExecutor,
    ) -> None:
        self._workers = workers
        self._plain, self._spec, self._kernels = plain, spec, kernels
        self._calibration, self._judging, self._reporter = calibration, judging, reporter
        self._expected = normalize(embed_all(plain, judging, spec))
        self._tried: dict[str, float] = {}
        self._layers = layers_of(plain)
        self._floats: dict[float, onnx.ModelProto] = {}
        self._histograms: dict[float, dict[str, Histogram]] = {}
        self._ranges: dict[tuple[float, str, str], Range] = {}
        self._weights = {strength: WeightCache() for strength in STRENGTHS}

    def run(self, max_drift: float) -> Search:
        best = self._rule_for_each_layer(self._rule_for_all())
        corrected = self._corrected(best)
        after = self._judged(replace(best, bias_correction=True), corrected)
        self._tried["bias correction"] = after.drift
        model = self._floats[best.equalization]
        if after.drift < best.drift:
            best, model = after, corrected
        costs = self._layer_costs(best, model)
        best, model = self._floated(best, model, costs, max_drift)
        return Search(model=self._quantized(best, model), chosen=best, tried=self._tried, layer_costs=costs)

    def _rule_for_all(self) -> Candidate:
        maxima = channel_maxima(
            self._plain, self._calibration, self._spec, progress=self._reporter("ranges of channels")
        )
        progress, done, lock = self._reporter("histograms"), dict.fromkeys(STRENGTHS, 0), Lock()

        def prepare(strength: float) -> None:
            def count(now: int, total: int) -> None:
                with lock:
                    done[strength] = now
                    progress(sum(done.values()), len(STRENGTHS) * total)

            model = equalize_channels(self._plain, maxima, strength)
            self._floats[strength] = model = model if self._kernels.fuses_prelu else decompose_prelu(model)
            found = histograms(model, self._calibration, self._spec, fused=self._kernels.fused, progress=count)
            if self._kernels.is_symmetric:
                found = {name: histogram.mirrored() for name, histogram in found.items()}
            self._histograms[strength] = found

        list(self._workers.map(prepare, STRENGTHS))
        candidates = [
            Candidate(rules=dict.fromkeys(self._layers, rule), equalization=strength)
            for strength in STRENGTHS
            for rule in RULES
        ]
        models = [self._floats[candidate.equalization] for candidate in candidates]
        judged = list(self._workers.map(self._judged, candidates, models))
        names = [f"{rule}, equalization {strength:g}" for strength in STRENGTHS for rule in RULES]
        self._tried.update(zip(names, (candidate.drift for candidate in judged), strict=True))
        return min(judged, key=lambda candidate: candidate.drift)

    def _rule_for_each_layer(self, best: Candidate) -> Candidate:
        """Try every rule for one layer after the other and keep the better one.

        Rules that give the same ranges give the same network, which is tried once.
        """
        progress = self._reporter("rule by layer")
        model, prefix = self._floats[best.equalization], EMPTY
        for done, layer in enumerate(self._layers, start=1):
            others = {self._ranges_of(best, layer): best}
            for rule in RULES:
                other = replace(best, rules={**best.rules, layer: rule})
                others.setdefault(self._ranges_of(other, layer), other)
            judge = partial(self._judged, model=model, prefix=prefix, limit=best.drift)
            judged = self._workers.map(judge, [other for other in others.values() if other is not best])
            best = min([best, *judged], key=lambda candidate: candidate.drift)
            prefix = self._extended(prefix, layer, best, model)
            progress(done, len(self._layers))
        self._tried["rule by layer"] = best.drift
        return best

    def _corrected(self, best: Candidate) -> onnx.ModelProto:
        return correct_biases(
            self._floats[best.equalization],
            self._spec,
            lambda model, prefix: self._quantized(best, model, prefix),
            self._calibration[:BIAS_CROPS],
            progress=self._reporter("biases"),
        )

    def _layer_costs(self, best: Candidate, model: onnx.ModelProto) -> dict[str, float]:
        progress = self._reporter("cost of layers")
        costs, prefix = {}, EMPTY
        for done, layer in enumerate(self._layers, start=1):
            judged = self._workers.submit(self._judged, replace(best, float_layers=(layer,)), model, prefix)
            prefix = self._extended(prefix, layer, best, model)
            costs[layer] = best.drift - judged.result().drift
            progress(done, len(self._layers))
        return costs

    def _floated(
        self, best: Candidate, model: onnx.ModelProto, costs: Mapping[str, float], max_drift: float
    ) -> tuple[Candidate, onnx.ModelProto]:
        """Keep layers in float32 until the mean of 1 - cosine is small enough, the best for their size first.

        A layer in float32 costs four times its bytes, and time: its price is its share of the weights plus its share of
        the layers.
        """
        weights = weight_counts(self._plain)
        total = sum(weights.values())
        prices = {layer: weights[layer] / total + 1 / len(self._layers) for layer in self._layers}
        tried: dict[tuple[str, ...], Candidate] = {}
        latest: dict[tuple[str, ...], onnx.ModelProto] = {}  # one model only: each holds all weights

        def corrected(candidate: Candidate) -> onnx.ModelProto:
            # what a layer in float32 no longer does wrong must not be undone
            return self._corrected(candidate) if candidate.float_layers and candidate.bias_correction else model

        def is_enough(layers: tuple[str, ...]) -> bool:
            candidate = replace(tried[layers[:-1]] if layers else best, float_layers=layers)
            latest.clear()
            latest[layers] = corrected(candidate)
            drifts = self._drifts(candidate, latest[layers])
            tried[layers] = replace(candidate, drift=_root_mean_square(drifts))
            if layers:
                self._tried[f"float layers: {', '.join(layers)}"] = tried[layers].drift
            return float(drifts.mean()) <= max_drift

        order = sorted(costs, key=lambda name: -costs[name] / prices[name])
        layers = cheapest_layers(order, prices, cache(is_enough))
        return tried[layers], latest[layers] if layers in latest else corrected(tried[layers])

    def _quantized(self, candidate: Candidate, model: onnx.ModelProto, prefix: Prefix = EMPTY) -> onnx.ModelProto:
        strength = candidate.equalization
        ranges = {
            name: self._range(strength, name, candidate.rules[layer_of(name) or ""])
            for name in self._histograms[strength]
        }
        return quantize_graph(
            model,
            self._spec,
            ranges,
            kernels=self._kernels,
            float_layers=candidate.float_layers,
            prefix=prefix,
            weights=self._weights[strength],
        )

    def _extended(self, prefix: Prefix, layer: str, candidate: Candidate, model: onnx.ModelProto) -> Prefix:
        """What the judging crops give after one more layer; empty after the last."""
        if layer == self._layers[-1]:
            return EMPTY
        return extended(prefix, layer, self._quantized(candidate, model, prefix), self._judging, self._spec)

    def _ranges_of(self, candidate: Candidate, layer: str) -> tuple[Range, ...]:
        """Ranges of the tensors of one layer."""
        strength, rule = candidate.equalization, candidate.rules[layer]
        names = (name for name in self._histograms[strength] if layer_of(name) == layer)
        return tuple(self._range(strength, name, rule) for name in names)

    def _range(self, strength: float, name: str, rule: str) -> Range:
        """What a rule gives for a tensor; computed once, since candidates differ in few tensors."""
        key = (strength, name, rule)
        if key not in self._ranges:
            self._ranges[key] = RULES[rule](self._histograms[strength][name])
        return self._ranges[key]

    def _drifts(
        self, candidate: Candidate, model: onnx.ModelProto, prefix: Prefix = EMPTY, *, limit: float = np.inf
    ) -> Float32Array:
        """1 - cosine of every judging crop, (M,); of fewer if the drift is certain to exceed a limit."""
        quantized = self._quantized(candidate, model, prefix)
        drifts = np.empty(0, dtype=np.float32)
        for seen in observe(quantized, [OUTPUT_NAME], self._judging, self._spec, prefix=prefix):
            got = normalize(seen[OUTPUT_NAME])
            expected = self._expected[len(drifts) : len(drifts) + len(got)]
            drifts = np.append(drifts, 1 - np.einsum("nd,nd->n", got, expected))
            if (drifts**2).sum() > _SURELY * len(self._judging) * limit**2:
                break
        return drifts

    def _judged(
        self, candidate: Candidate, model: onnx.ModelProto, prefix: Prefix = EMPTY, *, limit: float = np.inf
    ) -> Candidate:
        """The candidate with its drift, which is infinite if it is certain to exceed a limit."""
        drifts = self._drifts(candidate, model, prefix, limit=limit)
        is_complete = len(drifts) == len(self._judging)
        return replace(candidate, drift=_root_mean_square(drifts) if is_complete else np.inf)


def _root_mean_square(drifts: Float32Array) -> float:
    return float(np.sqrt((drifts**2).mean()))


def cheapest_layers(
    order: Sequence[str], prices: Mapping[str, float], is_enough: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...]:
    """Choose layers in order until there are enough of them; all of them if there never are.

    The last one may be so large that several others together are cheaper. A layer that costs more than the rest of the
    choice is therefore left out, if others are enough for less.

    Args:
        order: layers, the best first.
        prices: price of each layer.
        is_enough: tells whether a choice is enough; it is called with each choice after the one that lacks its last
            layer.
    """
    chosen = found = _first_enough(order, prices, is_enough, np.inf)
    if chosen is None:
        return tuple(order)
    while found:
        chosen, dearest = found, max(found, key=prices.__getitem__)
        price = sum(prices[layer] for layer in found)
        if prices[dearest] <= price / 2:
            break
        order = [layer for layer in order if layer != dearest]
        found = _first_enough(order, prices, is_enough, price)
    return chosen


def _first_enough(
    order: Sequence[str], prices: Mapping[str, float], is_enough: Callable[[tuple[str, ...]], bool], below: float
) -> tuple[str, ...] | None:
    """The first layers that are enough; None if there are none for less than a price."""
    for count in range(len(order) + 1):
        chosen = tuple(order[:count])
        if sum(prices[layer] for layer in chosen) >= below:
            return None
        if is_enough(chosen):
            return chosen
    return None


def rule_counts(rules: Mapping[str, str]) -> dict[str, int]:
    """Number of layers by rule."""
    return dict(Counter(rules.values()))
