"""Demo on real photographs: from a checkpoint to identified people."""

from __future__ import annotations

from export.demo.report import demo_report
from export.demo.run import run_demo

__all__ = ["demo_report", "run_demo"]
