"""Make a form of a network for ncnn, and prove it: float32 equal to the ONNX file, float16 by the gate of precisions.

In half precision, ncnn's own choice of tiles takes the fewest instructions and loses the most digits. It is a precision
of its own, judged with the arithmetic of half precision: ncnn's, or a model of it where the processor has none.

No wheel contains ncnn's tools for INT8 (ncnn2table, ncnn2int8), so there is no such form.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edge_sphereface import __version__
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.ncnn_backend import import_ncnn
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.manifest import NCNN_SUFFIX
from edge_sphereface.model.ncnn_file import REWRITE, write_ncnn_model
from edge_sphereface.model.ncnn_network import HALF_PRECISIONS, LARGE_TILES
from edge_sphereface.model.quantization import TARGET_FLOAT16, TARGET_LARGE_TILES, WEIGHT_BITS, Quantization
from edge_sphereface.model.spec import LAYOUT_NCHW
from edge_sphereface.storage.files import SHARED, atomic_write, sha256_of
from export import parity
from export.graph import change_layout
from export.half_precision import HalfPrecisionEmbedder
from export.outputs import check_output
from export.plain import open_plain
from export.pnnx import NcnnFiles, require_pnnx, run_pnnx
from export.quantization.paired_embeddings import embed_pairs, embed_photographs
from export.quantization.policy import LARGE_TILES as LARGE_TILES_POLICY
from export.quantization.policy import Policy, stricter
from export.quantization.proof import Latency, judge
from export.quantization.quantize import FLOAT16
from export.rounded_product import is_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.model.quantization import Target
    from edge_sphereface.model.spec import ModelSpec
    from export.quantization.paired_embeddings import Network
    from export.quantization.proof import Proof as Judged
    from export.quantization.search import Reporter

FLOAT32 = "float32"
PRECISIONS = (FLOAT32, FLOAT16, LARGE_TILES)
_UNTIMED = Latency(None, "it depends on the device, where `edge-sphereface tune` measures it")


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnOptions:
    """Options of a form for ncnn.

    Attributes:
        precision: ``float32``, or of the weights and, where the processor has it, of the arithmetic ``float16`` or
            ``float16-large-tiles``.
        policy: bounds that a float16 form must meet.
        photographs: photographs of faces to judge a float16 form on, beside the built-in one.
        labeled: labeled pairs to judge it on instead; None to judge only the drift.
    """

    precision: str = FLOAT32
    policy: Policy = field(default_factory=Policy)
    photographs: Sequence[Path] = ()
    labeled: LabeledPairs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NcnnForm:
    """A form for ncnn.

    Attributes:
        spec: specification of the model.
        proof: comparison with the ONNX file.
        judged: judgment of a float16 form; None for float32.
        bytes: size of the model.
        arithmetic: precision in which ncnn computed here.
        written: whether the model and its certificate were written; a float16 form that misses a bound is not.
    """

    spec: ModelSpec
    proof: parity.Proof
    judged: Judged | None
    bytes: int
    arithmetic: str
    written: bool


def make_ncnn_form(
    source: Path,
    output: Path,
    options: NcnnOptions,
    *,
    detector: Detector | None = None,
    note: Callable[[str], None] = lambda _: None,
    reporter: Reporter = lambda _: lambda _done, _total: None,
) -> NcnnForm:
    """Convert a plain float ONNX file for ncnn, prove the result, and write it with its certificate.

    Args:
        source: path of an ONNX file that ``python -m export convert`` made.
        output: path of the result; it ends in ``.ncnn``.
        options: options of the form.
        detector: finds faces in photographs; None for the best detector available.
        note: called with a description of each step.
        reporter: returns a progress function for a named step.

    Raises:
        ModelFormatError: the source is not a plain float32 model of this project, or pnnx made another network.
        ParityError: the float32 form differs from its source; nothing is written.
        ExtraError: ncnn or pnnx is not installed.
        OutputError: the output cannot be written.
    """
    check_output(output, source, suffix=NCNN_SUFFIX)
    require_ncnn()
    original, plain = open_plain(source, "cpu")
    is_half = options.precision in HALF_PRECISIONS
    spec = replace(
        original.spec,
        input_layout=LAYOUT_NCHW,
        precision=options.precision,
        rewrites=(REWRITE,),
        exporter_version=__version__,
    )
    # Windows keeps what is mapped
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        note(f"converting {source.name} for ncnn, {options.precision}")
        files = NcnnFiles(network=folder / "made.param", weights=folder / "made.bin")
        planes = folder / "planes.onnx"
        onnx.save(change_layout(plain, replace(original.spec, input_layout=LAYOUT_NCHW), batch=1), planes)
        run_pnnx(planes, files, (1, 3, spec.input_height, spec.input_width), is_half=is_half)
        made = folder / output.name
        _write(made, spec, files)
        judged, modelled = None, tuple[str, ...]()
        if is_half:
            embedder = Embedder(made)
            network: Network = embedder
            if options.precision == LARGE_TILES and embedder.provider.lacks_half_precision(options.precision):
                if not is_compiled():
                    note("numpy models half precision; after pip install numba, this is several times as fast")
                network = HalfPrecisionEmbedder(onnx.load(planes), spec)
                modelled = (f"arithmetic: half precision modelled by {network.versions}, as this processor has none",)
            judged = judge_half(original, network, options, detector, reporter)
            spec = _half_spec(spec, original, judged)
            _write(made, spec, files)
        embedder = Embedder(made)
        proof = parity.prove_against_model(embedder, original, note=note)
        if judged is None:
            parity.require(proof, f"The form for ncnn made from {source.name}", original="it")
        form = NcnnForm(
            spec=spec,
            proof=proof,
            judged=judged,
            bytes=made.stat().st_size,
            arithmetic=embedder.provider.arithmetic or FLOAT32,
            written=judged is None or judged.passed,
        )
        if form.written:
            quality = () if judged is None else (*(str(one) for one in judged.judgments), *modelled)
            record = replace(parity.certificate(proof, embedder, model_name=output.name), quality=quality)
            with (
                atomic_write(certificate_path(output), mode=SHARED) as certificate,
                atomic_write(output, mode=SHARED) as stream,
                made.open("rb") as content,
            ):
                certificate.write(json.dumps(record.as_json(), indent=1).encode())
                shutil.copyfileobj(content, stream)
    return form


def require_ncnn() -> None:
    """Check that a form for ncnn can be made and run, before minutes of work.

    Raises:
        ExtraError: ncnn or pnnx is not installed.
    """
    require_pnnx()
    import_ncnn()


def _write(path: Path, spec: ModelSpec, files: NcnnFiles) -> None:
    with path.open("wb") as stream, files.weights.open("rb") as weights:
        write_ncnn_model(stream, spec, files.text(), weights)


def judge_half(
    original: Embedder,
    half: Network,
    options: NcnnOptions,
    detector: Detector | None,
    reporter: Reporter,
) -> Judged:
    """Judge a network in half precision by the bounds of its precision.

    Args:
        original: float model.
        half: the network in half precision.
        options: options of the form.
        detector: finds faces in photographs; None for the best detector available.
        reporter: returns a progress function for a named step.

    Raises:
        PairsError: too few labeled pairs are usable.
    """
    finder = detector or open_detector()
    progress = reporter("both models over photographs")
    if options.labeled is not None:
        embedded = embed_pairs(original, half, options.labeled, finder, progress=progress)
    else:
        embedded = embed_photographs(original, half, options.photographs, finder, progress=progress)
    policy = stricter(options.policy, LARGE_TILES_POLICY) if options.precision == LARGE_TILES else options.policy
    return judge(original.spec, embedded, options.labeled, _UNTIMED, policy)


def _half_spec(spec: ModelSpec, original: Embedder, judged: Judged) -> ModelSpec:
    target: Target = TARGET_LARGE_TILES if spec.precision == LARGE_TILES else TARGET_FLOAT16
    mean, p1, low = (round(value, 6) for value in judged.drift)
    record = Quantization(
        target=target,
        weight_bits=WEIGHT_BITS[target],
        rules=(),
        equalization=0.0,
        bias_correction=False,
        float_layers=(),
        calibration_crops=0,
        float_sha256=sha256_of(original.path),
        proof_crops=len(judged.cosines),
        cosine_mean=mean,
        cosine_p1=p1,
        cosine_min=low,
    )
    return replace(spec, quantization=record, threshold=judged.threshold, threshold_source=judged.threshold_source)
