"""This project's runtime with its default session settings and the input layout of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders.contender import Peer
from edge_sphereface.inference.backend import open_backend
from edge_sphereface.inference.embedder import preprocess
from edge_sphereface.inference.session import SessionConfig

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from benchmarks.contenders.contender import Setup
    from edge_sphereface.types import Float32Array

PEER = Peer(
    name="edge",
    title="edge_sphereface",
    settings="the runtime's defaults: no spinning, no arena; input in the model's own layout",
    takes_quantized=True,
    takes_crops=True,
    is_ours=True,
)


class Contender:
    """See :class:`benchmarks.contenders.Contender`."""

    def __init__(self, model: Path, setup: Setup) -> None:
        self._backend = open_backend(model, self.config(setup))
        self.version = str(self._backend.provider)

    @staticmethod
    def config(setup: Setup) -> SessionConfig:
        """Settings of the session."""
        return SessionConfig(provider=setup.provider, threads=setup.threads)

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:  # noqa: ARG002
        """Convert the input to the layout of the model."""
        return preprocess(crops, self._backend.spec)

    def run(self, prepared: Any) -> Float32Array:
        """Run one inference."""
        return self._backend.run(prepared)
