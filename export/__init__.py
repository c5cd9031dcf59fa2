"""The workstation stage: a MindSpore checkpoint of SphereFace becomes an ONNX file that is proven equal to it.

Run from a checkout: ``python -m export --help``. MindSpore itself is needed for no conversion, only for the strongest
proof.
"""
