"""Run the features on several processors at a time, and report each line of output immediately."""

from __future__ import annotations

import json
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from benchmarks.emulation.emulator import EmulatedPython
    from edge_sphereface.types import JsonObject

SCRIPT = Path(__file__).with_name("features.py")
_LIMIT_S = 1800


@dataclass(slots=True)
class Run:
    """Output of one processor.

    Attributes:
        lines: one line per feature.
        died: description of an abnormal end; empty for a normal one.
        seconds: duration of the run.
    """

    lines: list[JsonObject] = field(default_factory=list)
    died: str = ""
    seconds: float = 0.0

    @property
    def details(self) -> dict[str, JsonObject]:
        """Details of the passed features, by feature."""
        return {line["feature"]: line["detail"] for line in self.lines if line["passed"]}


class Runner:
    """Runs Python on several processors at a time. Closing it kills the remaining processes."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._running: set[subprocess.Popen[str]] = set()

    def features(self, name: str, python: EmulatedPython, job: JsonObject) -> Run:
        """Run :mod:`benchmarks.arm64.features` and report its output line by line."""
        start, run, errors = time.monotonic(), Run(), list[str]()
        path = Path(job["output"]) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        with python.start([str(SCRIPT), str(path)]) as process:
            self._running.add(process)
            assert process.stdout is not None  # noqa: S101 -- pipes were asked for
            assert process.stderr is not None  # noqa: S101
            reader = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
            limit = threading.Timer(_LIMIT_S, process.kill)
            reader.start()
            limit.start()
            for text in process.stdout:
                run.lines.append(json.loads(text))
                self._note(_line(name, run.lines[-1]))
            code = process.wait()
            limit.cancel()
            reader.join()
            self._running.discard(process)
        if code:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            at = job["features"][len(run.lines)] if len(run.lines) < len(job["features"]) else "the end"
            run.died = f"died of {how} at '{at}': {''.join(errors).strip()[-300:]}".rstrip(": ")
            self._note(f"{name:<12} {run.died}")
        run.seconds = time.monotonic() - start
        return run

    def kill(self) -> None:
        """Kill the remaining processes."""
        for process in tuple(self._running):
            process.kill()


def _line(name: str, line: JsonObject) -> str:
    verdict = "ok" if line["passed"] else f"FAILED {line['detail'].get('error', '')}".rstrip()
    return f"{name:<12} {line['feature']:<16} {line['seconds']:>7.1f} s  {verdict}"
