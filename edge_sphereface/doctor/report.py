"""Runs all checks and renders the findings."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_sphereface.doctor import checks
from edge_sphereface.doctor.machine import read_machine

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.doctor.checks import Finding
    from edge_sphereface.doctor.machine import Machine

_MARKS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
_WIDTH = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Facts about a machine and findings of the checks.

    Attributes:
        fit: whether no finding has the status ``fail``.
        findings: one finding per check.
        machine: facts about the machine.
    """

    fit: bool = field(init=False, default=False)
    findings: tuple[Finding, ...]
    machine: Machine

    def __post_init__(self) -> None:
        object.__setattr__(self, "fit", all(finding.status != "fail" for finding in self.findings))


def examine(
    *,
    model: Path | None = None,
    threads: int | None = None,
    machine: Machine | None = None,
) -> Report:
    """Run every check.

    Args:
        model: path of an ONNX file to check as well.
        threads: number of threads that will be used.
        machine: facts about a machine; None for this machine.
    """
    facts = machine or read_machine()
    detectors, model_finding = checks.check_detectors(), checks.check_model(model)
    return Report(
        machine=facts,
        findings=(
            checks.check_python(facts),
            checks.check_architecture(facts),
            checks.check_memory(facts),
            checks.check_threads(facts, threads),
            checks.check_onnxruntime(facts),
            checks.check_telemetry(facts),
            checks.check_providers(facts),
            checks.check_opencv(facts),
            checks.check_cache(),
            detectors,
            model_finding,
            checks.check_offline(detectors, model_finding),
        ),
    )


def render(report: Report) -> str:
    """Render a report as text for people."""
    counts = {status: sum(f.status == status for f in report.findings) for status in _MARKS}
    verdict = "This machine is fit." if report.fit else "This machine is NOT fit: fix what is marked FAIL."
    warned, failed = (
        f"{counts[status]} {noun}{'' if counts[status] == 1 else 's'}"
        for status, noun in (("warn", "warning"), ("fail", "failure"))
    )
    lines = [f"{verdict} {counts['ok']} ok, {warned}, {failed}", ""]
    for finding in report.findings:
        head = f"{_MARKS[finding.status]}  {finding.check:<13}"
        lines += textwrap.wrap(
            head + finding.message, _WIDTH, subsequent_indent=" " * len(head), break_on_hyphens=False
        )
        if finding.action:
            arrow = " " * len(head) + "-> "
            lines += textwrap.wrap(arrow + finding.action, _WIDTH, subsequent_indent=" " * len(arrow))
    return "\n".join(lines)
