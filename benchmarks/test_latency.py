"""Cases of ``python -m benchmarks latency`` for pytest-benchmark: ``pytest benchmarks --benchmark-only``."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import stages
from edge_sphereface.alignment import align
from edge_sphereface.compare import cosine_similarity
from edge_sphereface.cpu import usable_cpus
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.model.certificate import golden_crops
from edge_sphereface.pipeline import FacePipeline
from export.faces import astronaut


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
@pytest.mark.parametrize("batch", stages.BATCHES)
def test_embed(benchmark: Any, model: Path, batch: int, threads: int) -> None:
    embedder = Embedder(model, provider="cpu", threads=threads)
    crops = np.resize(golden_crops(embedder.spec), (batch, *embedder.spec.crop_shape))
    assert benchmark(embedder.embed, crops).shape == (batch, embedder.spec.embedding_size)


@pytest.mark.parametrize("threads", sorted({1, usable_cpus()}))
def test_embed_derived(benchmark: Any, derived: Path, threads: int) -> None:
    embedder = Embedder(derived, provider="cpu", threads=threads)
    crop = golden_crops(embedder.spec)[:1]
    assert benchmark(embedder.embed, crop).shape == (1, embedder.spec.embedding_size)


def test_detect(benchmark: Any) -> None:
    assert len(benchmark(open_detector("mtcnn").detect, astronaut())) == 1


def test_align(benchmark: Any) -> None:
    (face,) = open_detector("mtcnn").detect(astronaut())
    assert benchmark(align, astronaut(), face.landmarks).shape == (1, 112, 96, 3)


def test_preprocess(benchmark: Any, model: Path) -> None:
    spec = Embedder(model).spec
    assert len(benchmark(preprocess, golden_crops(spec), spec)) == len(golden_crops(spec))


def test_compare(benchmark: Any) -> None:
    random = np.random.default_rng(0)
    probe, gallery = random.standard_normal((1, 512)), random.standard_normal((stages.GALLERY, 512))
    assert benchmark(cosine_similarity, probe, gallery).shape == (1, stages.GALLERY)


def test_load(benchmark: Any, model: Path) -> None:
    assert benchmark.pedantic(Embedder, args=(model,), rounds=5).spec


def test_photograph(benchmark: Any, model: Path) -> None:
    pipeline = FacePipeline(Embedder(model), open_detector("mtcnn"))
    assert len(benchmark(pipeline.process, astronaut())) == 1


def test_video_frame(benchmark: Any, model: Path) -> None:
    pipeline = FacePipeline(Embedder(model), open_detector("mtcnn"))
    frames = itertools.cycle(stages.moving_frames(astronaut()))
    assert len(benchmark(lambda: pipeline.process(next(frames)))) == 1
