"""Convert a checkpoint to an ONNX file and prove that both give the same embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import onnx

from edge_sphereface import __version__
from edge_sphereface.alignment import CROP_HEIGHT, CROP_WIDTH, LANDMARK_TEMPLATE
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.spec import LAYOUT_NCHW, METADATA_KEY, Layout, ModelSpec
from edge_sphereface.storage.files import SHARED, atomic_write
from export import official
from export.errors import CheckpointError, TopologyError
from export.folding import fold_color_order, fold_normalization
from export.graph import build_graph
from export.outputs import check_output
from export.parity import Proof, certificate, prove, require
from export.presets import NOTHING_TOLD
from export.reference import ReferenceName, open_reference
from export.source import open_network
from export.threshold import measure_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from export.presets import Told
    from export.source import SourceNetwork
    from export.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionOptions:
    """Options of a conversion.

    Attributes:
        input_layout: ``nchw``, or ``image`` with the normalization inside the graph.
        threshold: cosine similarity stored in the model; None for the threshold of the original network.
        threshold_source: origin of that threshold, in words.
        threshold_pairs: labeled pairs to measure the threshold on, in place of ``threshold``.
        told: what the user tells of the network; the rest is recognized.
        reference: forward pass to compare with, one of :data:`export.reference.REFERENCE_NAMES`.
        photos: folder of photographs for the proof; None for the built-in photograph.
    """

    input_layout: Layout = LAYOUT_NCHW
    threshold: float | None = None
    threshold_source: str = "chosen at conversion"
    threshold_pairs: LabeledPairs | None = None
    told: Told = NOTHING_TOLD
    reference: ReferenceName = "auto"
    photos: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        model: path of the ONNX file.
        certificate: path of its parity certificate.
        spec: specification stored in the model.
        source: what the file of weights holds. The file is closed.
        proof: comparisons with the checkpoint.
    """

    model: Path
    certificate: Path
    spec: ModelSpec
    source: SourceNetwork
    proof: Proof

    @property
    def topology(self) -> Topology:
        """Topology of the network."""
        return self.source.topology


