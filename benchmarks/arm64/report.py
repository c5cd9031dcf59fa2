"""Format the result as Markdown that is readable in a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.arm64.agreement import FLOAT_ERROR, INT8_COSINE
from edge_sphereface.json_output import INLINE
from edge_sphereface.model.quantization import TARGET_X86_VNNI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.arm64.agreement import Agreement
    from benchmarks.arm64.smoke import InstructionCount, ProcessorRow, SmokeResult
    from benchmarks.environment import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm64Report:
    """What ``arm64`` tested.

    Attributes:
        environment: machine and versions.
        result: results of all processors.
    """

    environment: Environment
    result: SmokeResult = field(metadata=INLINE)


def text(report: Arm64Report) -> str:
    """Format agreement, processor times of the emulation, instruction counts and sizes."""
    environment, result = report.environment, report.result
    rows = result.processors
    versions = next((row.versions for row in rows if row.versions), {})
    shown = ", ".join(f"{name} {value}" for name, value in versions.items() if name != "machine")
    wheel = result.wheel
    head = [
        f"{result.model}. {result.crops} crops.",
        f"{wheel.name} ({wheel.bytes / 1024:.0f} KiB), on emulated cores",
        f"with {shown};",
        f"{result.emulator} on {environment.cpu}, {environment.usable_cpus} processors.",
        "Emulation is exact, but its speed is not that of the processors.",
    ]
    parts = ["\n".join(head), _agreements(rows), _saturation(rows, result.int8_targets)]
    if result.instructions:
        parts.append(_instructions(result.instructions))
    occupied = ", ".join(f"{name} {size:.0f}" for name, size in result.occupied_mib.items())
    parts.append(f"MiB on disk: {occupied}.")
    problems = [f"FAILED  {row.title}: {problem}" for row in (result.here, *rows) for problem in row.problems]
    parts.append("\n".join(problems) if problems else "PASSED")
    return "\n\n".join(part for part in parts if part)


def _agreements(rows: Sequence[ProcessorRow]) -> str:
    head = ["core", "features", "faces", "landmarks, px", "crops, levels", "float, rel. error"]
    head += [f"INT8 {target}, cosine" for target in INT8_COSINE] + ["processor time, s"]
    body = []
    for row in rows:
        found, passed = row.agreement, sum(line.passed for line in row.features)
        body.append(
            [
                row.title,
                f"{passed}/{len(row.features)}",
                "·" if found.faces is None else "{1} of {0}".format(*found.faces),
                _number(found.landmark_px, ".2f"),
                _number(found.crop_levels, "d"),
                _number(max(found.float_error.values(), default=None), ".1e"),
                *(_int8(found, target) for target in INT8_COSINE),
                f"{row.seconds:.0f}",
            ]
        )
    bounds = ", ".join(f"{target} {bound:g}" for target, bound in INT8_COSINE.items())
    return f"Against this machine (bounds: float {FLOAT_ERROR:g}; INT8 {bounds}):\n\n{table(head, body)}"


def _int8(found: Agreement, target: str) -> str:
    if target not in found.int8_cosine:
        return "·"
    same = found.int8_identical[target]
    return f"{found.int8_cosine[target]:.6f}" + (", same bits" if same == 1 else f", {same:.0%} same bits")


def _saturation(rows: Sequence[ProcessorRow], exact: Sequence[str]) -> str:
    cells = [
        [row.title, *(_number(row.agreement.int8_cosine.get(target), ".6f") for target in _TARGETS)]
        for row in rows
        if row.agreement.int8_cosine
    ]
    if not cells:
        return ""
    sentence = (
        "Least cosine of each INT8 target to its own run here. Weights of 8 bits saturate on x86-64 without VNNI,\n"
        "whose sums of two products have 16 bits; Arm has none. Weights of 7 bits (portable) are right everywhere:"
    )
    parts = [sentence, table(["processor", *_TARGETS], cells)]
    unjudged = [target for target in INT8_COSINE if target not in exact]
    if unjudged:
        parts.append(
            f"This machine has no VNNI, so its own embeddings are wrong for {', '.join(unjudged)}: not judged."
        )
    return "\n\n".join(parts)


_TARGETS = (*INT8_COSINE, TARGET_X86_VNNI)


def _instructions(counted: Sequence[InstructionCount]) -> str:
    forms = list(dict.fromkeys(row.form for row in counted))
    cores = list(dict.fromkeys(row.processor for row in counted))
    numbers = {(row.processor, row.form): row.instructions for row in counted}
    body = []
    for core in cores:
        plain = numbers[core, forms[0]]
        body.append([core, *(f"{numbers[core, form] / 1e6:.0f} ({numbers[core, form] / plain:.2f})" for form in forms)])
    sentence = "Instructions of one inference, in millions (and as a part of the plain form's): counts, no time:"
    return f"{sentence}\n\n{table(['core', *forms], body)}"


def _number(value: float | None, style: str) -> str:
    return "·" if value is None else format(value, style)


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *map(line, body)])
