"""Expected outputs of a kit, by the checkpoint where it is at hand, else by onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.kit.manifest import KitReference
from export import official
from export.checkpoint import open_checkpoint
from export.errors import ParityError
from export.parity import normalize_plainly
from export.presets import NOTHING_TOLD
from export.pretrained import PRETRAINED, PRETRAINED_SHA256
from export.reference import open_reference
from export.source import recognize, told_by

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.inference.embedder import Embedder
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array, UInt8Array


def expected_outputs(
    model: Path, embedder: Embedder, crops: UInt8Array, checkpoint: Path | None, note: Callable[[str], None]
) -> tuple[KitReference, Float32Array]:
    """Compute the raw outputs of crops by an implementation that shares no code with the graph.

    Args:
        model: path of the float model.
        embedder: the same on onnxruntime.
        crops: (N, H, W, 3) uint8 BGR.
        checkpoint: weights that the model was made from; None to look for the file that the project knows.
        note: called with a description of each step.

    Returns:
        The implementation, and (N, D) float32.

    Raises:
        ParityError: the checkpoint is not the one that the model was made from.
    """
    spec = embedder.spec
    source = checkpoint or known_file(spec)
    if source is None:
        note(f"the checkpoint of {model.name} is not at hand: onnxruntime on this CPU computes the expected outputs")
        library, version = embedder.provider.library
        return KitReference(name=library, version=version, source="onnx"), embedder.forward(crops)
    with open_checkpoint(source) as weights:
        if weights.sha256 != spec.source_sha256:
            raise ParityError(
                f"{model} was made from {spec.source_file} (SHA-256 {spec.source_sha256}), but {source} has SHA-256 "
                f"{weights.sha256}.",
                hint="use the checkpoint that it was made from",
            )
        network = recognize(weights, told_by(spec, NOTHING_TOLD))
        reference = open_reference("numpy", weights, network.topology)
        note(f"{reference.name} computes the expected outputs from {source.name}")
        step = -1 if network.origin.color_order == "RGB" else 1
        rows = [reference.forward(normalize_plainly(crop[None, ..., ::step], spec))[0] for crop in crops]
        return KitReference(name=reference.name, version=reference.version, source="checkpoint"), np.stack(rows)


def known_file(spec: ModelSpec) -> Path | None:
    """The checkpoint of a model, if it is the project's own, or the official one in the cache."""
    if spec.source_sha256 == PRETRAINED_SHA256:
        return PRETRAINED
    if spec.source_sha256 == official.OFFICIAL.sha256 and official.OFFICIAL.matches(official.official_path()):
        return official.official_path()
    return None
