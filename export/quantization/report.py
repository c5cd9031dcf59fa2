"""Format the results of a quantization as text, as a Markdown page, and as a plot."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import numpy as np

from export.quantization.proof import FAR
from export.quantization.search import rule_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_sphereface.model.spec import ModelSpec
    from export.quantization.proof import PairsResult, Proof
    from export.quantization.search import Search

FEW_CROPS = 200
_OTHER_THRESHOLD = 0.005
"""Thresholds that differ by less than this, a step of the search for a threshold, are equal."""
_COLORS = {"same person": "#2166ac", "different people": "#b2182b"}


def proof_text(proof: Proof) -> str:
    """Format each bound with its measured value, then the details."""
    mean, p1, low = proof.drift
    lines = [f"proof {'PASSED' if proof.passed else 'FAILED'}"]
    lines += [f"  {judgment}" for judgment in proof.judgments]
    lines.append(f"cosine to float over {len(proof.cosines)} crops ({proof.source}):")
    lines.append(f"  mean {mean:.5f}, 1st percentile {p1:.5f}, minimum {low:.5f}")
    if len(proof.cosines) < FEW_CROPS:
        lines.append("  so few crops prove little: use more photographs, or labeled pairs")
    if proof.skipped:
        lines.append(f"  skipped {len(proof.skipped)} photographs without a usable face")
    if proof.pairs is not None:
        lines += _pairs_lines(proof.pairs)
    race = proof.latency.race
    if race is not None:
        for name, row in race.latency.items():
            lines.append(f"  {name:<28} {row.median_ms:8.2f} ms (p95 {row.p95_ms:.2f}, {row.samples} samples)")
        lines.append(f"  {race.load}{', which makes timings doubtful' if race.load.is_high else ''}")
    return "\n".join([*lines, *_threshold_lines(proof)])


def _threshold_lines(proof: Proof) -> list[str]:
    """Format the threshold and its origin and, if labeled pairs yield a different one, that threshold."""
    lines = [f"threshold of this model: {proof.threshold:g} ({proof.threshold_source})"]
    if proof.pairs is not None and abs(proof.pairs.reduced.threshold - proof.threshold) > _OTHER_THRESHOLD:
        measured = f"{proof.pairs.reduced.threshold:.3f}"
        lines.append(f"  the threshold on these pairs is {measured}; `quantize --threshold-from-pairs` stores it")
    return lines


def _pairs_lines(pairs: PairsResult) -> list[str]:
    out = f" ({pairs.left_out} others excluded, since the calibration used their photographs)" if pairs.left_out else ""
    lines = [
        f"{pairs.count} labeled pairs{out}:",
        f"  {'':<10} {'10-fold accuracy':>18} {'threshold':>9} {f'TAR@FAR={FAR:g}':>13} {'same':>15} {'different':>15}",
    ]
    for name, side in (("float", pairs.original), ("reduced", pairs.reduced)):
        accuracy = f"{side.accuracy:.2%} ± {side.accuracy_std:.2%}"
        genuine = f"{side.genuine_mean:.3f} ± {side.genuine_std:.3f}"
        impostor = f"{side.impostor_mean:.3f} ± {side.impostor_std:.3f}"
        lines.append(
            f"  {name:<10} {accuracy:>18} {side.threshold:>9.3f} {side.tar:>13.2%} {genuine:>15} {impostor:>15}"
        )
    return lines


def search_text(found: Search) -> str:
    """Format the candidates that were tried, and the rule and the cost of each layer."""
    chosen = found.chosen
    lines = ["candidates (root mean square of 1 - cosine on the judging crops):"]
    lines += [f"  {drift:9.6f}  {what}" for what, drift in found.tried.items()]
    kinds = ", ".join(f"{rule} in {count}" for rule, count in rule_counts(chosen.rules).items())
    lines.append(f"chosen: {kinds} layers; equalization {chosen.equalization:g}; biases ")
    lines[-1] += "corrected" if chosen.bias_correction else "unchanged"
    lines.append(f"  {'layer':<9} {'rule':<18} {'cost':>10}")
    for layer, rule in chosen.rules.items():
        kept = "  kept in float32" if layer in chosen.float_layers else ""
        lines.append(f"  {layer:<9} {rule:<18} {found.layer_costs[layer]:>10.6f}{kept}")
    return "\n".join(lines)


def page(
    title: str, spec: ModelSpec, found: Search | None, proof: Proof, environment: Mapping[str, object], plot: str
) -> str:
    """Format the whole report in Markdown.

    Args:
        title: name of the model file.
        spec: specification of the model.
        found: search for the INT8 form; None for float16.
        proof: comparison with the float model.
        environment: machine and versions, by name.
        plot: file name of the plot; empty for none.
    """
    record = spec.quantization
    head = [f"# {title}", "", f"{spec.architecture}, {spec.precision}"]
    if record is not None:
        head[-1] += f", target {record.target}, weights of {record.weight_bits} bits, made from the float model with "
        head[-1] += f"SHA-256 `{record.float_sha256}`."
    parts = ["\n".join(head)]
    if plot:
        parts.append(f"![Scores of both models and drift]({plot})")
    parts.append(_block(proof_text(proof)))
    if found is not None:
        parts.append(f"## Search\n\n{_block(search_text(found))}")
    parts.append("## Measured on\n\n" + "\n".join(f"* {name}: {value}" for name, value in environment.items()))
    return "\n\n".join(parts) + "\n"


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


def draw(output: IO[bytes], proof: Proof, title: str) -> None:
    """Draw the scores of both models, if there are labeled pairs, and the distribution of the drift, as PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pairs = proof.pairs
    panels = 1 if pairs is None else 2
    figure, axes = plt.subplots(1, panels, figsize=(5.2 * panels, 4.6), squeeze=False)
    drift = axes[0][-1]
    if pairs is not None:
        scores = axes[0][0]
        for name, chosen in (("different people", ~pairs.same), ("same person", pairs.same)):
            scores.plot(*pairs.scores[chosen].T, ".", markersize=2, color=_COLORS[name], label=name, alpha=0.5)
        ends = [float(pairs.scores.min()), float(pairs.scores.max())]
        scores.plot(ends, ends, color="black", linewidth=0.8)
        scores.axhline(proof.threshold, color="gray", linewidth=0.8, linestyle=":")
        scores.set(xlabel="cosine similarity, float model", ylabel="cosine similarity, this model")
        scores.set_title(f"{pairs.count} labeled pairs; dotted: threshold {proof.threshold:g}", fontsize=10)
        scores.legend(markerscale=5, frameon=False)
    lost = np.maximum(1 - proof.cosines, 1e-9)
    drift.hist(lost, bins=np.geomspace(lost.min(), lost.max() * 1.001, 60), color="#555555")
    drift.set(xscale="log", xlabel="1 - cosine to the float model's embedding", ylabel="crops")
    drift.set_title(f"{len(lost)} crops; mean cosine {proof.drift[0]:.5f}, minimum {proof.drift[2]:.5f}", fontsize=10)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(output, dpi=120, format="png")
    plt.close(figure)
