"""Embeds aligned crops."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_sphereface.compare import normalize
from edge_sphereface.errors import CropError, ProviderError
from edge_sphereface.inference.backend import open_backend
from edge_sphereface.inference.session import CPU, session_config
from edge_sphereface.model.fingerprint import Fingerprint
from edge_sphereface.model.quantization import ProcessorWarning, mismatch_here, provider_mismatch
from edge_sphereface.model.spec import LAYOUT_IMAGE

if TYPE_CHECKING:
    import os

    from edge_sphereface.inference.session import ProviderReport, SessionConfig
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A loaded model, the execution provider that runs it, and the options of its session.

    Attributes:
        model: path of the model file.
        bytes: size of the file.
        spec: specification of the model.
        provider: what the model runs on.
        memory_arena: whether the session keeps freed memory for the next inference.
        spinning: whether idle threads spin until the next inference.
        pinned_threads: whether each helper thread is bound to a processor of its own.
        flip: whether the embeddings of each crop and its mirror image are averaged.
        batch_size: number of crops per inference.
    """

    model: Path
    bytes: int
    spec: ModelSpec
    provider: ProviderReport
    memory_arena: bool
    spinning: bool
    pinned_threads: bool
    flip: bool
    batch_size: int


class CropEmbedder(Protocol):
    """What a stream and a gallery need of a model: :class:`Embedder`, or one that several cameras share."""

    @property
    def spec(self) -> ModelSpec:
        """Specification of the model."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of the model's embeddings."""
        ...

    def embed(self, crops: UInt8Array) -> Float32Array:
        """Embed aligned crops; see :meth:`Embedder.embed`."""
        ...


class Embedder:
    """A face embedding model on onnxruntime, or on ncnn. Safe to use from several threads.

    Args:
        model: path of an ONNX file made by ``python -m export convert``, or of a file ``.ncnn`` made from one by
            ``python -m export ncnn``, which the extra ``ncnn`` runs.
        provider: ``auto``, or the name of an execution provider (``cpu``, ``cuda``, ``CUDAExecutionProvider``, …); None
            for the one in ``session``, which defaults to ``auto``.
        threads: threads of one inference; None for the number in ``session``, which defaults to as many as this
            process may use.
        flip: average the embeddings of each crop and its mirror image: slightly more accurate, twice the work.
        batch_size: crops per inference, which bounds the memory of large batches.
        session: options of the onnxruntime session, including provider and threads. ncnn takes the threads alone.

    Warns:
        ProcessorWarning: the model was quantized for another kind of processor, or for another provider.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelFormatError: the file is not a model, or has no ``ModelSpec`` that this version reads.
        ProviderError: the execution provider is absent, or does not run the model.
        ExtraError: the model is for ncnn, which is not installed.
        ValueError: ``provider`` or ``threads`` contradicts ``session``.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        provider: str | None = None,
        threads: int | None = None,
        flip: bool = False,
        batch_size: int = 16,
        session: SessionConfig | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"Expected a batch size of at least 1, got {batch_size}.")
        self.path = Path(model)
        self.flip = flip
        self.batch_size = batch_size
        self.config = session_config(session, provider=provider, threads=threads)
        self._backend = open_backend(self.path, self.config)
        self.spec: ModelSpec = self._backend.spec
        self.provider = self._backend.provider
        if self.spec.quantization is not None:
            target, active = self.spec.quantization.target, self.provider.active[0]
            reason = mismatch_here(target) if active == CPU else provider_mismatch(target, active)
            if reason:
                warnings.warn(reason, ProcessorWarning, stacklevel=2)

    def __repr__(self) -> str:
        provider, size = self.provider.active[0], self.spec.embedding_size
        return (
            f"<Embedder {self.path.name}: {self.spec.architecture}, {self.spec.precision}, {size} values, {provider}>"
        )

    def embed(self, crops: UInt8Array) -> Float32Array:
        """Embed aligned crops.

        Args:
            crops: (N, H, W, 3) uint8 BGR from ``align_for``; N may be 0.

        Returns:
            (N, D) float32 unit rows.

        Raises:
            CropError: the crops have another shape or type.
            EmbeddingError: the model computed NaN or a zero vector.
        """
        features = self.forward(crops)
        if self.flip:
            features += self.forward(crops[:, :, ::-1])
        return normalize(features)

    def forward(self, crops: UInt8Array) -> Float32Array:
        """Compute the raw output of the network, not normalized, on which parity is measured.

        Args:
            crops: (N, H, W, 3) uint8 BGR.

        Returns:
            (N, D) float32.

        Raises:
            CropError: the crops have another shape or type.
            ProviderError: the execution provider failed during inference.
        """
        _check_crops(crops, self.spec)
        output = np.empty((len(crops), self.spec.embedding_size), dtype=np.float32)
        for start in range(0, len(crops), self.batch_size):
            batch = crops[start : start + self.batch_size]
            output[start : start + self.batch_size] = self._run(preprocess(batch, self.spec))
        return output

    @property
    def fingerprint(self) -> Fingerprint:
        """Fingerprint of this model's embeddings."""
        return Fingerprint.of(self.spec, flip=self.flip)

    def info(self) -> ModelInfo:
        """Model, provider that really runs it, and options."""
        return ModelInfo(
            model=self.path,
            bytes=self.path.stat().st_size,
            spec=self.spec,
            provider=self.provider,
            memory_arena=self.config.memory_arena,
            spinning=self.config.spinning,
            pinned_threads=self.config.pinned_threads,
            flip=self.flip,
            batch_size=self.batch_size,
        )

    def _run(self, batch: np.ndarray[Any, Any]) -> Float32Array:
        try:
            return self._backend.run(batch)
        except ProviderError:
            raise
        except Exception as error:
            # The exceptions of onnxruntime and ncnn share no base class of their own.
            raise ProviderError(
                f"{self.provider.active[0]} failed on a batch of {len(batch)}: {error}",
                hint="a smaller batch_size needs less memory; provider 'cpu' is the reference",
            ) from error


