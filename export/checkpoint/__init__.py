"""MindSpore checkpoints without MindSpore.

``wire`` reads protobuf's wire format, ``ckpt`` and ``safetensors`` the two file formats, ``ckpt_writer`` writes the
first, and ``checkpoint`` gives all of it one face.
"""

from export.checkpoint.checkpoint import Checkpoint, open_checkpoint
from export.checkpoint.entry import TensorInfo

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint"]
