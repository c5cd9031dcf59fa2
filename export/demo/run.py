"""Convert a trained checkpoint, prove, rewrite and quantize it, and identify the ORL faces with each form."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.evaluation.machine_load import LoadMeter
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.storage.files import sha256_of
from export.demo import page
from export.demo.pictures import save_contact_sheet, save_similarity_plot
from export.demo.recognition import recognize
from export.forms import PLAIN, FormOptions, Photographs, make_forms
from export.known_checkpoints import known_checkpoint
from export.official import OFFICIAL, official_path
from export.orl.photographs import OrlSearch
from export.pretrained import PRETRAINED
from export.quantization.quantize import INT8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.storage.download import PinnedFile
    from edge_sphereface.types import UInt8Array
    from export.convert import Conversion
    from export.demo.recognition import Recognition
    from export.forms import NetworkForms
    from export.known_checkpoints import KnownCheckpoint
    from export.orl.photographs import OrlPhotographs
    from export.quantization.quantize import QuantizedModel
    from export.quantization.search import Reporter
    from export.reference import ReferenceName

INFERENCES = 100
PLAN = Plan(rounds=10, per_round=3)
"""A third of the usual samples, so that the demo takes less than a minute: all forms are timed again at its end."""
MAX_DRIFT = 0.0024
"""Drift between the default of 0.002 and the policy's bound of 0.003, which keeps fewer layers in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One form of the network with its measurements.

    Attributes:
        path: path of the model; None if it was refused and not written.
        bytes: size of the model in bytes.
        recognition: identification of the ORL faces.
        latency: latency of one embedding.
        refused: reason why the model was not written; empty if it was.
    """

    path: Path | None
    bytes: int
    recognition: Recognition
    latency: LatencySummary
    refused: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Result of the demo.

    Attributes:
        known: description of the checkpoint.
        made: result of the conversion with its proof.
        forms: forms of the network by name, plain float first.
        quantized: INT8 model with its proof.
        detector: name of the detector.
        provider: execution provider, in words.
        load: load of the machine by other programs while latency was measured.
        files: paths of all files that were made.
    """

    known: KnownCheckpoint
    made: Conversion
    forms: Mapping[str, Form]
    quantized: QuantizedModel
    detector: str
    provider: str
    load: MachineLoad
    files: tuple[Path, ...]


def run_demo(
    folder: Path,
    *,
    checkpoint: Path | None = None,
    reference: ReferenceName = "auto",
    plan: Plan = PLAN,
    note: Callable[[str], None] = lambda _: None,
    reporter: Reporter = lambda _: lambda _done, _total: None,
) -> Demo:
    """Run the demo.

    Args:
        folder: folder of the files that are made.
        checkpoint: known checkpoint; None for the official one if it is in the cache, else the pretrained one.
        reference: reference forward pass of the conversion's proof.
        plan: number of latency samples of each comparison of two forms.
        note: called with a description of each step.
        reporter: returns a progress function for a named step.

    Raises:
        EdgeSphereFaceError: a step failed.
    """
    source = checkpoint or chosen_checkpoint(OFFICIAL, official_path())
    known = known_checkpoint(sha256_of(source))
    if known is None:
        raise ValueError(f"Expected a checkpoint that is known here, got {source}.")
    note(f"1 of 4: converting {source.name}, {known.title}, to ONNX and proving it")
    found: OrlPhotographs | None = None

    # Python compiles modules at their first import, which takes seconds here: another process does it meanwhile
    drawing = subprocess.Popen([sys.executable, "-c", "import matplotlib.pyplot"])

    def photographs(spec: ModelSpec) -> Photographs:
        nonlocal found
        note("2 of 4: finding the faces in the photographs")
        found = search.write(folder / "photographs", spec, progress=reporter("faces found"))
        drawing.wait()  # nothing runs beside a measurement of time
        note("3 of 4: making the faster forms and proving each")
        return Photographs(calibration=found.enrolled, labeled=found.labeled_pairs(), detector=found.detector)

    options = FormOptions(tuned=False, precisions=(INT8,), max_drift=MAX_DRIFT, reference=reference, plan=plan)
    with drawing, closing(OrlSearch()) as search:
        made = make_forms(source, folder, photographs, options, note=note, reporter=reporter)
    assert found is not None  # noqa: S101 -- make_forms has asked for the photographs
    note("4 of 4: enrolling 30 people, identifying the other photographs, timing")
    gallery = folder / "gallery.db"
    forms, provider, load = _measure(made, found.crops, gallery)
    best = INT8 if forms[INT8].path is not None else PLAIN
    sheet, plot = folder / "contact-sheet.png", folder / "similarities.png"
    save_contact_sheet(
        sheet, found.crops, forms[best].recognition, page.sheet_title(known, best, forms[best].recognition)
    )
    save_similarity_plot(plot, {name: forms[name].recognition for name in (PLAIN, INT8)})
    return Demo(
        known=known,
        made=made.conversion,
        forms=forms,
        quantized=made.quantized[INT8],
        detector=found.detector.name,
        provider=provider,
        load=load,
        files=(sheet, plot, *made.paths.values(), *made.reports, gallery),
    )


def _measure(made: NetworkForms, crops: UInt8Array, gallery: Path) -> tuple[dict[str, Form], str, MachineLoad]:
    """Identify the faces with each form, and time the forms in turn. The gallery of the plain form is kept."""
    refused = made.quantized[INT8]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        paths = dict(made.paths)
        if INT8 not in paths:  # what was refused is shown all the same, and thrown away
            paths[INT8] = Path(temporary) / "refused.onnx"
            onnx.save(refused.model, paths[INT8])
        embedders = {name: Embedder(path, provider="cpu") for name, path in paths.items()}
        results = {
            name: recognize(embedder, crops, gallery if name == PLAIN else Path(temporary) / f"{number}.db")
            for number, (name, embedder) in enumerate(embedders.items())
        }
        meter, crop = LoadMeter(), crops[0, 0][None]
        samples = measure_interleaved(
            {name: partial(embedder.embed, crop) for name, embedder in embedders.items()}, rounds=INFERENCES
        )
        load = meter.read()
        forms = {
            name: Form(
                path=made.paths.get(name),
                bytes=path.stat().st_size,
                recognition=results[name],
                latency=summarize(samples[name]),
                refused="" if name in made.paths else "; ".join(refused.proof.missed),
            )
            for name, path in paths.items()
        }
        provider = str(embedders[PLAIN].provider)
        del embedders  # Windows cannot delete a file that is mapped
    return forms, provider, load


def chosen_checkpoint(official: PinnedFile, path: Path) -> Path:
    """Return the official checkpoint if ``path`` is an intact copy of it, else the pretrained one."""
    return path if official.matches(path) else PRETRAINED
