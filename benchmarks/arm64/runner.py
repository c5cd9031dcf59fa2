"""Run the features on several processors at a time, and report each line of output immediately."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.recorded import read_record
from edge_sphereface.json_output import json_text

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping

    from benchmarks.emulation.emulator import EmulatedPython
    from edge_sphereface.types import JsonObject

SCRIPT = Path(__file__).with_name("features.py")
_LIMIT_S = 7200
"""Longest duration of one processor: ten times that on an idle machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Input of :mod:`benchmarks.arm64.features`.

    Attributes:
        photo: photograph with a face.
        mirrored: mirror image of the photograph.
        crops: array file with crops.
        floats: float32 ONNX files by form.
        int8: quantized ONNX files by target.
        features: names of the features to run.
        packages: folder with the installed wheel.
        output: folder of the files that the features write.
    """

    photo: Path
    mirrored: Path
    crops: Path
    floats: Mapping[str, Path]
    int8: Mapping[str, Path]
    features: tuple[str, ...]
    packages: Path
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureLine:
    """Result of one feature on one processor.

    Attributes:
        feature: name of the feature.
        passed: whether it passed.
        seconds: its processor time in seconds, that of the emulator included.
    """

    feature: str
    passed: bool
    seconds: float


@dataclass(slots=True)
class Run:
    """Output of one processor.

    Attributes:
        lines: result of each feature.
        details: details of the passed features, by feature.
        errors: error of each failed feature, by feature.
        died: description of an abnormal end; empty for a normal one.
    """

    lines: list[FeatureLine] = field(default_factory=list)
    details: dict[str, JsonObject] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    died: str = ""

    def add(self, text: str) -> FeatureLine:
        """Add a line that a processor printed, and return it."""
        values = json.loads(text)
        line = read_record(FeatureLine, values)
        self.lines.append(line)
        if line.passed:
            self.details[line.feature] = values["detail"]
        else:
            self.errors[line.feature] = values["detail"].get("error", "")
        return line


class Runner:
    """Runs Python on several processors at a time. Closing it kills the remaining processes."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._running: set[subprocess.Popen[str]] = set()

    def features(self, name: str, python: EmulatedPython, job: Job) -> Run:
        """Run :mod:`benchmarks.arm64.features` and report its output line by line."""
        run, errors = Run(), list[str]()
        path = job.output / "job.json"
        path.write_text(json_text(job), encoding="utf-8")
        with python.start([str(SCRIPT), str(path)]) as process:
            self._running.add(process)
            assert process.stdout is not None  # noqa: S101 -- pipes were asked for
            assert process.stderr is not None  # noqa: S101
            reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
            limit = threading.Timer(_LIMIT_S, process.kill)
            reader.start()
            limit.start()
            for text in process.stdout:
                line = run.add(text)
                verdict = "ok" if line.passed else f"FAILED {run.errors[line.feature]}".rstrip()
                self._note(f"{name:<12} {line.feature:<16} {line.seconds:>7.1f} s  {verdict}")
            code = process.wait()
            limit.cancel()
            reader.join()
            self._running.discard(process)
        if code:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            at = job.features[len(run.lines)] if len(run.lines) < len(job.features) else "the end"
            run.died = f"died of {how} at '{at}': {''.join(errors).strip()[-300:]}".rstrip(": ")
            self._note(f"{name:<12} {run.died}")
        return run

    def kill(self) -> None:
        """Kill the remaining processes."""
        for process in tuple(self._running):
            process.kill()
