"""What a contender is."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from edge_sphereface.types import Float32Array

_NO_CONTENDERS = ("contender",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """How a contender is set up.

    Attributes:
        name: of its module.
        title: for tables.
        requirements: packages of its own environment; none if it runs in the project's.
        without_dependencies: packages installed without what they ask for.
        settings: what was chosen for it, and why that is its best.
        dynamic_batch: whether one loaded network takes any batch size.
        needs_checkpoint: whether it runs the checkpoint instead of the ONNX file.
        takes_quantized: whether it runs QDQ files.
        takes_crops: whether it runs files of layout ``image``.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a contender is loaded for.

    Attributes:
        threads: of one inference.
        batch: crops in one inference.
        height: of a crop, in pixels.
        width: of a crop, in pixels.
        folder: for converted files, kept from run to run.
        provider: execution provider, for contenders on onnxruntime.
    """

    threads: int
    batch: int
    height: int
    width: int
    folder: Path
    provider: str = "cpu"


class Contender(Protocol):
    """A loaded network."""

    version: str

    def __init__(self, model: Path, setup: Setup) -> None: ...

    def prepare(self, crops: np.ndarray[Any, Any], batch: Float32Array) -> Any:
        """The input as this contender takes it; not timed.

        Args:
            crops: (N, H, W, 3) uint8 BGR.
            batch: the same as the original network takes them, (N, 3, H, W) float32.
        """
        ...

    def run(self, prepared: Any) -> Float32Array:
        """Embeddings (N, D), not normalized; this is timed."""
        ...


def peer_names() -> list[str]:
    """Every contender there is."""
    package = import_module("benchmarks.contenders")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name not in _NO_CONTENDERS)


def find_peer(name: str) -> Peer:
    """The description of a contender; loads none of its packages."""
    peer = import_module(f"benchmarks.contenders.{name}").PEER
    assert isinstance(peer, Peer)  # noqa: S101 -- a module of ours
    return peer


def converted(model: Path, folder: Path, suffix: str) -> Path:
    """Where a conversion of a model is kept: a name that another model does not have."""
    from edge_sphereface.storage.files import sha256_of

    return folder / f"{model.stem}-{sha256_of(model)[:16]}{suffix}"
