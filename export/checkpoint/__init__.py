"""MindSpore checkpoints without MindSpore.

``ckpt`` and ``safetensors`` read the two file formats, ``ckpt_writer`` writes the first, and ``checkpoint`` is the
common interface.
"""

from export.checkpoint.checkpoint import Checkpoint, open_checkpoint
from export.checkpoint.entry import TensorInfo

__all__ = ["Checkpoint", "TensorInfo", "open_checkpoint"]
