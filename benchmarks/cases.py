"""Choose the cases of a latency measurement: which contender runs which form of a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import static_int8
from benchmarks.contenders import find_peer
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.runner import Case
from benchmarks.stages import form_of
from edge_sphereface.inference.session import AUTO_ORDER, CPU
from edge_sphereface.inference.telemetry import import_onnxruntime
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.model.spec import LAYOUT_NCHW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edge_sphereface.model.spec import ModelSpec

TAKES_FLOATS = "takes floats alone: convert the checkpoint with --input-layout nchw"
"""Refusal of a peer that does not run a model with layout ``image``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A quantized model that another tool made from the first model.

    Attributes:
        contender: name of the contender that runs it.
        model: path of the model.
        form: name of the form in tables.
        precision: its precision.
        refusal: reason why it could not be made; empty if it was.
    """

    contender: str
    model: Path
    form: str
    precision: str
    refusal: str = ""


def select_cases(
    specs: Mapping[Path, ModelSpec],
    *,
    peers: Sequence[str] = (),
    checkpoint: Path | None = None,
    rivals: Sequence[Rival] = (),
    threads: int,
    batch: int,
) -> list[Case]:
    """Return the cases of one number of threads and one batch size.

    This project's runtime runs every form that this project made, and on other execution providers those for GPUs.
    Other runtimes run the plain float model and, if they can, quantized models. A model of ``quantize_static`` is run
    by other runtimes alone.

    Args:
        specs: models with their specifications; the first one, a float32 file, is the reference for correctness.
        peers: other contenders; those of this project run every form with other settings.
        checkpoint: checkpoint for peers that require it.
        rivals: quantized models of other tools.
        threads: number of threads of one inference.
        batch: number of crops in one inference.
    """
    case = partial(Case, threads=threads, batch=batch)
    first = next(iter(specs))
    ours = [path for path, spec in specs.items() if path == first or spec.precision != static_int8.PRECISION]

    def own(contender: str, path: Path, label: str, provider: str = "cpu") -> Case:
        precision, graph = specs[path].precision, form_of(specs[path])
        return case(contender=contender, model=path, label=label, precision=precision, graph=graph, provider=provider)

    offered = [name for name in import_onnxruntime().get_available_providers() if name in AUTO_ORDER and name != CPU]
    cases = [own("edge", path, path.name if is_ncnn_file(path) else path.stem) for path in ours]
    cases += [
        own("edge", path, f"{path.stem} on {provider}", provider)
        for provider in offered
        for path in ours
        if path == first or specs[path].precision == "float16"
    ]
    for name in peers:
        peer = find_peer(name)
        if peer.is_ours:
            # ncnn has no such settings of a session
            cases += [own(name, path, f"{peer.title}: {path.stem}") for path in ours if not is_ncnn_file(path)]
        elif peer.needs_checkpoint and checkpoint is not None:
            cases.append(case(contender=name, model=checkpoint, label=peer.title, precision="float32"))
        elif not peer.needs_checkpoint:
            cases += [
                case(
                    contender=name,
                    model=path,
                    label=f"{peer.title}: {path.stem}",
                    precision=specs[path].precision,
                    refusal="" if peer.takes_crops or specs[path].input_layout == LAYOUT_NCHW else TAKES_FLOATS,
                )
                for path in _foreign(specs, takes_quantized=peer.takes_quantized)
            ]
    for rival in rivals:
        label = f"{find_peer(rival.contender).title}: {rival.form}"
        foreign = partial(case, contender=rival.contender, model=rival.model, label=label)
        cases.append(foreign(precision=rival.precision, refusal=rival.refusal))
    return cases


def _foreign(specs: Mapping[Path, ModelSpec], *, takes_quantized: bool) -> Iterator[Path]:
    """Yield the models that another runtime runs: the first one, and quantized ones if it can."""
    for number, (path, spec) in enumerate(specs.items()):
        if number == 0 or (takes_quantized and spec.precision != "float32" and not is_ncnn_file(path)):
            yield path


def make_rivals(model: Path, photographs: Path, folder: Path, peers: Sequence[str]) -> list[Rival]:
    """Quantize a plain float model with the tools of other runtimes: ``quantize_static`` of onnxruntime, and NNCF.

    Args:
        model: float ONNX file with layout ``nchw``.
        photographs: folder of photographs for the calibration.
        folder: folder of the files that are made.
        peers: contenders that run them: ``onnxruntime_plain`` and ``openvino``.

    Returns:
        One for each peer and tool; a tool that cannot be installed or fails is a refusal.

    Raises:
        ModelFormatError: the model has another layout.
    """
    from benchmarks.quantization import derived

    rivals: list[Rival] = []
    takers = [name for name in ("onnxruntime_plain", "openvino") if name in peers]
    if takers:
        static = folder / f"{model.stem}.static-int8.onnx"
        static_int8.quantize(model, static, photographs)
        rivals += [
            Rival(contender=name, model=static, form="quantize_static", precision=static_int8.PRECISION)
            for name in takers
        ]
    if "openvino" in peers:
        nncf, refusal = model, ""
        try:
            nncf = derived.by_nncf(model, folder, photographs)
        except PeerUnavailableError as error:
            refusal = str(error)
        rivals.append(Rival(contender="openvino", model=nncf, form="NNCF's INT8", precision="int8", refusal=refusal))
    return rivals
