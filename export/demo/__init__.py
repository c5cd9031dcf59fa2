"""The demo: from a checkpoint to recognized people, on real photographs."""

from __future__ import annotations

from export.demo.report import demo_report
from export.demo.run import run_demo

__all__ = ["demo_report", "run_demo"]
