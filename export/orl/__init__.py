"""The ORL faces: photographs of 40 people for the demo, and for the calibration and proof of models by default."""

from __future__ import annotations
