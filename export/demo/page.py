"""Format the demo's result as a page of text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.doctor.machine import read_machine
from export import parity
from export.orl.photographs import ENROLLED_EACH, ENROLLED_PEOPLE, STRANGERS, name_of

if TYPE_CHECKING:
    from export.demo.recognition import Recognition
    from export.demo.run import Demo, Form
    from export.known_checkpoints import KnownCheckpoint

_MIB = 1 << 20
_ROW = "{:<17}{:>9} {:>8} {:>8} {:>6} {:>10} {:>12} {:>12} {:>14}"


def sheet_title(known: KnownCheckpoint, form: str, result: Recognition) -> str:
    """Format the first line of the contact sheet."""
    enrolled = [answer for answer in result.answers if not answer.is_stranger]
    right, strangers = sum(answer.right for answer in enrolled), len(result.answers) - len(enrolled)
    return (
        f"SphereFace, {known.title}, {form}: {right} of {len(enrolled)} named rightly, "
        f"{result.wrong_names} wrong names, {result.false_alarms} of {strangers} strangers named"
    )


def text(demo: Demo) -> str:
    """Format the whole page."""
    result = next(iter(demo.forms.values())).recognition
    strangers = sum(answer.is_stranger for answer in result.answers)
    known = demo.known
    lines = [
        f"{known.title[0].upper()}{known.title[1:]}: LFW {known.lfw_accuracy:.2%} ({known.accuracy_source})",
        f"ORL faces (AT&T Laboratories Cambridge): {ENROLLED_PEOPLE} people enrolled, {ENROLLED_EACH} photographs each",
        f"{len(result.answers)} other photographs identified, {strangers} of them of {STRANGERS} strangers",
        f"Faces found by {demo.detector}; the threshold of each form accepts 1 % of the strangers' photographs",
        "",
        _ROW.format("", "size", "rank-1", "named", "wrong", "strangers", "same", "different", "ms a face"),
        _ROW.format("", "", "", "rightly", "names", "named", "person", "people", "median (p95)"),
        *(_row(name, form, strangers) for name, form in demo.forms.items()),
    ]
    lines += [f"{name} was not written: {form.refused}" for name, form in demo.forms.items() if form.refused]
    proof = demo.quantized.proof
    mean, _, low = proof.drift
    lines += [
        "",
        parity.text(demo.made.proof),
        f"INT8 against float over {len(proof.cosines)} faces: cosine {mean:.4f} on average, {low:.4f} at least",
        *(f"  {judgment}" for judgment in proof.judgments if judgment.measured is not None),
        "",
        "Files",
        *(f"  {path.stat().st_size / _MIB:>8.2f} MiB  {path}" for path in demo.files),
        "",
        f"Ran on       {demo.provider}",
    ]
    machine = read_machine()
    processor = machine.cpu_model or machine.processor
    lines.append(f"             {processor}, {machine.usable_cpus} processors, numpy {np.__version__}; {demo.load}")
    model, gallery = demo.made.model, demo.files[-1]
    photograph = model.parent / "photographs" / "others" / name_of(7) / "05.png"
    lines += [
        f"Look at      {demo.files[0]}",
        f"Try          {_program()} identify '{photograph}' --model {model} --gallery {gallery}",
    ]
    return "\n".join(lines)


def _program() -> str:
    """The command of this environment, as one can type it."""
    beside = Path(sys.executable).parent / "edge-sphereface"
    if not beside.exists():
        return "edge-sphereface"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _row(name: str, form: Form, strangers: int) -> str:
    result, latency = form.recognition, form.latency
    pairs = [f"{values.mean():.2f} ± {values.std():.2f}" for values in (result.genuine, result.impostor)]
    alarms = f"{result.false_alarms} of {strangers}"
    size, times = f"{form.bytes / _MIB:.2f} MiB", f"{latency.median_ms:.2f} ({latency.p95_ms:.2f})"
    shares = f"{result.rank1:.1%}", f"{result.identified:.1%}"
    return _ROW.format(name, size, *shares, result.wrong_names, alarms, *pairs, times)
