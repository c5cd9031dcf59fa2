"""The workstation stage: convert a MindSpore checkpoint of SphereFace to ONNX, and prove that both are equal.

Run from a checkout: ``python -m export --help``. Conversion does not need MindSpore. With MindSpore installed, the
proof compares with MindSpore itself.
"""
