"""Converts a trained checkpoint, proves, rewrites and quantizes it, and recognizes the ORL faces with each form."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edge_sphereface.alignment import align_for
from edge_sphereface.detection import open_detector
from edge_sphereface.errors import NoFaceError
from edge_sphereface.evaluation.machine_load import LoadMeter
from edge_sphereface.evaluation.pairs import LabeledPairs, Pair
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.spec import LAYOUT_IMAGE
from edge_sphereface.pipeline import select_face
from edge_sphereface.storage.files import ensure_folder, sha256_of
from export.convert import Conversion, ConversionOptions, convert
from export.demo import page
from export.demo.orl import PEOPLE, PHOTOGRAPHS_EACH, read_orl
from export.demo.pictures import save_contact_sheet, save_similarity_plot
from export.demo.recognition import ENROLLED_EACH, ENROLLED_PEOPLE, name_of, recognize
from export.known_checkpoints import known_checkpoint
from export.official import OFFICIAL, official_path
from export.pretrained import PRETRAINED
from export.quantization.output import write_quantized
from export.quantization.quantize import QuantizationOptions, quantize
from export.rewrite.fast import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.storage.download import PinnedFile
    from edge_sphereface.types import Float64Array, UInt8Array
    from export.demo.orl import OrlPhotograph
    from export.demo.recognition import Recognition
    from export.known_checkpoints import KnownCheckpoint
    from export.quantization.quantize import QuantizedModel
    from export.quantization.search import Reporter
    from export.reference import ReferenceName

INFERENCES = 100
FLOAT, REWRITTEN, INT8 = "float", "float, rewritten", "INT8"
MAX_DRIFT = 0.0024
"""Between the default of 0.002 and the policy's bound of 0.003: the narrow network keeps fewer layers in float32."""
_PAIRS_SEED = 0
_ENROLLED, _OTHERS = "enrolled", "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of the network, and what it was measured to do.

    Attributes:
        path: of the model file; None for a form that was refused and not written.
        bytes: size of the model.
        recognition: of the ORL faces.
        latency: of one embedding.
        refused: why it was not written; empty if it was.
    """

    path: Path | None
    bytes: int
    recognition: Recognition
    latency: LatencySummary
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """What the demo did.

    Attributes:
        known: the checkpoint.
        made: the conversion and its proof.
        forms: by name, plain float first.
        quantized: the INT8 model and its proof.
        detector: name of what found the faces.
        provider: execution provider, in words.
        load: other work on the machine while latency was measured.
        files: everything that was made.
    """

    known: KnownCheckpoint
    made: Conversion
    forms: Mapping[str, Form]
    quantized: QuantizedModel
    detector: str
    provider: str
    load: MachineLoad
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Photographs:
    """The ORL faces on the disk, and what was found in them.

    Attributes:
        folder: with ``enrolled`` and ``others``, a sub-folder for each person.
        crops: (40, 10, H, W, 3) uint8 BGR, by person and number.
        landmarks: (5, 2) in pixels, by path below ``folder / "others"``.
        detector: name of what found them.
    """

    folder: Path
    crops: UInt8Array
    landmarks: dict[str, Float64Array]
    detector: str


def run_demo(
    folder: Path,
    *,
    checkpoint: Path | None = None,
    reference: ReferenceName = "auto",
    note: Callable[[str], None] = lambda _: None,
    reporter: Reporter = lambda _: lambda _done, _total: None,
) -> Demo:
    """Run the demo.

    Args:
        folder: for the files that are made.
        checkpoint: a known one; None for the official one if it is in the cache, else the pretrained one.
        reference: what the conversion is compared with.
        note: told what is being done.
        reporter: gives a progress function for a step that is named.

    Raises:
        EdgeSphereFaceError: a step failed.
    """
    ensure_folder(folder)
    source = checkpoint or chosen_checkpoint(OFFICIAL, official_path())
    known = known_checkpoint(sha256_of(source))
    if known is None:
        raise ValueError(f"Expected a checkpoint that is known here, got {source}.")
    note(f"converting {source.name}: {known.title}")
    made = convert(
        source,
        folder / "sphereface20.onnx",
        ConversionOptions(input_layout=LAYOUT_IMAGE, reference=reference),
        note=note,
    )
    found = _prepare(read_orl(), made, folder / "photographs", reporter)
    note("rewriting the float model in faster operators")
    rewritten_path = folder / "sphereface20.fast.onnx"
    rewritten = rewrite(made.model, rewritten_path, note=note)
    note("quantizing to INT8, calibrated on the enrolled photographs, proven on the others")
    int8_path = folder / "sphereface20.int8.onnx"
    quantized = quantize(
        made.model,
        found.folder / _ENROLLED,
        QuantizationOptions(max_drift=MAX_DRIFT),
        labeled=LabeledPairs(_labeled_pairs(), found.folder / _OTHERS, found.landmarks),
        reporter=reporter,
        note=note,
    )
    written = {FLOAT: made.model, **({REWRITTEN: rewritten_path} if rewritten.written else {})}
    reports = []
    if quantized.proof.passed:
        reports = list(write_quantized(quantized, int8_path, made.model, "cpu"))
        written[INT8] = int8_path
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        paths = dict(written)
        if INT8 not in paths:  # what was refused is shown all the same, and thrown away
            paths[INT8] = Path(temporary) / int8_path.name
            onnx.save(quantized.model, paths[INT8])
        note("enrolling 30 people, identifying the other photographs, timing")
        embedders = {name: Embedder(path, provider="cpu") for name, path in paths.items()}
        gallery = folder / "gallery.db"
        _delete_gallery(gallery)
        results = {
            name: recognize(embedders[name], found.crops, gallery if name == FLOAT else Path(temporary) / f"{name}.db")
            for name in paths
        }
        meter = LoadMeter()
        crop = found.crops[0, 0][None]
        samples = measure_interleaved(
            {name: partial(embedder.embed, crop) for name, embedder in embedders.items()}, rounds=INFERENCES
        )
        load = meter.read()
        forms = {
            name: Form(
                path=written.get(name),
                bytes=path.stat().st_size,
                recognition=results[name],
                latency=summarize(samples[name]),
                refused="" if name in written else "; ".join(quantized.proof.missed),
            )
            for name, path in paths.items()
        }
        provider = str(embedders[FLOAT].provider)
        del embedders  # Windows cannot delete a file that is mapped
    best = INT8 if INT8 in written else FLOAT
    sheet, plot = folder / "contact-sheet.png", folder / "similarities.png"
    save_contact_sheet(sheet, found.crops, results[best], page.sheet_title(known, best, results[best]))
    save_similarity_plot(plot, {name: results[name] for name in (FLOAT, INT8)})
    files = (sheet, plot, made.model, made.certificate, *list(written.values())[1:2], *reports, gallery)
    return Demo(
        known=known,
        made=made,
        forms=forms,
        quantized=quantized,
        detector=found.detector,
        provider=provider,
        load=load,
        files=tuple(dict.fromkeys(files)),
    )


def chosen_checkpoint(official: PinnedFile, path: Path) -> Path:
    """The official checkpoint if it is at ``path``, whole; else the pretrained one."""
    return path if official.matches(path) else PRETRAINED


def _prepare(photographs: list[OrlPhotograph], made: Conversion, folder: Path, reporter: Reporter) -> _Photographs:
    """Write the photographs to the disk, where commands can read them, and find the face in each."""
    detector, spec = open_detector(), made.spec
    progress = reporter("faces found")
    crops = np.empty((PEOPLE, PHOTOGRAPHS_EACH, *spec.crop_shape), np.uint8)
    landmarks = {}
    for done, (person, number, image) in enumerate(photographs, start=1):
        is_enrolled = person <= ENROLLED_PEOPLE and number <= ENROLLED_EACH
        name = _file_name(person, number)
        path = folder / (_ENROLLED if is_enrolled else _OTHERS) / name
        ensure_folder(path.parent)
        save_image(path, image)
        faces = detector.detect(image)
        if not faces:
            raise NoFaceError(f"No face was found in {path} by {detector.name}.", hint="try another detector")
        face = select_face(faces, image, "largest")
        crops[person - 1, number - 1] = align_for(spec, image, face.landmarks)[0]
        landmarks[name] = face.landmarks.astype(np.float64)
        progress(done, len(photographs))
    return _Photographs(folder=folder, crops=crops, landmarks=landmarks, detector=detector.name)


def _delete_gallery(path: Path) -> None:
    """That of an earlier run, with its companion files."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _file_name(person: int, number: int) -> str:
    return f"{name_of(person)}/{number:02d}.png"


def _labeled_pairs() -> list[Pair]:
    """All genuine pairs of the photographs that are not enrolled, and as many impostor pairs, drawn at random."""
    asked = [
        (person, number)
        for person in range(1, PEOPLE + 1)
        for number in range(1, PHOTOGRAPHS_EACH + 1)
        if person > ENROLLED_PEOPLE or number > ENROLLED_EACH
    ]
    every = [(one, other) for index, one in enumerate(asked) for other in asked[index + 1 :]]
    genuine = [pair for pair in every if pair[0][0] == pair[1][0]]
    impostor = [pair for pair in every if pair[0][0] != pair[1][0]]
    random = np.random.RandomState(_PAIRS_SEED)  # the same stream in every numpy
    chosen = random.choice(len(impostor), len(genuine), replace=False)
    pairs = [*genuine, *(impostor[index] for index in chosen)]
    order = random.permutation(len(pairs))  # folds of either kind
    return [
        Pair(_file_name(*pairs[index][0]), _file_name(*pairs[index][1]), same=pairs[index][0][0] == pairs[index][1][0])
        for index in order
    ]
