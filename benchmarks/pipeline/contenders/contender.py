"""Interface of a contender."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from benchmarks.contenders.contender import Peer
from benchmarks.contenders.contender import Setup as NetworkSetup
from benchmarks.worker import Message
from edge_sphereface.model.spec import ModelSpec  # noqa: TC001 -- read with the annotations of the record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.types import Float32Array

_PARTS = ("contender", "plain")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup(Message):
    """Setup of a contender, by absolute paths.

    Attributes:
        model: ONNX file of the embedding, for contenders that bring none.
        spec: specification of that model.
        detector: name of the detector, for contenders that have several.
        yunet: YuNet's ONNX file.
        threads: number of threads of one inference.
        folder: empty folder for a gallery.
    """

    model: str
    spec: ModelSpec
    detector: str
    yunet: str
    threads: int
    folder: str

    def of_network(self) -> NetworkSetup:
        """Setup of the network alone."""
        return NetworkSetup(
            threads=self.threads,
            batch=1,
            height=self.spec.input_height,
            width=self.spec.input_width,
            folder=Path(self.folder),
        )


class Faces(NamedTuple):
    """Result of the stages: the faces of a photograph.

    Attributes:
        areas: (N,) areas of the boxes in square pixels.
        embeddings: (N, D) float32; the contender compares them by their Euclidean distance, which for unit rows is the
            order of the cosine similarity.
    """

    areas: Float32Array
    embeddings: Float32Array


class Contender(Protocol):
    """A loaded way.

    Attributes:
        version: versions of its packages.
        stages: functions by name, in order. The first takes the path of a photograph (str), each other one what the
            one before it returned, and the last one returns :class:`Faces`.
    """

    version: str
    stages: Mapping[str, Callable[[Any], Any]]

    def __init__(self, setup: Setup) -> None: ...

    def enroll(self, name: str, embedding: Float32Array) -> None:
        """Enroll a person by one embedding (D,); not timed."""
        ...

    def search(self, embeddings: Float32Array) -> list[str]:
        """Return the most similar enrolled person of each embedding (N, D); this is the last stage."""
        ...


def peer_names() -> list[str]:
    """Return the names of the contenders that are not this project."""
    package = import_module("benchmarks.pipeline.contenders")
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _PARTS)
    return [name for name in names if not find_contender(name).is_ours]


def find_contender(name: str) -> Peer:
    """Return the description of a contender without loading its packages."""
    peer = import_module(f"benchmarks.pipeline.contenders.{name}").PEER
    assert isinstance(peer, Peer)  # noqa: S101 -- a module of ours
    return peer
