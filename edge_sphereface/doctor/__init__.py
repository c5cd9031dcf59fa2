"""Diagnoses this machine: ``machine`` collects facts, ``checks`` judges them, ``report`` prints them."""

from edge_sphereface.doctor.checks import Finding
from edge_sphereface.doctor.report import Report, examine, render

__all__ = ["Finding", "Report", "examine", "render"]
