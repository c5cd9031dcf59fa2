"""Ways to run the same network, one module each.

A module holds a ``PEER`` that describes it and a class ``Contender`` that runs it; only :mod:`benchmarks.worker`
makes one, in a process of its own and, where packages clash, in a virtual environment of its own.

Tried and left out: LiteRT, since onnx2tf 1.29 (with TensorFlow 2.19) does not convert this network: it takes the input
of conv2_1 for channels-last and stops. ExecuTorch starts from a PyTorch module, which this project does not have.
"""

from benchmarks.contenders.contender import Contender, Peer, find_peer, peer_names

__all__ = ["Contender", "Peer", "find_peer", "peer_names"]
