"""Contenders: runtimes for the same network, one per module.

A module has a ``PEER`` that describes the runtime and a class ``Contender`` that runs it. Only :mod:`benchmarks.worker`
creates a contender, in a separate process and, if packages conflict, in a separate virtual environment.

Not included: LiteRT, since onnx2tf 1.29 (with TensorFlow 2.19) cannot convert this network: it assumes that the input
of conv2_1 is channels-last and stops. ExecuTorch requires a PyTorch module, which this project does not have.
"""

from benchmarks.contenders.contender import Contender, Peer, find_peer, peer_names

__all__ = ["Contender", "Peer", "find_peer", "peer_names"]
