"""Errors of the export stage; they extend the tree of :mod:`edge_sphereface.errors`."""

from __future__ import annotations

from edge_sphereface.errors import EdgeSphereFaceError


class CheckpointError(EdgeSphereFaceError, ValueError):
    """A checkpoint is missing, damaged, encrypted, or in another format."""

    code = "checkpoint"


class TopologyError(EdgeSphereFaceError, ValueError):
    """The parameters of a checkpoint do not form a SphereFace network."""

    code = "topology"


class CalibrationError(EdgeSphereFaceError, ValueError):
    """The photographs for the calibration show no usable face."""

    code = "calibration"


class ParityError(EdgeSphereFaceError, ArithmeticError):
    """The embeddings of an ONNX file differ from those of its checkpoint."""

    code = "parity"
