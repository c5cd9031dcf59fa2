"""A session for each shape of the input, for execution providers that plan their work for one shape.

CUDA's convolutions are planned again whenever the shape of an input differs from the last one. On an H200 that takes
0.3 s for SphereFace-20 and 0.7 s for the image pyramid of MTCNN (``benchmarks/results/cuda-h200``), a hundred times and
twenty times the inference. TensorRT builds an engine again, for minutes, when a batch is larger than all before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_MOST_SHAPES = 48
"""Sessions that are kept; the one that was used longest ago is given up first. The image pyramid of MTCNN has up to
ten shapes for each size of frame."""


class ShapeSessions:
    """Runs a model of one input in a session for each shape. It is used like the session itself.

    Batches are divided into parts of few sizes, so that any number of faces needs few sessions.

    Args:
        first: an open session, which takes the first shape.
        make: opens another one.
        sizes: sizes of the parts in descending order; the last is 1.
    """

    def __init__(self, first: Any, make: Callable[[], Any], sizes: Sequence[int]) -> None:
        self._first, self._make, self._sizes = first, make, sizes
        self._sessions: OrderedDict[tuple[int, ...], Any] = OrderedDict()
        self._lock, self._opening = threading.Lock(), threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Everything else that a session has, such as its inputs and providers."""
        if name.startswith("_"):  # not before __init__, as in a copy
            raise AttributeError(name)
        return getattr(self._first, name)

    def run(self, outputs: Sequence[str] | None, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[Any]:
        """Run the model, as ``InferenceSession.run``; its outputs have the batch in their first axis."""
        ((name, batch),) = feeds.items()
        parts = [self._session(part.shape).run(outputs, {name: part}) for part in self._parts(batch)]
        return parts[0] if len(parts) == 1 else [np.concatenate(output) for output in zip(*parts, strict=True)]

    def _parts(self, batch: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
        if not len(batch):
            yield batch
        start = 0
        for size in self._sizes:
            while len(batch) - start >= size:
                yield batch[start : start + size]
                start += size

    def _session(self, shape: tuple[int, ...]) -> Any:
        session = self._kept(shape)
        if session is not None:
            return session
        with self._opening:  # threads whose shape is known do not wait for it
            session = self._kept(shape)
            if session is None:
                session = self._make() if self._sessions else self._first
                with self._lock:
                    while len(self._sessions) >= _MOST_SHAPES:
                        self._sessions.popitem(last=False)
                    self._sessions[shape] = session
            return session

    def _kept(self, shape: tuple[int, ...]) -> Any:
        with self._lock:
            session = self._sessions.get(shape)
            if session is not None:
                self._sessions.move_to_end(shape)
            return session