def preprocess(crops: UInt8Array, spec: ModelSpec) -> np.ndarray[Any, Any]:
    """Convert crops to the model's input.

    Args:
        crops: (N, H, W, 3) uint8 BGR.
        spec: specification of the model.

    Returns:
        For layout ``image``, the crops as a contiguous array. For ``nchw``, (N, 3, H, W) float32 with values
        (pixel - ``pixel_mean``) * ``pixel_scale``.
    """
    if spec.input_layout == LAYOUT_IMAGE:
        return np.ascontiguousarray(crops)
    planes = crops.transpose(0, 3, 1, 2)
    batch = np.empty(planes.shape, dtype=np.float32)
    np.subtract(planes, np.float32(spec.pixel_mean), out=batch)
    batch *= np.float32(spec.pixel_scale)
    return batch


def _check_crops(crops: object, spec: ModelSpec) -> None:
    height, width, _ = spec.crop_shape
    expected = f"Expected crops of shape (N, {height}, {width}, 3) uint8 BGR"
    if not isinstance(crops, np.ndarray):
        raise CropError(f"{expected}, got {type(crops).__name__}.", hint="make them with edge_sphereface.align")
    got = f"{expected}, got {crops.shape} {crops.dtype}."
    if crops.dtype != np.uint8:
        raise CropError(got, hint="pass pixels from 0 to 255; the model normalizes them")
    if crops.shape == spec.crop_shape:
        raise CropError(got, hint="for a single crop give crop[None]")
    if crops.ndim == 4 and crops.shape[1:] == (width, height, 3) and width != height:
        raise CropError(got, hint="height and width are swapped: a crop is taller than wide")
    if crops.ndim != 4 or crops.shape[1:] != spec.crop_shape:
        raise CropError(got, hint="align faces to the model's own template and size; do not resize or pad crops")
