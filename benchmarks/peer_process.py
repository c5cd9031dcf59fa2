"""Process of a peer in its own environment, which answers in JSON lines."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks.peer_environments import environment_of, python_of
from benchmarks.worker import Message, Problem
from edge_sphereface.storage.bounded_json import MAX_JSON_BYTES, parse_json

if TYPE_CHECKING:
    from benchmarks.contenders import Peer

AnswerT = TypeVar("AnswerT", bound=Message)
ROOT = Path(__file__).resolve().parents[1]


class PeerProcess:
    """A process that runs a module of the benchmarks in the environment of a peer.

    Args:
        peer: the peer.
        module: name of the module, whose ``main`` is that of :mod:`benchmarks.worker`.
        request: what it loads.
        threads: number of threads of one inference.

    Raises:
        PeerUnavailableError: the packages of the peer cannot be installed.
    """

    def __init__(self, peer: Peer, module: str, request: Message, *, threads: int) -> None:
        python = python_of(peer)
        variables = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "GLOG_v": "3"}
        self._process = subprocess.Popen(  # noqa: S603
            [python, "-m", module, request.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment_of(peer), **variables},
            text=True,
        )

    def send(self, order: Message) -> None:
        """Send an order."""
        assert self._process.stdin is not None  # noqa: S101 -- a pipe was asked for
        with suppress(OSError):  # the process has died; reading tells how
            self._process.stdin.write(order.to_json() + "\n")
            self._process.stdin.flush()

    def read(self, expected: type[AnswerT]) -> AnswerT | Problem:
        """Wait for an answer."""
        assert self._process.stdout is not None  # noqa: S101 -- a pipe was asked for
        line = self._process.stdout.readline()
        if not line:
            return Problem(error=f"the process ended with exit code {self._process.wait()}")
        answer = parse_json(line, limit=MAX_JSON_BYTES)
        is_problem = isinstance(answer, dict) and "error" in answer
        return Problem.from_values(answer) if is_problem else expected.from_values(answer)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
