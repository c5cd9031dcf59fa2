"""Errors of the export stage; they extend the tree of :mod:`edge_sphereface.errors`."""

from __future__ import annotations

from edge_sphereface.errors import EdgeSphereFaceError


class CheckpointError(EdgeSphereFaceError, ValueError):
    """A checkpoint is missing, damaged, encrypted, or in another format."""

    code = "checkpoint"


class TopologyError(EdgeSphereFaceError, ValueError):
    """The parameters of a checkpoint do not make a SphereFace network."""

    code = "topology"


class CalibrationError(EdgeSphereFaceError, ValueError):
    """Photographs for a calibration give no crops."""

    code = "calibration"


class ParityError(EdgeSphereFaceError, ArithmeticError):
    """An ONNX file does not give what its checkpoint gives."""

    code = "parity"
