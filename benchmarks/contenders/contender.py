"""Interface and description of a contender."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from edge_sphereface.types import Float32Array

_NO_CONTENDERS = ("contender",)

Precision: TypeAlias = Literal["float32", "float16"]
"""Precision in which a contender stores and computes a float model."""
FLOAT32: Final = "float32"
FLOAT16: Final = "float16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Description of a contender.

    Attributes:
        name: name of its module.
        title: name in tables.
        requirements: packages of its own environment; empty if it runs in the project's environment.
        without_dependencies: packages that are installed without their dependencies.
        settings: chosen settings, and the reason for them.
        dynamic_batch: whether one loaded network accepts any batch size.
        needs_checkpoint: whether it runs the checkpoint instead of the ONNX file.
        takes_quantized: whether it runs QDQ files.
        takes_crops: whether it runs files with layout ``image``.
        is_ours: whether it is this project's runtime, which runs every form of a model.
        has_half: whether it computes a float32 model in half precision where the processor can.
    """

    name: str
    title: str
    requirements: tuple[str, ...] = ()
    without_dependencies: tuple[str, ...] = ()
    settings: str
    dynamic_batch: bool = True
    needs_checkpoint: bool = False
    takes_quantized: bool = False
    takes_crops: bool = False
    is_ours: bool = False
    has_half: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Setup of a contender.

    Attributes:
        threads: number of threads of one inference.
        batch: number of crops in one inference.
        height: height of a crop in pixels.
        width: width of a crop in pixels.
        folder: folder for converted files, which later runs reuse.
        provider: execution provider, for contenders that use onnxruntime.
        precision: precision of a float model, for contenders with ``has_half``.
    """

    threads: int
    batch: int
    height: int
    width: int
    folder: Path
    provider: str = "cpu"
    precision: Precision = FLOAT32


class Contender(Protocol):
    """A network loaded by a runtime."""

    version: str

    def __init__(self, model: Path, setup: Setup) -> None: ...

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:
        """Convert the input to the format of this contender; not timed.

        Args:
            crops: (N, H, W, 3) uint8 BGR.
            batch: the same crops as input of the original network, (N, 3, H, W) float32, normalized.
        """
        ...

    def run(self, prepared: Any) -> Float32Array:
        """Compute embeddings (N, D) float32, not normalized; this is timed."""
        ...


def peer_names() -> list[str]:
    """Return the names of all contenders."""
    package = import_module("benchmarks.contenders")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in _NO_CONTENDERS)


def find_peer(name: str) -> Peer:
    """Return the description of a contender without loading its packages."""
    peer = import_module(f"benchmarks.contenders.{name}").PEER
    assert isinstance(peer, Peer)  # noqa: S101 -- a module of ours
    return peer


def converted(model: Path, folder: Path, suffix: str) -> Path:
    """Path of a converted model, which is unique for each model."""
    from edge_sphereface.storage.files import sha256_of

    return folder / f"{model.stem}-{sha256_of(model)[:16]}{suffix}"
