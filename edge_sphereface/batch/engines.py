"""Engines that run the batch operator: in this process, or on Ray Data."""

from __future__ import annotations

import logging
import os
import socket
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from edge_sphereface.batch.operator import PhotographOperator
from edge_sphereface.batch.tables import arrow
from edge_sphereface.errors import ExtraError, ProviderError
from edge_sphereface.extras import install_command
from edge_sphereface.inference.session import session_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge_sphereface.batch.operator import OperatorConfig

BATCH = 32
"""Photographs whose rows are transferred and written together."""

_ANSWER_S = 5.0
"""Timeout of a cluster's answer."""
STARTS = 3
"""Attempts to start a local cluster. Occasionally one of Ray's processes does not start within Ray's fixed timeout, for
an unknown reason that others report, too: https://github.com/vllm-project/vllm/pull/47208."""
_BEGIN = "reduce the load on the machine, or use the local engine"
_REACH = "a cluster with tokens wants RAY_AUTH_MODE=token and RAY_AUTH_TOKEN; check the address with `ray status`"


class Engine(Protocol):
    """Interface of an engine, which runs the operator over paths."""

    def run(self, config: OperatorConfig, paths: Sequence[str]) -> Iterator[Any]:
        """Iterate over tables of rows, in any order; each path is in one of them."""
        ...


class LocalEngine:
    """Runs the operator in this process.

    Args:
        batch: photographs whose rows are written together.
    """

    def __init__(self, *, batch: int = BATCH) -> None:
        self._batch = batch

    def run(self, config: OperatorConfig, paths: Sequence[str]) -> Iterator[Any]:
        """Iterate over tables of rows, in the order of the paths."""
        batches = (paths[start : start + self._batch] for start in range(0, len(paths), self._batch))
        yield from PhotographOperator(config).run(batches)


class RayEngine:
    """Runs the operator on Ray Data, in a pool of actors with one session each.

    Args:
        workers: number of actors.
        threads: processors per actor; None for the threads of the session options, or one.
        address: address of a cluster; None for a local cluster that ends with the run.
        batch: photographs whose rows are transferred and written together.
        starts: attempts to start a local cluster.

    Raises:
        ExtraError: Ray is not installed.
    """

    def __init__(
        self,
        *,
        workers: int,
        threads: int | None = None,
        address: str | None = None,
        batch: int = BATCH,
        starts: int = STARTS,
    ) -> None:
        # Ray sends usage statistics unless this is set before it is imported.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            import ray.data
        except ImportError as error:
            raise ExtraError("This engine needs Ray, which is not installed.", hint=install_command("ray")) from error
        self._ray: Any = ray
        self._workers = workers
        self._given = threads
        self._threads = threads or 1
        self._address = address
        self._batch = batch
        self._starts = starts

    def run(self, config: OperatorConfig, paths: Sequence[str]) -> Iterator[Any]:
        """Iterate over tables of rows, as actors finish them.

        Raises:
            ProviderError: the cluster has too few processors, or cannot be reached.
            ValueError: this engine and the session were given different numbers of threads.
        """
        session = session_config(config.session, provider=None, threads=self._given)
        self._threads = session.threads or 1
        config = replace(config, session=replace(session, threads=self._threads))
        begun = not self._ray.is_initialized()
        if begun:
            self._begin()
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        try:
            self._require_processors()
            table = arrow().table({"path": list(paths)})
            # One block per batch, made here: splitting on the cluster would wait for processors that the actors hold
            blocks = [table.slice(start, self._batch) for start in range(0, len(paths), self._batch)]
            rows = self._ray.data.from_arrow(blocks).map_batches(
                PhotographOperator,
                fn_constructor_args=(config,),
                fn_constructor_kwargs={"opencv_threads": self._threads},
                batch_size=self._batch,
                batch_format="pyarrow",
                compute=self._ray.data.ActorPoolStrategy(size=self._workers),
                num_cpus=self._threads,
            )
            for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
                if batch.num_rows:
                    yield batch
        except self._ray.exceptions.RayError as error:
            reason = _last_line(error).removeprefix(f"{ExtraError.__module__}.")  # a worker's error arrives as text
            raise ProviderError(
                f"A Ray worker failed: {reason}", hint="completed work is kept; run it again"
            ) from error
        finally:
            if begun:
                self._ray.shutdown()

    def _begin(self) -> None:
        for left in reversed(range(1 if self._address else self._starts)):
            try:
                self._connect()
            except Exception as error:
                self._ray.shutdown()
                self._end_processes(error)
                if not left:
                    raise ProviderError(
                        f"Cannot reach or start a Ray cluster: {_last_line(error).removesuffix('.')}.",
                        hint=_REACH if self._address else _BEGIN,
                        remedy="check-cluster" if self._address else "change-engine",
                    ) from error
            else:
                return

    def _connect(self) -> None:
        # One more than the actors hold, for Ray's own tasks; Ray counts processors without binding to them
        options = {} if self._address else {"num_cpus": self._workers * self._threads + 1}
        _require_answer(self._address)
        self._ray.init(
            address=self._address or "local",
            include_dashboard=None if self._address else False,
            log_to_driver=False,
            logging_level="ERROR",
            **options,
        )

    def _end_processes(self, error: Exception) -> None:
        """Stop the processes of a node that did not start. Ray loses track of them and leaves them running."""
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("self")
            if isinstance(node, self._ray._private.node.Node):  # noqa: SLF001 -- nothing public knows of it
                node.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)

    def _require_processors(self) -> None:
        have, need = int(self._ray.cluster_resources().get("CPU", 0)), self._workers * self._threads
        if have < need:
            raise ProviderError(
                f"Expected {need} processors for {self._workers} workers of {self._threads} threads; the cluster has "
                f"{have}.",
                hint="ask for fewer workers or fewer threads",
                remedy="reduce-workers",
            )


def _require_answer(address: str | None) -> None:
    """Connect to a cluster's address first, because Ray itself would wait for minutes."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "//" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_ANSWER_S).close()


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
