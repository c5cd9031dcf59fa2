"""Latency of embedding, for one or several models in turn, each with its agreement with the first.

Sessions do not spin here (the default of the runtime): the waiting threads of one model would take processor time from
the next, and slow the same code by half.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.certificate import golden_crops
from edge_sphereface.embed import Embedder
from edge_sphereface.files import sha256_of
from edge_sphereface.metrics import agreement
from edge_sphereface.timing import measure_interleaved, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.types import Float64Array, JsonObject


def measure(
    models: Sequence[Path],
    *,
    threads: Sequence[int],
    batches: Sequence[int] = (1, 4, 16),
    rounds: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[JsonObject]:
    """Time every model at every batch size and number of threads, the models interleaved.

    Args:
        models: ONNX files; the first is the reference of the others' correctness.
        threads: of one inference.
        batches: crops per inference.
        rounds: samples of each case.
        progress: called with cases done and cases in total.

    Returns:
        One row per case: model, threads, batch, latency of the batch and per face, raw samples, cosine to the first.
    """
    rows: list[JsonObject] = []
    cases = [(count, batch) for count in threads for batch in batches]
    for number, (count, batch) in enumerate(cases):
        embedders = {path: Embedder(path, provider="cpu", threads=count, batch_size=batch) for path in models}
        inputs = {path: golden_crops(embedder.spec) for path, embedder in embedders.items()}
        expected = embedders[models[0]].forward(inputs[models[0]])
        runs = {
            str(path): partial(embedder.embed, np.resize(inputs[path], (batch, *embedder.spec.crop_shape)))
            for path, embedder in embedders.items()
        }
        samples = measure_interleaved(runs, rounds=rounds)
        for path, embedder in embedders.items():
            cosine = agreement(expected, embedder.forward(inputs[path])).min_cosine
            rows.append(_row(path, embedder, batch, cosine, samples[str(path)]))
        if progress is not None:
            progress(number + 1, len(cases))
    return rows


def _row(path: Path, embedder: Embedder, batch: int, cosine: float, samples: Float64Array) -> JsonObject:
    latency = summarize(samples)
    return {
        "model": str(path),
        "sha256": sha256_of(path),
        "precision": embedder.spec.precision,
        "provider": embedder.provider.as_json(),
        "batch": batch,
        "latency": latency.as_json(),
        "median_ms_per_face": round(latency.median_ms / batch, 3),
        "min_cosine_to_first": cosine,
        "samples_ms": [round(float(value), 4) for value in samples],
    }


def text(rows: Sequence[JsonObject]) -> str:
    """The rows as a table."""
    columns = f"{'threads':>7} {'batch':>5} {'median ms':>9} {'p95':>8} {'p99':>8} {'ms/face':>8} {'cosine':>10}"
    lines = [f"{'model':<36} {columns}"]
    for row in rows:
        latency = row["latency"]
        lines.append(
            f"{Path(row['model']).name[-36:]:<36} {row['provider']['threads']:>7} {row['batch']:>5} "
            f"{latency['median_ms']:>9.2f} {latency['p95_ms']:>8.2f} {latency['p99_ms']:>8.2f} "
            f"{row['median_ms_per_face']:>8.2f} {row['min_cosine_to_first']:>10.7f}"
        )
    return "\n".join(lines)
