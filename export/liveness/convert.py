"""Convert a file of MiniFASNet's weights to ONNX and prove that both compute the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edge_sphereface import __version__
from edge_sphereface.inference.session import MemoryModel, SessionConfig, open_session
from edge_sphereface.json_output import INLINE
from edge_sphereface.liveness.crop import crop_around
from edge_sphereface.liveness.spec import LivenessSpec
from edge_sphereface.metrics import Agreement, agreement
from edge_sphereface.model.certificate import CONVERSION_BOUNDS, Bounds
from edge_sphereface.storage.files import SHARED, atomic_write
from export.checkpoint import open_checkpoint
from export.errors import ParityError, TopologyError
from export.faces import astronaut
from export.liveness.graph import INPUT_NAME, LOGITS_NAME, build_graph
from export.liveness.network import read_network
from export.liveness.published import LIVE_CLASS, published_network
from export.liveness.reference import NumpyReference
from export.outputs import check_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_sphereface.types import UInt8Array

_BATCHES = (1, 7)
_SEED = 24
_FACE = (180.0, 70.0, 270.0, 190.0)
"""Box of the face in the built-in photograph, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessCase:
    """One comparison with the reference.

    Attributes:
        inputs: kind of inputs: ``noise`` or ``faces``.
        batch: number of crops in one inference.
        measured: agreement of the values before the softmax.
    """

    inputs: str
    batch: int
    measured: Agreement = field(metadata=INLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class LivenessConversion:
    """Result of a conversion.

    Attributes:
        model: path of the ONNX file.
        spec: specification stored in the model.
        is_published: whether the file of weights is one of the published files.
        skipped_parameters: names of the parameters that only training needs.
        bounds: bounds of each comparison.
        cases: comparisons with a reference forward pass in numpy, in float64 and with explicit normalization.
    """

    model: Path
    spec: LivenessSpec
    is_published: bool
    skipped_parameters: tuple[str, ...]
    bounds: Bounds
    cases: tuple[LivenessCase, ...]


def convert(
    source: Path,
    output: Path,
    *,
    crop_scale: float | None = None,
    live_class: int = LIVE_CLASS,
    note: Callable[[str], None] = lambda _: None,
) -> LivenessConversion:
    """Convert a file of weights, prove the result, and write it. Nothing is written if the proof fails.

    Args:
        source: path of the file, such as a ``.pth`` of PyTorch.
        output: path of the ONNX file.
        crop_scale: size of the crops that the network was trained on, as a multiple of the face's box; None for that of
            a published file.
        live_class: index of the class of live faces.
        note: called with a description of each step.

    Raises:
        CheckpointError: the file cannot be read.
        TopologyError: it holds another network, or nobody told its crops.
        ParityError: the graph computes something else.
        OutputError: the output cannot be written.
    """
    check_output(output, source)
    with open_checkpoint(source) as checkpoint, atomic_write(output, mode=SHARED) as stream:
        note(f"reading {source}")
        network = read_network(checkpoint)
        published = published_network(checkpoint.sha256)
        if crop_scale is None:
            if published is None:
                raise TopologyError(
                    f"{source.name} is none of the published files, and does not tell the crops of its training.",
                    hint="name their scale, such as 2.7 times the face's box",
                )
            crop_scale = published.crop_scale
        elif published is not None and crop_scale != published.crop_scale:
            raise TopologyError(
                f"{source.name} was trained on crops of {published.crop_scale:g} times the face's box, not of "
                f"{crop_scale:g}.",
                hint="leave the scale out",
            )
        spec = LivenessSpec(
            architecture=network.architecture,
            side=network.side,
            crop_scale=crop_scale,
            live_class=live_class,
            classes=network.classes,
            source_file=source.name,
            source_sha256=checkpoint.sha256,
            exporter_version=__version__,
        )
        note(f"building {network.architecture} for crops of {network.side} x {network.side} pixels")
        model = build_graph(network, spec)
        note("comparing with the reference")
        cases = tuple(_compare(model, NumpyReference(network), spec))
        worst = max(cases, key=lambda case: case.measured.max_abs_error)
        if not all(CONVERSION_BOUNDS.holds(case.measured) for case in cases):
            raise ParityError(
                f"The graph made from {source.name} differs from the reference by {worst.measured.max_abs_error:.2g} "
                f"of the largest value; at most {CONVERSION_BOUNDS.max_abs_error:g} is permitted.",
                hint="nothing was written; please report this with the versions that `edge-sphereface doctor` prints",
            )
        stream.write(model.SerializeToString(deterministic=True))
        stream.flush()
        skipped = network.skipped
    return LivenessConversion(
        model=output,
        spec=spec,
        is_published=published is not None,
        skipped_parameters=skipped,
        bounds=CONVERSION_BOUNDS,
        cases=cases,
    )


def _compare(model: onnx.ModelProto, reference: NumpyReference, spec: LivenessSpec) -> Iterator[LivenessCase]:
    """Compare the values before the softmax: after it, a network that is certain hides every difference."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.append(onnx.helper.make_tensor_value_info(LOGITS_NAME, onnx.TensorProto.FLOAT, None))
    content = MemoryModel(name="proof.onnx", content=shown.SerializeToString())
    session, _ = open_session(content, SessionConfig(provider="cpu"))
    for inputs, crops in (("noise", _noise(spec)), ("faces", _faces(spec))):
        expected = reference.logits(crops)
        for batch in _BATCHES:
            got = session.run([LOGITS_NAME], {INPUT_NAME: crops[:batch]})[0]
            yield LivenessCase(inputs=inputs, batch=batch, measured=agreement(expected[:batch], got))


def _noise(spec: LivenessSpec) -> UInt8Array:
    return np.random.default_rng(_SEED).integers(0, 256, (max(_BATCHES), spec.side, spec.side, 3), dtype=np.uint8)


def _faces(spec: LivenessSpec) -> UInt8Array:
    """Crops around the face of the built-in photograph, with boxes of several sizes."""
    image, box = astronaut(), np.array(_FACE, dtype=np.float32)
    growth = np.array([-1, -1, 1, 1], dtype=np.float32)
    return np.stack(
        [
            crop_around(image, box + growth * 4 * number, scale=spec.crop_scale, side=spec.side)
            for number in range(max(_BATCHES))
        ]
    )
