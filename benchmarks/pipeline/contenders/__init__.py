"""Contenders: ways from a photograph to the names of its faces, one per module.

A module has a ``PEER`` that describes the way and a class ``Contender`` that goes it. Only
:mod:`benchmarks.pipeline.worker` creates a contender, in a separate process and, if packages conflict, in a separate
virtual environment.
"""

from benchmarks.pipeline.contenders.contender import Contender, Faces, Setup, find_contender, peer_names

__all__ = ["Contender", "Faces", "Setup", "find_contender", "peer_names"]
