"""One detector and one model for several cameras: turns, and common batches of faces."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.cameras.fair_queue import FairQueue, Share
from edge_sphereface.detection.detector import TwoStepDetector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.inference.embedder import CropEmbedder
    from edge_sphereface.model.fingerprint import Fingerprint
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Face, Float32Array, UInt8Array

_BATCH = 16
"""Maximum number of faces in a common batch; a single camera's request may be larger."""


class _Request:
    """A camera that waits for its turn.

    Args:
        share: of the camera.
        crops: faces to embed, which may join the batch of another camera; None for a detection.
    """

    def __init__(self, share: CameraShare, crops: UInt8Array | None) -> None:
        self.share, self.crops = share, crops
        self.rows: Float32Array | None = None
        self.error: Exception | None = None
        self.cost_s = 0.0
        self.is_done = False
        self._granted = threading.Lock()
        self._granted.acquire()

    def grant(self) -> None:
        """Wake the thread of the camera."""
        self._granted.release()

    def wait(self) -> None:
        """Wait until it is granted."""
        self._granted.acquire()

    def embed(self, embedder: CropEmbedder, crops: UInt8Array) -> None:
        """Embed these faces alone."""
        try:
            self.rows = embedder.embed(crops)
        except Exception as error:  # noqa: BLE001 -- it belongs to the camera's thread
            self.error = error


class CameraShare(Share[_Request]):
    """The share of one camera, with a clock for its work.

    Args:
        name: of the camera.
        clock: gives seconds.
    """

    def __init__(self, name: str, clock: Callable[[], float]) -> None:
        super().__init__(name)
        self._clock = clock

    def work_clock(self) -> float:
        """Seconds that stand still while the camera waits for its turn. For the camera's thread."""
        return self._clock() - self.waited_s


