"""The trained network that comes with the project, for the demo and the tests; see README.md beside it."""

from __future__ import annotations

from pathlib import Path

PRETRAINED = Path(__file__).parent / "sphere20a-w025.ckpt"
"""Checkpoint of a SphereFace-20 of quarter width, in MindSpore's format."""

PRETRAINED_SHA256 = "3b92d74883714a22283058c8041f4120836c202af1dda10b05567dc7f1beb15f"

PRETRAINED_LFW_ACCURACY = 0.9638
"""10-fold accuracy on LFW's 6,000 pairs.

Source: benchmarks/results/x86-64-2-cores-emerald-rapids/alignment-accuracy.json, row w025-cp2tform.
"""

PRETRAINED_LFW_THRESHOLD = 0.2405
"""Mean of the ten thresholds of that test."""
