"""Ways to run the same network, one module each.

A module holds a ``PEER`` that describes it and a class ``Contender`` that runs it; only :mod:`benchmarks.worker`
makes one, in a process of its own and, where packages clash, in a virtual environment of its own.
"""

from benchmarks.contenders.contender import Contender, Peer, find_peer, peer_names

__all__ = ["Contender", "Peer", "find_peer", "peer_names"]