class SharedInference:
    """Gives one detector and one model to several cameras, one request at a time.

    Each inference uses every thread of its session, so two at once would only slow each other down. The camera that
    was served least is next. Faces of all cameras that wait when the model becomes free are embedded in one batch.
    Nothing waits for a batch to fill: a free detector or model serves a request at once.

    Args:
        detector: finds faces.
        embedder: the model; None to track faces without recognizing them.
        batch_size: maximum number of faces in a common batch.
        clock: gives seconds.
    """

    def __init__(
        self,
        detector: Detector,
        embedder: CropEmbedder | None,
        *,
        batch_size: int = _BATCH,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._detector, self._embedder = detector, embedder
        self._batch_size, self._clock = batch_size, clock
        self._lock = threading.Lock()
        self._queue: FairQueue[_Request] = FairQueue()
        self._busy_since: float | None = None
        self.batches = self.batched_faces = 0

    @property
    def busy_s(self) -> float:
        """Seconds for which the request in service has been running; 0 without one."""
        since = self._busy_since
        return 0.0 if since is None else self._clock() - since

    def join(self, name: str) -> CameraShare:
        """The share of a new camera."""
        share = CameraShare(name, self._clock)
        with self._lock:
            self._queue.join(share)
        return share

    def leave(self, share: CameraShare) -> None:
        """Remove a camera that asks for nothing any more."""
        with self._lock:
            self._queue.leave(share)

    def detector(self, share: CameraShare) -> SharedDetector:
        """The detector, for one camera."""
        detector = self._detector
        if isinstance(detector, TwoStepDetector):
            return SharedTwoStepDetector(detector, self, share)
        return SharedDetector(detector, self, share)

    def embedder(self, share: CameraShare) -> BatchingEmbedder | None:
        """The model, for one camera; None without one."""
        return None if self._embedder is None else BatchingEmbedder(self._embedder, self, share)

    # ---- turns ------------------------------------------------------------------------------------------------

    def begin(self, share: CameraShare) -> None:
        """Wait for the turn of a camera; :meth:`end` ends it."""
        began = self._clock()
        self._enter(_Request(share, None))
        share.waited_s += self._clock() - began

    def end(self, share: CameraShare) -> None:
        """End the turn of a camera."""
        with self._lock:
            self._queue.charge(share, self.busy_s)
            self._pass_on()

    def embed(self, share: CameraShare, crops: UInt8Array) -> Float32Array:
        """Embed faces of a camera, in one batch with those of other cameras that wait.

        Args:
            share: of the camera.
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            (N, D) float32 unit rows.

        Raises:
            EmbeddingError: the model computed NaN or a zero vector for one of these faces.
            ProviderError: the model failed.
        """
        began = self._clock()
        request = _Request(share, crops)
        self._enter(request)
        if not request.is_done:  # otherwise another camera's thread has embedded it
            self._run(request, crops)
        share.waited_s += self._clock() - began - request.cost_s
        if request.error is not None:
            raise request.error
        assert request.rows is not None  # noqa: S101 -- a request without an error has its rows
        return request.rows

    def _enter(self, request: _Request) -> None:
        """Wait until nothing else is in service, or the request was done in the batch of another camera."""
        with self._lock:
            if self._busy_since is None:
                self._queue.begin(request.share)
                self._queue.serve(request.share)
                self._busy_since = self._clock()
                return
            self._queue.put(request.share, request)
        request.wait()

    def _pass_on(self) -> None:
        """Let the next request be served; the lock is held."""
        following = self._queue.take()
        self._busy_since = None if following is None else self._clock()
        if following is not None:
            following.grant()

    def _run(self, leader: _Request, crops: UInt8Array) -> None:
        assert self._embedder is not None  # noqa: S101 -- a camera has no embedder without it
        batch = [(leader, crops)]
        with self._lock:
            self._fill(batch)
        try:
            try:
                self._embed_together(self._embedder, batch)
            except Exception:  # noqa: BLE001 -- of which camera is found out by embedding each alone
                for request, alone in batch:
                    request.embed(self._embedder, alone)
        finally:
            with self._lock:
                face_s = self.busy_s / max(sum(len(part) for _, part in batch), 1)
                for request, part in batch:
                    request.cost_s = face_s * len(part)
                    self._queue.charge(request.share, request.cost_s)
                self._pass_on()
            for request, _ in batch[1:]:
                request.is_done = True
                request.grant()

    def _fill(self, batch: list[tuple[_Request, UInt8Array]]) -> None:
        """Add the faces of other cameras that wait; the lock is held."""

        def fits(request: _Request) -> bool:
            return 0 < _faces(request) <= self._batch_size - sum(len(part) for _, part in batch)

        while (other := self._queue.take(fits)) is not None:
            assert other.crops is not None  # noqa: S101 -- it has faces
            batch.append((other, other.crops))

    def _embed_together(self, embedder: CropEmbedder, batch: list[tuple[_Request, UInt8Array]]) -> None:
        parts = [part for _, part in batch]
        rows = embedder.embed(parts[0] if len(parts) == 1 else np.concatenate(parts))
        self.batches += 1
        self.batched_faces += len(rows)
        begin = 0
        for request, part in batch:
            request.rows = rows[begin : begin + len(part)]
            begin += len(part)


class SharedDetector:
    """A detector that several cameras share, for one of them.

    Attributes:
        name: of the detector.
        max_side: longer side of the largest image that it does not shrink, in pixels.

    Args:
        detector: finds faces.
        inference: gives the turns.
        share: of the camera.
    """

    def __init__(self, detector: Detector, inference: SharedInference, share: CameraShare) -> None:
        self.name = detector.name
        self.max_side = getattr(detector, "max_side", sys.maxsize)
        self._shared, self._inference, self._share = detector, inference, share

    def detect(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image in the camera's turn; see :meth:`Detector.detect`."""
        self._inference.begin(self._share)
        try:
            return self._shared.detect(image)
        finally:
            self._inference.end(self._share)


class SharedTwoStepDetector(SharedDetector):
    """The same for a detector that refines landmarks in a second step."""

    def __init__(self, detector: TwoStepDetector, inference: SharedInference, share: CameraShare) -> None:
        super().__init__(detector, inference, share)
        self._steps = detector
        self.refine = getattr(detector, "refine", True)

    def find(self, image: UInt8Array) -> list[Face]:
        """Detect every face of an image, with coarse landmarks; see :meth:`TwoStepDetector.find`."""
        self._inference.begin(self._share)
        try:
            return self._steps.find(image)
        finally:
            self._inference.end(self._share)

    def improve(self, image: UInt8Array, faces: Sequence[Face]) -> list[Face]:
        """Return the same faces with refined landmarks; see :meth:`TwoStepDetector.improve`."""
        self._inference.begin(self._share)
        try:
            return self._steps.improve(image, faces)
        finally:
            self._inference.end(self._share)


class BatchingEmbedder:
    """A model that several cameras share, for one of them.

    Args:
        embedder: the model.
        inference: gives the turns, and forms the batches.
        share: of the camera.
    """

    def __init__(self, embedder: CropEmbedder, inference: SharedInference, share: CameraShare) -> None:
        self._embedder, self._inference, self._share = embedder, inference, share

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        return self._embedder.spec

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the model's embeddings."""
        return self._embedder.fingerprint

    def embed(self, crops: UInt8Array) -> Float32Array:
        """Embed aligned crops; see :meth:`SharedInference.embed`."""
        return self._inference.embed(self._share, crops)


def _faces(request: _Request) -> int:
    return 0 if request.crops is None else len(request.crops)
