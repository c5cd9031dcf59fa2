"""Diagnoses this machine: ``machine`` collects facts, ``checks`` judges them, ``report`` prints them.

Its advice is what to type at a terminal, so it names commands and options.
"""

from edge_sphereface.doctor.checks import Finding
from edge_sphereface.doctor.report import Report, examine, render

__all__ = ["Finding", "Report", "examine", "render"]
