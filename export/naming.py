"""Names of the parameters of a network: from those of its publisher to those of this project.

The project's names are those of the official checkpoint: ``conv2_3.weight`` and ``conv2_3.bias`` for convolution 3 of
stage 2, ``relu2_3.w`` for the slopes after it, ``fc5.weight`` and ``fc5.bias`` for the embedding layer. Batch
normalization after a convolution is ``bn2_3`` with ``gamma``, ``beta``, ``mean`` and ``variance``; after the embedding
layer, ``bn5``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from edge_sphereface.storage.bounded_json import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from export.checkpoint import TensorInfo

NamingStyle: TypeAlias = Literal["numbered", "blocks", "layers"]
"""``numbered``: ``conv1_1.weight``, of MindSpore, Caffe and clcarwin. ``blocks``: ``layer1.1.block.0.0.weight``, of
uniface. ``layers``: ``layer1.1.conv1.weight``, of opensphere."""

MOMENTS = ("gamma", "beta", "mean", "variance")
"""Parameters of a batch normalization."""

_PREFIXES = ("module.", "network.", "backbone.")
_OPTIMIZER_PREFIXES = ("moments.", "moment1.", "moment2.", "accum.", "stat.")
_HEAD_PREFIXES = ("fc6.", "head.")
_NUMBERED = re.compile(r"(?:conv([0-9]{1,4}_[0-9]{1,4})\.(weight|bias)|relu([0-9]{1,4}_[0-9]{1,4})\.(?:w|weight))")
_BLOCKS = re.compile(r"layer([1-4])\.(?:0|([1-9][0-9]{0,3})\.block\.([01]))\.([012])\.(\w+)")
_LAYERS = re.compile(r"layer([1-4])\.([0-9]{1,4})\.(conv|bn)([12]?)\.(\w+)")
_MOMENT = {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}
_CONVOLUTION = ("weight", "bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names of a checkpoint, sorted.

    Attributes:
        style: style of the names.
        found: names in the checkpoint by name in the project; a name without a meaning there stands for itself.
        skipped: names in the checkpoint that belong to training: optimizer state, head, counters.
        problems: names that stand for the same parameter.
    """

    style: NamingStyle
    found: Mapping[str, str]
    skipped: tuple[str, ...]
    problems: tuple[str, ...]


def sort_names(entries: Mapping[str, TensorInfo]) -> Names:
    """Sort the names of a checkpoint."""
    style, bare = _style(entries), {name: _bare(name) for name in entries}
    translate = _translator(style, set(bare.values()))
    found: dict[str, str] = {}
    skipped, problems = [], []
    for name, info in entries.items():
        own = translate(bare[name])
        if own is None and _is_training(bare[name], info) is not None:
            skipped.append(name)
        elif (own or bare[name]) in found:
            both = f"{shown(found[own or bare[name]])} and as {shown(name)}"
            problems.append(f"{shown(own or bare[name])} occurs twice, as {both}")
        else:
            found[own or bare[name]] = name
    return Names(style=style, found=found, skipped=tuple(skipped), problems=tuple(problems))


def training_reasons(entries: Mapping[str, TensorInfo]) -> dict[str, str]:
    """Reason why each parameter that is not exported belongs to training."""
    return {name: _is_training(_bare(name), entries[name]) or "" for name in sort_names(entries).skipped}


def _is_training(bare: str, info: TensorInfo) -> str | None:
    if bare.startswith(_OPTIMIZER_PREFIXES):
        return "optimizer"
    if bare.startswith(_HEAD_PREFIXES):
        return "training head"
    return "training state" if info.shape in ((), (1,)) else None


def _bare(name: str) -> str:
    """Name without the prefixes of the modules around the network."""
    while name.startswith(_PREFIXES):
        name = name.partition(".")[2]
    return name


def _style(entries: Mapping[str, TensorInfo]) -> NamingStyle:
    """Style that most names have."""
    bare = [_bare(name) for name in entries]
    blocks = sum(_BLOCKS.fullmatch(name) is not None for name in bare)
    layers = sum(_LAYERS.fullmatch(name) is not None for name in bare)
    numbered = sum(_NUMBERED.fullmatch(name) is not None for name in bare)
    if numbered >= max(blocks, layers):
        return "numbered"
    return "blocks" if blocks >= layers else "layers"


def _translator(style: NamingStyle, present: set[str]) -> Callable[[str], str | None]:
    if style == "numbered":
        return _numbered
    if style == "layers":
        return _layers
    return lambda name: _blocks(name, present)


def _numbered(name: str) -> str | None:
    if name in ("fc5.weight", "fc5.bias"):
        return name
    found = _NUMBERED.fullmatch(name)
    if found is None:
        return None
    return f"conv{found[1]}.{found[2]}" if found[1] else f"relu{found[3]}.w"


def _blocks(name: str, present: set[str]) -> str | None:
    found = _BLOCKS.fullmatch(name)
    if found is None:
        return _embedding(name)
    stage, block, second, place, parameter = found.groups()
    layer = f"{stage}_{1 if block is None else 2 * int(block) + int(second)}"
    around = name.removesuffix(f"{place}.{parameter}")
    is_normalized = f"{around}1.running_mean" in present
    if place == "0":
        return f"conv{layer}.{parameter}" if parameter in _CONVOLUTION else None
    if place == "1" and is_normalized:
        return _moment(f"bn{layer}", parameter)
    slope_place = "2" if is_normalized else "1"
    return f"relu{layer}.w" if (place, parameter) == (slope_place, "weight") else None


def _layers(name: str) -> str | None:
    found = _LAYERS.fullmatch(name)
    if found is None:
        return _embedding(name)
    stage, block, kind, number, parameter = found.groups()
    if (block == "0" and number == "2") or (block != "0" and number == "") or (kind == "bn" and number == ""):
        return None
    layer = f"{stage}_{1 if block == '0' else 2 * int(block) + int(number) - 1}"
    if kind == "bn":
        return _moment(f"bn{layer}", parameter)
    return f"conv{layer}.{parameter}" if parameter in _CONVOLUTION else None


def _embedding(name: str) -> str | None:
    layer, _, parameter = name.partition(".")
    if layer == "features":
        return _moment("bn5", parameter)
    return f"fc5.{parameter}" if layer == "fc" and parameter in _CONVOLUTION else None


def _moment(layer: str, parameter: str) -> str | None:
    return f"{layer}.{_MOMENT[parameter]}" if parameter in _MOMENT else None
