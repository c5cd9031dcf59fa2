"""Runs a command for each event, which it gets as JSON on its standard input."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface.errors import SinkError
from edge_sphereface.stream.event_kinds import EVERY_KIND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from edge_sphereface.stream.events import Event

TIMEOUT_S = 30.0
MOST_RUNNING = 4
MOST_OUTPUT = 4096
"""Bytes of a command's stderr that are passed on."""
_STDERR = 2
_BLOCK = 1 << 16
_ROOM_S = 0.2
"""Longest wait for one of the running commands to end, before the dispatcher waits with its own growing pauses."""
_FLUSH_S = 0.4
_LOOK_S = 0.1
"""Interval at which a running command is checked for its time-out."""
_OURS = "EDGE_SPHEREFACE_"
"""Prefix of this program's variables, among them passwords, tokens and the gallery's key."""
_SUPERVISOR = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY")
"""Variables of systemd's that concern this process alone."""


def parse_command(text: str) -> tuple[str, ...]:
    """Split a command into program and arguments, with a shell's quotes; no shell runs.

    Raises:
        ValueError: the text is empty, or a quote is not closed.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"expected a command with its arguments: {str(error).lower()}") from error
    if not words or "\0" in text:
        raise ValueError("expected a command with its arguments, got none")
    return words


class CommandHook:
    """Starts a command for each event, without a shell. The line of the event is its standard input.

    A command that takes too long is killed with all processes of its group. The first 4 KiB of what it writes to stderr
    go to this process's stderr, and the number of further bytes; what it writes to stdout is discarded, because this
    program's events are there. An event whose command fails is
    counted as dropped and not tried again.

    Args:
        command: program and arguments.
        kinds: kinds of events to pass on.
        timeout_s: seconds that a command may take.
        most_running: commands that run at the same time; further events wait in the dispatcher.
        environment: variables from which those of the command follow: without this program's and its supervisor's.
            None for those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        kinds: Collection[str] = EVERY_KIND,
        timeout_s: float = TIMEOUT_S,
        most_running: int = MOST_RUNNING,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command, self._kinds = tuple(command), frozenset(kinds)
        self.name = f"command {Path(self._command[0]).name}"  # arguments may hold a token
        self.problem = ""
        self.dropped = 0
        self._timeout_s, self._most = timeout_s, most_running
        self._environment = _public(os.environ if environment is None else environment)
        self._room = threading.Semaphore(most_running)
        self._lock = threading.Lock()
        self._running = 0
        self._ends_at = float("inf")

    def open(self) -> None:
        """Look for the program; see :meth:`EventSink.open`."""
        if shutil.which(self._command[0], path=self._environment.get("PATH")) is None:
            raise SinkError(
                f"There is no program {self._command[0]!r} to run for events.",
                hint="name an executable file, with its path unless it lies in PATH",
            )

    def write(self, event: Event) -> None:
        """Start the command, as soon as fewer than the permitted number run; see :meth:`EventSink.write`."""
        if event.kind not in self._kinds:
            return
        line = f"{event.line()}\n".encode()
        if not self._room.acquire(timeout=_ROOM_S):
            raise SinkError(f"{self._most} commands run already, and events wait", hint="make the command faster")
        try:
            threading.Thread(target=self._run, args=(line,), name="event-command", daemon=True).start()
        except RuntimeError:  # no more threads
            self._room.release()
            raise

    def pending(self) -> int:
        """Number of running commands."""
        return self._running

    def close(self) -> None:
        """Give running commands a moment, and kill those that go on."""
        self._ends_at = time.monotonic() + _FLUSH_S
        for _ in range(self._most):
            self._room.acquire(timeout=max(self._ends_at + _LOOK_S - time.monotonic(), 0.0))

    def _run(self, line: bytes) -> None:
        with self._lock:
            self._running += 1
        try:
            failure = self._failure(line)
        except OSError as error:
            failure = f"it does not start: {error.strerror}"
        with self._lock:
            self._running -= 1
            self.dropped += bool(failure)
            self.problem = f"{self.dropped} events failed, the last: {failure}" if failure else ""
        self._room.release()

    def _failure(self, line: bytes) -> str:
        """Run the command; returns why it failed, and nothing if it did not."""
        ends_at = time.monotonic() + self._timeout_s
        with (
            _passed_on() as output,
            subprocess.Popen(  # noqa: S603 -- the command that the user named
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=self._environment,
                start_new_session=True,  # a process group of its own, out of reach of Ctrl-C
            ) as process,
        ):
            rest: bytes | None = line
            while True:
                try:
                    process.communicate(rest, timeout=_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    rest = None  # what is left of the line is kept by communicate
                    if time.monotonic() > min(ends_at, self._ends_at):
                        _kill_group(process)
                        is_slow = time.monotonic() > ends_at
                        return f"it took more than {self._timeout_s:g} s" if is_slow else "it was killed at the end"
        code = process.returncode
        return "" if code == 0 else f"exit code {code}" if code > 0 else f"ended by signal {-code}"


@contextmanager
def _passed_on() -> Iterator[int]:
    """A pipe for a command's stderr, whose beginning is passed on; processes that it leaves behind may keep it.

    Raises:
        OSError: there are no more files or threads.
    """
    source, output = os.pipe()
    reader = threading.Thread(target=_pass_on, args=(source,), name="event-command-output", daemon=True)
    try:
        reader.start()
    except RuntimeError as error:
        os.close(source)
        os.close(output)
        raise OSError(errno.EAGAIN, "there are no more threads") from error
    try:
        yield output
    finally:
        os.close(output)
        reader.join(_ROOM_S)


def _pass_on(source: int) -> None:
    """Write the first bytes of a pipe to stderr, and the number of those after them, until its last writer ends."""
    passed = left_out = 0
    with os.fdopen(source, "rb", buffering=0) as stream:
        while block := stream.read(_BLOCK):
            start = block[: MOST_OUTPUT - passed]
            passed += len(start)
            left_out += len(block) - len(start)
            _write_error(start)
    if left_out:
        _write_error(f"\N{HORIZONTAL ELLIPSIS} ({left_out} bytes more)\n".encode())


def _write_error(text: bytes) -> None:
    with suppress(OSError):  # closed, or full: no reason to stop the command
        os.write(_STDERR, text)


def _public(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if not name.startswith(_OURS) and name not in _SUPERVISOR
    }


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that has not been waited for, so that its number is still its own, and its group."""
    if os.name != "posix":
        process.kill()
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
