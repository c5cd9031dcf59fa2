"""A network in a file of weights, with everything that its conversion needs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_sphereface.model.origin import Origin
from export.checkpoint import open_checkpoint
from export.errors import TopologyError
from export.known_checkpoints import known_checkpoint
from export.naming import sort_names
from export.presets import NOTHING_TOLD, PRESETS, Preprocessing, Told
from export.topology import Structure, infer_topology

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from edge_sphereface.model.origin import Shortcut
    from edge_sphereface.model.spec import ModelSpec
    from export.checkpoint import Checkpoint
    from export.checkpoint.entry import FileFormat
    from export.known_checkpoints import KnownCheckpoint
    from export.naming import NamingStyle
    from export.presets import Preset, PresetName
    from export.topology import Topology


_NUMBERED: dict[FileFormat, PresetName] = {"PyTorch file": "clcarwin", "Caffe model": "caffe"}
"""Publishers that number their layers, by the format of their file."""

_FAMILIES: dict[NamingStyle, tuple[PresetName, ...]] = {
    "numbered": ("mindspore", "caffe", "clcarwin"),
    "blocks": ("uniface",),
    "layers": ("opensphere", "opensphere-deprecated"),
}
"""Publishers that use each style of names."""
_OPENSPHERE: dict[Shortcut, PresetName] = {
    "before_activation": "opensphere",
    "after_activation": "opensphere-deprecated",
}
"""Publishers whose parameters have the same names, by what distinguishes them."""
_TOLD = {
    "color_order": "color order",
    "pixel_mean": "pixel mean",
    "pixel_scale": "pixel scale",
    "alignment_fit": "kind of fit",
}
"""Words for the fields of :class:`~export.presets.Preprocessing`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceNetwork:
    """A network as its file holds it.

    Attributes:
        checkpoint: the open file, whose parameters are read on request.
        topology: topology of the network, with the crop's size and the names of the parameters.
        preset: publisher of the network; None if the user told its conventions one by one.
        preprocessing: how the crops of its training were made.
        known: published file with this SHA-256; None if it is unknown.
    """

    checkpoint: Checkpoint
    topology: Topology
    preset: Preset | None
    preprocessing: Preprocessing
    known: KnownCheckpoint | None

    @property
    def origin(self) -> Origin:
        """What the conversion had to know, and what it folds into the weights."""
        return Origin(
            preset=None if self.preset is None else self.preset.name,
            color_order=self.preprocessing.color_order,
            shortcut=self.topology.shortcut,
            is_normalized=self.topology.is_normalized,
        )

    @property
    def recorded_origin(self) -> Origin | None:
        """The origin that a model records; None if the file by itself tells that it is as the original."""
        tells = self.origin.is_original and likely_preset(self.checkpoint) == "mindspore"
        return None if tells else self.origin


@contextmanager
def open_network(path: str | os.PathLike[str], told: Told = NOTHING_TOLD) -> Iterator[SourceNetwork]:
    """Open a file of weights and recognize its network.

    Args:
        path: path of the file.
        told: what the user tells of the network.

    Raises:
        CheckpointError: the file cannot be read.
        TopologyError: it holds a different network, or does not tell which conventions it follows.
    """
    with open_checkpoint(path) as checkpoint:
        yield recognize(checkpoint, told)


def recognize(checkpoint: Checkpoint, told: Told = NOTHING_TOLD) -> SourceNetwork:
    """Recognize the network of an open file; see :func:`open_network`.

    Raises:
        TopologyError: it holds a different network, or does not tell which conventions it follows.
    """
    known = known_checkpoint(checkpoint.sha256)
    name = told.preset or (known.preset if known is not None else likely_preset(checkpoint))
    if name is None and checkpoint.structure is None and told.shortcut is not None:
        name = _OPENSPHERE[told.shortcut]
    preset = None if name is None else PRESETS[name]
    shortcut = told.shortcut or (None if preset is None else preset.shortcut)
    if told.input_size is not None and checkpoint.input_size not in (None, told.input_size):
        raise _other_size(checkpoint.input_size, told.input_size)
    topology = infer_topology(
        checkpoint.entries,
        input_size=told.input_size or checkpoint.input_size,
        structure=checkpoint.structure or (Structure() if shortcut is None else Structure(shortcut=shortcut)),
    )
    if told.shortcut not in (None, topology.shortcut):
        raise TopologyError(
            f"The graph {checkpoint.path.name} adds the identity {topology.shortcut.replace('_', ' the ')}.",
            hint="leave out --shortcut, which is for files that do not tell it",
        )
    if preset is None and checkpoint.structure is None:
        raise _lacks_shortcut(checkpoint, topology)
    _require_agreement(checkpoint, known, told)
    return SourceNetwork(
        checkpoint=checkpoint,
        topology=topology,
        preset=preset,
        preprocessing=_preprocessing(checkpoint, topology, preset, told),
        known=known,
    )


