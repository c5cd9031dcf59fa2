"""Search latency of galleries, and their recall compared with exact search."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_sphereface.alignment import FIT_CP2TFORM, LANDMARK_TEMPLATE
from edge_sphereface.evaluation.timing import measure_interleaved
from edge_sphereface.gallery import Portrait, open_gallery
from edge_sphereface.json_output import INLINE, rounded
from edge_sphereface.model.fingerprint import Fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.environment import TimedEnvironment
    from edge_sphereface.gallery import Gallery
    from edge_sphereface.types import Float32Array

SIZE = 512
TOP = 5
_GENUINE = 0.6
"""Cosine similarity of a probe and its template, typical of a trained network for two photographs of a person."""
_CHANGES = 20
_BLOCK = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Answers of a gallery, compared with the product over all templates.

    Attributes:
        probes: number of probes.
        recall_at_1: share of the probes with the right best candidate.
        recall_at_1_known: the same over probes that resemble an identity.
        recall_at_1_strangers: the same over probes of strangers.
    """

    probes: int
    recall_at_1: float
    recall_at_1_known: float
    recall_at_1_strangers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Durations of changes.

    Attributes:
        enroll_ms: median duration of one enrollment in milliseconds.
        remove_s: duration of one removal in seconds.
        first_search_ms: duration of the first search after reopening the gallery in milliseconds.
    """

    enroll_ms: float
    remove_s: float
    first_search_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryRow:
    """Latency and recall of one gallery.

    Attributes:
        gallery: kind of the gallery.
        identities: number of enrolled identities.
        fill_s: duration of the enrollment of all identities in seconds.
        recall: answers compared with exact search.
        changes: durations of changes.
        median_ms: median latency of one search in milliseconds.
        p99_ms: 99th percentile of it.
        samples_ms: raw samples of it.
    """

    gallery: str
    identities: int
    fill_s: float
    recall: Recall = field(metadata=INLINE)
    changes: Changes = field(metadata=INLINE)
    median_ms: float
    p99_ms: float
    samples_ms: tuple[float, ...] = field(metadata=rounded(3))


@dataclass(frozen=True, slots=True, kw_only=True)
class GallerySearchReport:
    """What ``gallery-search`` measured.

    Attributes:
        environment: machine, versions and load by other programs.
        galleries: one row for each gallery.
    """

    environment: TimedEnvironment
    galleries: tuple[GalleryRow, ...]


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
) -> list[GalleryRow]:
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
            filled = {
                name: _fill(gallery, templates, reporter(f"{name}: identities")) for name, gallery in galleries.items()
            }
            samples = _latencies(galleries, asked, rounds)
            return [
                GalleryRow(
                    gallery=name,
                    identities=identities,
                    fill_s=filled[name],
                    recall=_answers(gallery, asked, expected),
                    changes=_changes(gallery, name),
                    median_ms=float(np.median(samples[name])),
                    p99_ms=float(np.percentile(samples[name], 99)),
                    samples_ms=tuple(samples[name].tolist()),
                )
                for name, gallery in galleries.items()
            ]
        finally:
            for gallery in galleries.values():
                gallery.close()


def text(rows: Sequence[GalleryRow]) -> str:
    """Format the rows as a table."""
    head = (
        f"{'gallery':<22}{'search ms':>11}{'p99':>9}{'recall@1':>10}{'known':>8}{'fill s':>9}{'reopened ms':>13}"
        f"{'enroll ms':>11}{'remove s':>10}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row.gallery:<22}{row.median_ms:>11.1f}{row.p99_ms:>9.1f}{row.recall.recall_at_1:>10.4f}"
        f"{row.recall.recall_at_1_known:>8.4f}{row.fill_s:>9.1f}{row.changes.first_search_ms:>13.1f}"
        f"{row.changes.enroll_ms:>11.1f}{row.changes.remove_s:>10.1f}"
        for row in rows
    ]
    return "\n".join([*lines, "", f"{rows[0].identities} identities, top {TOP} of one probe at a time"])


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
        shortcut="after_activation",
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


def _fill(gallery: Gallery, templates: Float32Array, progress: Callable[[int, int], None]) -> float:
    """Enroll all templates, and return the duration in seconds."""
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
    return time.perf_counter() - start


def _latencies(galleries: dict[str, Gallery], probes: Float32Array, rounds: int) -> dict[str, Any]:
    def one(gallery: Gallery) -> Callable[[], object]:
        numbers = iter(range(1 << 62))
        return lambda: gallery.search(probes[next(numbers) % len(probes)], top=TOP)

    return measure_interleaved({name: one(gallery) for name, gallery in galleries.items()}, rounds=rounds)


def _answers(gallery: Gallery, probes: Float32Array, expected: Any) -> Recall:
    found = [candidates[0].name for candidates in gallery.search(probes, top=1)]
    right = [name == f"p{number:07d}" for name, number in zip(found, expected, strict=True)]
    known = len(probes) // 2
    return Recall(
        probes=len(probes),
        recall_at_1=float(np.mean(right)),
        recall_at_1_known=float(np.mean(right[:known])),
        recall_at_1_strangers=float(np.mean(right[known:])),
    )


def _changes(gallery: Gallery, name: str) -> Changes:
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
    return Changes(
        enroll_ms=float(np.median(times)), remove_s=removed, first_search_ms=1e3 * (time.perf_counter() - first)
    )
