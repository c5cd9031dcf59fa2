"""What benchmarks on rendered faces share: their conditions, and the embeddings of the photographs they start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.cli.runner import Progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from benchmarks.environment import TimedEnvironment, TimedRun
    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.inference.session import ProviderReport
    from edge_sphereface.types import Float32Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Conditions that the figures depend on.

    Attributes:
        environment: machine, versions and load by other programs.
        model: file name of the model.
        precision: precision of the model.
        detector: name of the detector.
        provider: what the model ran on.
        seed: seed of the cast and its motion.
    """

    environment: TimedEnvironment
    model: str
    precision: str
    detector: str
    provider: ProviderReport
    seed: int


def read_setting(timed: TimedRun, arguments: argparse.Namespace, embedder: Embedder, detector: Detector) -> Setting:
    """The conditions of a run that ends now."""
    return Setting(
        environment=timed.describe(),
        model=arguments.model.name,
        precision=embedder.spec.precision,
        detector=detector.name,
        provider=embedder.provider,
        seed=arguments.seed,
    )


def embed_photographs(
    arguments: argparse.Namespace,
    enrolled: Mapping[str, Sequence[str]],
    strangers: Sequence[str],
    embedder: Embedder,
    detector: Detector,
) -> dict[str, Float32Array]:
    """Embed the photographs of the gallery and of the strangers for its threshold; they are kept in the cache.

    Args:
        arguments: model and folder of LFW.
        enrolled: photographs by name, as paths relative to the images of LFW.
        strangers: one photograph of each, likewise.
        embedder: the model.
        detector: finds the landmarks.

    Returns:
        Embeddings by photograph.
    """
    from benchmarks.accuracy.embeddings import EmbeddingStore, embed_images
    from edge_sphereface.evaluation.pairs import detected_landmarks
    from edge_sphereface.storage.files import sha256_of

    return embed_images(
        [*(path for paths in enrolled.values() for path in paths), *strangers],
        arguments.lfw / "images",
        spec=embedder.spec,
        embed=embedder.embed,
        store=EmbeddingStore(f"{sha256_of(arguments.model)[:24]}-{detector.name}", embedder.spec.embedding_size),
        locate=detected_landmarks(detector),
        progress=Progress("photographs of the gallery"),
    )