def told_by(spec: ModelSpec, told: Told) -> Told:
    """Complete what a user tells by what a model says of the network that it was made from.

    A model made before its origin was recorded says neither the color order nor the place of the additions.

    Args:
        spec: specification of the model.
        told: what the user tells, which counts first.
    """
    size, origin = (spec.input_height, spec.input_width), spec.origin
    if told.preset is not None:
        return replace(told, input_size=size)
    return Told(
        input_size=size,
        color_order=told.color_order or (None if origin is None else origin.color_order),
        pixel_mean=spec.pixel_mean if told.pixel_mean is None else told.pixel_mean,
        pixel_scale=spec.pixel_scale if told.pixel_scale is None else told.pixel_scale,
        alignment_fit=told.alignment_fit or spec.alignment_fit,
        shortcut=told.shortcut or (None if origin is None else origin.shortcut),
    )


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


def _require_agreement(checkpoint: Checkpoint, known: KnownCheckpoint | None, told: Told) -> None:
    """Refuse the preset of a publisher whose weights these are not: graph and reference share it, so no proof tells."""
    fitting: tuple[PresetName, ...] = ()
    if known is not None:
        fitting = (known.preset,)
    elif checkpoint.format != "ONNX graph":  # whose names tell nothing
        fitting = _FAMILIES[sort_names(checkpoint.entries).style]
    if told.preset is not None and fitting and told.preset not in fitting:
        raise TopologyError(
            f"{checkpoint.path.name} holds weights of {' or '.join(PRESETS[name].title for name in fitting)}, not of "
            f"{PRESETS[told.preset].title}.",
            hint=f"leave out --preset, or set {' or '.join(f'--preset {name}' for name in fitting)}; for weights of "
            "your own under these names, set --color-order, --pixel-mean, --pixel-scale, --alignment-fit, --shortcut",
        )


def _preprocessing(checkpoint: Checkpoint, topology: Topology, preset: Preset | None, told: Told) -> Preprocessing:
    """How crops are made, as the user tells it or else the publisher."""
    values: dict[str, Any] = {name: getattr(told, name) for name in _TOLD}
    if preset is not None:
        usual = preset.preprocessing
        values = {name: getattr(usual, name) if value is None else value for name, value in values.items()}
    lacking = [name for name, value in values.items() if value is None]
    if lacking:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in lacking)
        raise TopologyError(
            f"{checkpoint.path.name} is a graph of {topology.name} for crops of {topology.input_height} x "
            f"{topology.input_width}, and a graph does not tell their {', '.join(_TOLD[name] for name in lacking)}.",
            hint=f"name its publisher: --preset {' | '.join(PRESETS)}; for files of uniface, --preset uniface; or set "
            f"{options}",
        )
    return Preprocessing(**values)


def _lacks_shortcut(checkpoint: Checkpoint, topology: Topology) -> TopologyError:
    return TopologyError(
        f"{checkpoint.path.name} is a {topology.name} of ydwen/opensphere, and its parameters do not tell whether "
        "the identity is added before or after the activation.",
        hint="see the network's type in its config.yml: for sfnet20, set --preset opensphere; for "
        "sfnet20_deprecated, set --preset opensphere-deprecated; for your own, --shortcut before-activation | "
        "after-activation",
    )


def _other_size(declared: tuple[int, int] | None, told: tuple[int, int]) -> TopologyError:
    height, width = declared or (0, 0)
    return TopologyError(
        f"The graph takes crops of {height} x {width}, not {told[0]} x {told[1]}.",
        hint="leave the size of the crops to the graph",
    )
