"""Search latency of galleries, and their recall compared with exact search."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.alignment import FIT_CP2TFORM, LANDMARK_TEMPLATE
from edge_sphereface.evaluation.timing import measure_interleaved
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.model.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.gallery import Gallery
    from edge_sphereface.types import Float32Array, JsonObject

SIZE = 512
TOP = 5
_GENUINE = 0.6
"""Cosine similarity of a probe and its template, typical of a trained network for two photographs of a person."""
_CHANGES = 20
_BLOCK = 10_000


def unit_rows(count: int, seed: int) -> Float32Array:
    """Random unit vectors (N, 512) float32, which are nearly orthogonal."""
    rows = np.random.default_rng(seed).standard_normal((count, SIZE), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def make_probes(templates: Float32Array, count: int, seed: int) -> Float32Array:
    """Make probes: half of them resemble an identity, half are strangers."""
    random = np.random.default_rng(seed)
    probes = unit_rows(count, seed + 1)
    known = random.choice(len(templates), count // 2, replace=False)
    probes[: count // 2] = _GENUINE * templates[known] + np.sqrt(1 - _GENUINE**2) * probes[: count // 2]
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    return probes


def measure(
    identities: int, *, probes: int, rounds: int, milvus: bool, reporter: Callable[[str], Callable[[int, int], None]]
) -> list[JsonObject]:
    """Fill galleries, search them in turn, and compare each answer with the product over all templates.

    Args:
        identities: number of identities in each gallery.
        probes: number of probes for the recall.
        rounds: number of interleaved samples of the latency of one probe.
        milvus: also measure Milvus Lite, with exact and with graph search.
        reporter: returns a progress function for a named step.
    """
    templates = unit_rows(identities, 1)
    asked = make_probes(templates, probes, 2)
    expected = np.argmax(asked @ templates.T, axis=1)
    with TemporaryDirectory() as folder:
        galleries = _open(Path(folder), milvus=milvus)
        try:
            rows = [
                {
                    "gallery": name,
                    "identities": identities,
                    **_fill(gallery, templates, reporter(f"{name}: identities")),
                }
                for name, gallery in galleries.items()
            ]
            samples = _latencies(galleries, asked, rounds)
            return [
                {
                    **row,
                    **_answers(gallery, asked, expected),
                    **_changes(gallery, name),
                    "median_ms": float(np.median(samples[name])),
                    "p99_ms": float(np.percentile(samples[name], 99)),
                    "samples_ms": np.round(samples[name], 3).tolist(),
                }
                for row, (name, gallery) in zip(rows, galleries.items(), strict=True)
            ]
        finally:
            for gallery in galleries.values():
                gallery.close()


def text(rows: Sequence[JsonObject]) -> str:
    """Format the rows as a table."""
    head = (
        f"{'gallery':<22}{'search ms':>11}{'p99':>9}{'recall@1':>10}{'known':>8}{'fill s':>9}{'reopened ms':>13}"
        f"{'enroll ms':>11}{'remove s':>10}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row['gallery']:<22}{row['median_ms']:>11.1f}{row['p99_ms']:>9.1f}{row['recall_at_1']:>10.4f}{row['recall_at_1_known']:>8.4f}"
        f"{row['fill_s']:>9.1f}{row['first_search_ms']:>13.1f}{row['enroll_ms']:>11.1f}{row['remove_s']:>10.1f}"
        for row in rows
    ]
    return "\n".join([*lines, "", f"{rows[0]['identities']} identities, top {TOP} of one probe at a time"])


def _kind() -> Fingerprint:
    return Fingerprint(
        architecture="synthetic",
        embedding_size=SIZE,
        weights_sha256="",
        precision="float32",
        quantization="",
        crop_height=112,
        crop_width=96,
        landmark_template=LANDMARK_TEMPLATE,
        alignment_fit=FIT_CP2TFORM,
        color_order="BGR",
        pixel_mean=127.5,
        pixel_scale=0.0078125,
        flip=False,
    )


def _open(folder: Path, *, milvus: bool) -> dict[str, Gallery]:
    galleries: dict[str, Gallery] = {"file": open_gallery(folder / "people.db", _kind(), create=True)}
    if milvus:
        from edge_sphereface.gallery.milvus.store import MilvusGallery

        for name, exact in (("Milvus Lite, exact", True), ("Milvus Lite, HNSW", False)):
            place = f"milvus:{folder / name.partition(', ')[2]}.db"
            galleries[name] = MilvusGallery(place, fingerprint=_kind(), create=True, exact=exact)
    return galleries


def _fill(gallery: Gallery, templates: Float32Array, progress: Callable[[int, int], None]) -> JsonObject:
    start = time.perf_counter()
    for first in range(0, len(templates), _BLOCK):
        block = templates[first : first + _BLOCK]
        gallery.add(
            [
                Portrait(name=f"p{first + number:07d}", metadata=None, embeddings=row[None], crops=(None,))
                for number, row in enumerate(block)
            ]
        )
        progress(first + len(block), len(templates))
    return {"fill_s": time.perf_counter() - start}


def _latencies(galleries: dict[str, Gallery], probes: Float32Array, rounds: int) -> dict[str, Any]:
    def one(gallery: Gallery) -> Callable[[], object]:
        numbers = iter(range(1 << 62))
        return lambda: gallery.search(probes[next(numbers) % len(probes)], top=TOP)

    return measure_interleaved({name: one(gallery) for name, gallery in galleries.items()}, rounds=rounds)


def _answers(gallery: Gallery, probes: Float32Array, expected: Any) -> JsonObject:
    found = [candidates[0].name for candidates in gallery.search(probes, top=1)]
    right = [name == f"p{number:07d}" for name, number in zip(found, expected, strict=True)]
    known = len(probes) // 2
    return {
        "probes": len(probes),
        "recall_at_1": float(np.mean(right)),
        "recall_at_1_known": float(np.mean(right[:known])),
        "recall_at_1_strangers": float(np.mean(right[known:])),
    }


def _changes(gallery: Gallery, name: str) -> JsonObject:
    """Measure single enrollments, one removal, and the first search of a gallery after reopening it."""
    times = []
    for number, row in enumerate(unit_rows(_CHANGES, 77)):
        start = time.perf_counter()
        gallery.enroll(f"new {number}", row)
        times.append(1e3 * (time.perf_counter() - start))
    start = time.perf_counter()
    gallery.remove(["p0000007"])
    removed = time.perf_counter() - start
    probe, first = unit_rows(1, 78), time.perf_counter()
    if name == "file":
        with open_gallery(gallery.location, _kind()) as again:
            again.search(probe)
    else:
        gallery.search(probe)
    return {
        "enroll_ms": float(np.median(times)),
        "remove_s": removed,
        "first_search_ms": 1e3 * (time.perf_counter() - first),
    }
