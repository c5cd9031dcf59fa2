"""This project's runtime with the settings that `tune` finds fastest: memory arena, threads bound to processors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contenders import edge
from benchmarks.contenders.contender import Peer
from edge_sphereface.inference.session import SessionConfig

if TYPE_CHECKING:
    from benchmarks.contenders.contender import Setup

PEER = Peer(
    name="edge_tuned",
    title="edge_sphereface, tuned",
    settings="memory arena; threads bound to processors, spinning while an inference runs; the model's own layout",
    takes_quantized=True,
    takes_crops=True,
    is_ours=True,
)


class Contender(edge.Contender):
    """See :class:`benchmarks.contenders.Contender`."""

    @staticmethod
    def config(setup: Setup) -> SessionConfig:
        """Settings of the session."""
        return SessionConfig(provider=setup.provider, threads=setup.threads, pinned_threads=True, memory_arena=True)
