"""Files of weights, read without the frameworks that wrote them.

``file_format`` recognizes the format of a file. ``ckpt`` and ``safetensors`` read MindSpore's, ``pytorch`` PyTorch's
(``state_pickle``, ``zip_index``), ``caffe`` Caffe's, ``onnx_network`` ONNX graphs of other exporters (``onnx_node``,
``onnx_weights``, ``onnx_source``). ``ckpt_writer`` writes the first, and ``checkpoint`` is the common interface.
"""

from export.checkpoint.checkpoint import Checkpoint, format_of, open_checkpoint
from export.checkpoint.entry import TensorInfo

__all__ = ["Checkpoint", "TensorInfo", "format_of", "open_checkpoint"]