def convert(
    source: Path,
    output: Path,
    options: ConversionOptions | None = None,
    *,
    detector: Detector | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Conversion:
    """Convert a checkpoint, prove the result, and write it. Nothing is written if the proof fails.

    Args:
        source: path of the checkpoint.
        output: path of the ONNX file; the certificate is written beside it.
        options: options of the conversion; None for the defaults.
        detector: finds faces in labeled pairs without landmarks; None for the best detector available.
        note: called with a description of each step.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        TopologyError: the checkpoint holds a different network.
        ParityError: the embeddings differ from the checkpoint's.
        PairsError: there are too few labeled pairs for a threshold.
        OutputError: the output cannot be written.
    """
    chosen = options or ConversionOptions()
    check_output(output, source)
    # Both files are complete on disk before either takes its place.
    with (
        open_network(source, chosen.told) as network,
        atomic_write(certificate_path(output), mode=SHARED) as certificate_stream,
        atomic_write(output, mode=SHARED) as stream,
    ):
        note(f"reading {source}")
        spec = model_spec(network, chosen)
        note(f"building {network.topology.name}, {spec.input_layout} input")
        parameters = _folded_parameters(network)
        stream.write(build_graph(network.topology, parameters, spec).SerializeToString(deterministic=True))
        stream.flush()
        del parameters
        embedder = Embedder(stream.name, provider="cpu")
        reference = open_reference(chosen.reference, network.checkpoint, network.topology)
        proof = prove(embedder, reference, network.origin, photos=chosen.photos, note=note)
        require(proof, f"The graph made from {source.name}")
        if chosen.threshold_pairs is not None:
            note(f"measuring the threshold on {len(chosen.threshold_pairs.pairs)} labeled pairs")
            measured = measure_threshold(embedder, chosen.threshold_pairs, detector or open_detector())
            spec = replace(spec, threshold=measured.value, threshold_source=measured.source)
            del embedder  # Windows cannot write over a file that is mapped
            _write_spec(stream, spec)
            embedder = Embedder(stream.name, provider="cpu")
        record = certificate(proof, embedder, model_name=output.name)
        certificate_stream.write(json.dumps(record.as_json(), indent=1).encode())
        certificate_stream.flush()
        del embedder  # Windows cannot rename a file that is mapped
    return Conversion(model=output, certificate=certificate_path(output), spec=spec, source=network, proof=proof)


def _write_spec(stream: IO[bytes], spec: ModelSpec) -> None:
    """Replace the specification in the metadata of an ONNX file."""
    model = onnx.load(stream.name)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
    stream.seek(0)
    stream.truncate()
    stream.write(model.SerializeToString(deterministic=True))
    stream.flush()


def _folded_parameters(network: SourceNetwork) -> dict[str, np.ndarray[Any, Any]]:
    """Parameters of the graph, which takes BGR crops and has no batch normalization."""
    parameters = _read_parameters(network)
    if network.preprocessing.color_order == "RGB":
        parameters = fold_color_order(parameters)
    folded = fold_normalization(parameters, network.topology.epsilon)
    _require_finite(folded, "The checkpoint gives values beyond float32, after folding its batch normalization,")
    return folded


def _read_parameters(network: SourceNetwork) -> dict[str, np.ndarray[Any, Any]]:
    stored = network.topology.parameters
    parameters = {name: network.checkpoint.read(source) for name, source in stored.items()}
    _require_finite(parameters, "The checkpoint holds NaN or infinite values")
    return parameters


def _require_finite(parameters: Mapping[str, np.ndarray[Any, Any]], what: str) -> None:
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, which is what is looked for
        broken = [name for name, values in parameters.items() if not np.isfinite(values.astype(np.float32)).all()]
    if broken:
        raise CheckpointError(
            f"{what} in {', '.join(broken)}.",
            hint="the training diverged or the file is damaged; take another checkpoint",
        )


def model_spec(network: SourceNetwork, options: ConversionOptions) -> ModelSpec:
    """Specification of the model that is made from a network.

    Raises:
        TopologyError: no landmark template is known for the size of its crops.
    """
    checkpoint, topology, known = network.checkpoint, network.topology, network.known
    preprocessing = network.preprocessing
    if options.threshold is not None:
        threshold, threshold_source = options.threshold, options.threshold_source
    elif known is not None and known.threshold is not None:
        threshold, threshold_source = known.threshold, known.threshold_source
    else:
        threshold, threshold_source = official.LFW_THRESHOLD, official.THRESHOLD_SOURCE_OTHER
    return ModelSpec(
        architecture=topology.name,
        widths=topology.widths,
        embedding_size=topology.embedding_size,
        input_height=topology.input_height,
        input_width=topology.input_width,
        input_layout=options.input_layout,
        color_order="BGR",
        pixel_mean=preprocessing.pixel_mean,
        pixel_scale=preprocessing.pixel_scale,
        landmark_template=_template(topology),
        alignment_fit=preprocessing.alignment_fit,
        precision="float32",
        threshold=threshold,
        threshold_source=threshold_source,
        source_file=checkpoint.path.name,
        source_sha256=checkpoint.sha256,
        source_is_official=checkpoint.sha256 == official.OFFICIAL.sha256,
        exporter_version=__version__,
        origin=network.recorded_origin,
    )


def _template(topology: Topology) -> tuple[tuple[float, float], ...]:
    """Landmark template (5, 2) in pixels: that of the 112 x 96 crop, centered in a crop of the same height.

    Source: the common 112 x 112 template is the 112 x 96 template shifted by 8 pixels.
    """
    if topology.input_height != CROP_HEIGHT:
        raise TopologyError(
            f"The network takes crops of {topology.input_height} x {topology.input_width} pixels, but a landmark "
            f"template is known only for a height of {CROP_HEIGHT}.",
            hint="if the training crops had another shape with the same number of cells, set --input-size",
        )
    shift = (topology.input_width - CROP_WIDTH) / 2
    return tuple((x + shift, y) for x, y in LANDMARK_TEMPLATE)
