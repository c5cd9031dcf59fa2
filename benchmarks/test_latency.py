"""The same cases under pytest-benchmark: ``pytest benchmarks``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sphereface.certificate import golden_crops
from edge_sphereface.embed import Embedder


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_embed(benchmark: Any, model: Path, batch: int) -> None:
    embedder = Embedder(model, provider="cpu")
    crops = np.resize(golden_crops(embedder.spec), (batch, *embedder.spec.crop_shape))
    embeddings = benchmark(embedder.embed, crops)
    assert embeddings.shape == (batch, embedder.spec.embedding_size)
