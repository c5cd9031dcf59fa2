"""This project's runtime with helper threads bound to processors, the default of onnxruntime and OpenVINO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import edge
from benchmarks.contenders.contender import Peer
from edge_sphereface.inference.session import SessionConfig

if TYPE_CHECKING:
    from benchmarks.contenders.contender import Setup

PEER = Peer(
    name="edge_pinned",
    title="edge_sphereface, pinned threads",
    settings="threads bound to processors, spinning while an inference runs; no arena; input in the model's own layout",
    takes_quantized=True,
    takes_crops=True,
    is_ours=True,
)


class Contender(edge.Contender):
    """See :class:`benchmarks.contenders.Contender`."""

    @staticmethod
    def config(setup: Setup) -> SessionConfig:
        """Settings of the session."""
        return SessionConfig(provider=setup.provider, threads=setup.threads, pinned_threads=True)
