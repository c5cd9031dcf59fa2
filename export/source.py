"""A network in a file of weights, with everything that its conversion needs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from export.checkpoint import open_checkpoint
from export.errors import TopologyError
from export.known_checkpoints import known_checkpoint
from export.naming import sort_names
from export.presets import PRESETS
from export.topology import Structure, infer_topology

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from export.checkpoint import Checkpoint
    from export.checkpoint.entry import FileFormat
    from export.known_checkpoints import KnownCheckpoint
    from export.presets import Preset, PresetName
    from export.topology import Topology


_NUMBERED: dict[FileFormat, PresetName] = {"PyTorch file": "clcarwin", "Caffe model": "caffe"}
"""Publishers that number their layers, by the format of their file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNetwork:
    """A network as its file holds it.

    Attributes:
        checkpoint: the open file, whose parameters are read on request.
        topology: topology of the network, with the crop's size and the names of the parameters.
        preset: conventions of its publisher: color order, mean, scale and kind of fit of its crops.
        known: published file with this SHA-256; None if it is unknown.
    """

    checkpoint: Checkpoint
    topology: Topology
    preset: Preset
    known: KnownCheckpoint | None


@contextmanager
def open_network(
    path: str | os.PathLike[str],
    *,
    preset: PresetName | None = None,
    input_size: tuple[int, int] | None = None,
) -> Iterator[SourceNetwork]:
    """Open a file of weights and recognize its network.

    Args:
        path: path of the file.
        preset: conventions of the publisher; None to recognize them.
        input_size: height and width of the crop in pixels; None to infer it, see
            :func:`export.topology.infer_topology`.

    Raises:
        CheckpointError: the file cannot be read.
        TopologyError: it holds a different network, or does not tell which conventions it follows.
    """
    with open_checkpoint(path) as checkpoint:
        yield recognize(checkpoint, preset=preset, input_size=input_size)


def recognize(
    checkpoint: Checkpoint, *, preset: PresetName | None = None, input_size: tuple[int, int] | None = None
) -> SourceNetwork:
    """Recognize the network of an open file; see :func:`open_network`.

    Raises:
        TopologyError: it holds a different network, or does not tell which conventions it follows.
    """
    known = known_checkpoint(checkpoint.sha256)
    chosen = preset or (known.preset if known is not None else likely_preset(checkpoint))
    told = Structure(shortcut=PRESETS[chosen].shortcut) if chosen is not None else Structure()
    topology = infer_topology(
        checkpoint.entries, input_size=input_size or checkpoint.input_size, structure=checkpoint.structure or told
    )
    if chosen is None:
        raise _ambiguous(checkpoint, topology)
    return SourceNetwork(checkpoint=checkpoint, topology=topology, preset=PRESETS[chosen], known=known)


def likely_preset(checkpoint: Checkpoint) -> PresetName | None:
    """Preset that the names of the parameters tell; None if several fit."""
    names = sort_names(checkpoint.entries)
    if checkpoint.format == "ONNX graph":
        return None
    if names.style == "blocks":
        return "uniface"
    if names.style == "numbered":
        return _NUMBERED.get(checkpoint.format, "mindspore")
    if any(name.startswith("bn") for name in names.found):
        return "opensphere"
    is_later_version = names.found.get("conv1_1.weight", "").endswith("layer1.0.conv.weight")
    return "opensphere-deprecated" if is_later_version else None


def _ambiguous(checkpoint: Checkpoint, topology: Topology) -> TopologyError:
    if checkpoint.format == "ONNX graph":
        return TopologyError(
            f"{checkpoint.path.name} is a graph of {topology.name} for crops of {topology.input_height} x "
            f"{topology.input_width}, and a graph does not tell their color order, scale and kind of fit.",
            hint=f"name its publisher: --preset {' | '.join(PRESETS)}; for files of uniface, --preset uniface",
        )
    return TopologyError(
        f"{checkpoint.path.name} is a {topology.name} of ydwen/opensphere, and its parameters do not tell whether "
        "the identity is added before or after the activation.",
        hint="see the network's type in its config.yml: for sfnet20, set --preset opensphere; for "
        "sfnet20_deprecated, set --preset opensphere-deprecated",
    )
