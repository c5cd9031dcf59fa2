"""Make a folder for devices: every form of a network, certificates, measurements and a README.txt."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_sphereface import __version__
from edge_sphereface.json_output import json_text
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.manifest import MANIFEST, write_manifest
from edge_sphereface.storage.files import SHARED, atomic_write, sha256_of
from export.forms import FAST, NCNN_FORMS, PLAIN, FormOptions, Photographs, make_forms
from export.known_checkpoints import known_checkpoint
from export.orl.photographs import OrlSearch
from export.quantization.output import measured_on
from export.quantization.quantize import FLOAT16, INT8
from export.speed import race

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.model.spec import ModelSpec
    from export.forms import NetworkForms
    from export.quantization.proof import Proof
    from export.quantization.search import Reporter

README, FIGURES = "README.txt", "figures.json"
_MIB = 1 << 20
_TITLES = {
    PLAIN: "float",
    FAST: "float, faster here",
    INT8: "INT8",
    FLOAT16: "FP16",
    **{name: f"{'FP16' if precision == FLOAT16 else 'float'}, for ncnn" for name, precision in NCNN_FORMS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormFigures:
    """One form of the network.

    Attributes:
        name: name of the form.
        path: path of the model; None if it was refused and not written.
        bytes: size of the model.
        sha256: SHA-256 of the file in hexadecimal; None if it was not written.
        latency: latency of embedding one face; None if the model was not written.
        cosine_mean: mean cosine similarity to the float embedding of the same face; None for float forms.
        cosine_min: least cosine similarity to the float embedding of the same face; None for float forms.
        accuracy: 10-fold accuracy on the labeled pairs, as a share; None without pairs and for float forms.
        float_accuracy: 10-fold accuracy of the float form on the same pairs; None without pairs and for float forms.
        refused: reason why the model was not written; None if it was.
    """

    name: str
    path: Path | None
    bytes: int
    sha256: str | None
    latency: LatencySummary | None
    cosine_mean: float | None
    cosine_min: float | None
    accuracy: float | None
    float_accuracy: float | None
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A folder with every form of a network.

    Attributes:
        checkpoint: description of the checkpoint.
        sha256: SHA-256 of the checkpoint in hexadecimal.
        spec: specification of the plain form.
        photographs: description of the photographs that calibrated and judged the reduced precisions.
        environment: processor, threads, provider and versions of the measurements.
        load: load of the machine by other programs while latency was measured.
        forms: forms of the network, plain float first.
        files: paths of the files in the folder.
    """

    checkpoint: str
    sha256: str
    spec: ModelSpec
    photographs: str
    environment: Mapping[str, str | int]
    load: MachineLoad
    forms: tuple[FormFigures, ...]
    files: tuple[Path, ...]


def make_bundle(
    checkpoint: Path,
    folder: Path,
    options: FormOptions,
    *,
    photographs: Photographs | None = None,
    note: Callable[[str], None],
    reporter: Reporter,
) -> Bundle:
    """Make the folder.

    Args:
        checkpoint: path of the checkpoint.
        folder: folder of the files; created if missing.
        options: options of the forms.
        photographs: photographs for the quantizations; None for the ORL faces, which are gray.
        note: called with a description of each step.
        reporter: returns a progress function for a named step.

    Raises:
        EdgeSphereFaceError: a step failed. A form that misses a bound is omitted without an error.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary, ExitStack() as stack:
        search = stack.enter_context(closing(OrlSearch())) if photographs is None else None

        def found(spec: ModelSpec) -> Photographs:
            if search is None:
                assert photographs is not None  # noqa: S101 -- else the ORL faces are searched
                return photographs
            note("calibrating on the gray ORL faces: photographs of your own cameras are better (--calibration FOLDER)")
            orl = search.write(Path(temporary), spec, progress=reporter("faces found"))
            return Photographs(calibration=orl.enrolled, labeled=orl.labeled_pairs(), detector=orl.detector)

        made = make_forms(checkpoint, folder, found, options, note=note, reporter=reporter)
    note("timing the forms, in rounds")
    plain = made.paths[PLAIN]
    timed = race(PLAIN, plain, {name: path for name, path in made.paths.items() if name != PLAIN}, plan=options.plan)
    spec = made.conversion.spec
    known = known_checkpoint(spec.source_sha256)
    title = spec.source_file
    if known is not None:
        title = f"{known.title}, LFW {known.lfw_accuracy:.2%} ({known.accuracy_source})"
    bundle = Bundle(
        checkpoint=title,
        sha256=spec.source_sha256,
        spec=spec,
        photographs="the ORL faces, gray" if photographs is None else str(photographs.calibration),
        environment=measured_on("cpu"),
        load=timed.load,
        forms=tuple(_figures(made, timed.latency)),
        files=(
            *made.paths.values(),
            *([] if made.fast is None else [certificate_path(made.fast)]),
            *made.reports,
            *(folder / name for name in (FIGURES, README, MANIFEST)),
        ),
    )
    _write(folder / FIGURES, f"{json_text(bundle)}\n")
    _write(folder / README, f"{readme(bundle)}\n")
    _write(folder / MANIFEST, write_manifest(path for path in bundle.files if path.name != MANIFEST))
    return bundle


def _write(path: Path, text: str) -> None:
    with atomic_write(path, mode=SHARED) as stream:
        stream.write(text.encode())


def _figures(made: NetworkForms, latency: Mapping[str, LatencySummary]) -> list[FormFigures]:
    proofs = {name: one.proof for name, one in made.quantized.items()}
    proofs |= {name: one.judged for name, one in made.ncnn.items() if one.judged is not None}
    sizes = {name: one.model.ByteSize() for name, one in made.quantized.items()}
    sizes |= {name: one.bytes for name, one in made.ncnn.items()}
    sizes |= {name: path.stat().st_size for name, path in made.paths.items()}
    names = [*made.paths, *(name for name in proofs if name not in made.paths)]
    return [_form(name, made.paths.get(name), sizes[name], proofs.get(name), latency.get(name)) for name in names]


def _form(name: str, path: Path | None, size: int, proof: Proof | None, latency: LatencySummary | None) -> FormFigures:
    pairs = None if proof is None else proof.pairs
    return FormFigures(
        name=name,
        path=path,
        bytes=size,
        sha256=None if path is None else sha256_of(path),
        latency=latency,
        cosine_mean=None if proof is None else proof.drift[0],
        cosine_min=None if proof is None else proof.drift[2],
        accuracy=None if pairs is None else pairs.reduced.accuracy,
        float_accuracy=None if pairs is None else pairs.original.accuracy,
        refused=None if path is not None or proof is None else "; ".join(proof.missed),
    )


def readme(bundle: Bundle) -> str:
    """Format instructions for devices: files to copy and commands to run."""
    written = {form.name: form for form in bundle.forms if form.path is not None}
    plain = written[PLAIN]
    fastest = min((form for form in written.values() if form.name not in NCNN_FORMS), key=_median_ms)
    for_ncnn = [form for form in written.values() if form.name in NCNN_FORMS]
    machine = ", ".join(f"{name} {value}" for name, value in bundle.environment.items())
    lines = [
        f"SphereFace: {bundle.checkpoint}",
        f"Checkpoint SHA-256 {bundle.sha256}",
        f"Made by edge_sphereface {__version__}",
        "The official network and that of the project are for research and education only.",
        "",
        "Copy to the device",
        f"  Raspberry Pi, any CPU   {_pair(fastest)}   (the fastest form on the machine that made it)",
    ]
    if FLOAT16 in written:
        lines.append(f"  Jetson, any GPU         {_pair(written[FLOAT16])}")
    if for_ncnn:
        lines.append("  For ncnn, which may be faster on Arm: pip install 'edge-sphereface[cpu,mtcnn,ncnn]', and")
        lines += [f"                          {_pair(form)}" for form in for_ncnn]
    lines += [
        f"  To be on the safe side  {_pair(plain)}",
        "  Another form may be faster on your device. Copy all of them and let it choose:",
        f"    edge-sphereface tune {' '.join(_name(form) for form in written.values())}",
        "",
        "Or publish this folder, and take it from there on each device",
        f"  sha256sum {MANIFEST}   # HEX, which proves every file of the folder",
        "  edge-sphereface fetch-model https://ADDRESS/ --sha256 HEX",
        "",
        "On the device",
        "  pip install 'edge-sphereface[cpu,mtcnn,web]'   # before the first release: a wheel made in a checkout",
        f"  export EDGE_SPHEREFACE_MODEL=$PWD/{_name(fastest)}",
        f"  edge-sphereface verify-model {_name(fastest)}   # repeats the proof there, without the checkpoint",
        "  edge-sphereface doctor",
        "  edge-sphereface enroll --gallery people.db 'Ann Lee' ann1.jpg ann2.jpg ann3.jpg",
        "  edge-sphereface identify --gallery people.db group.jpg",
        "  edge-sphereface watch 0 --gallery people.db --view",
        "",
        "Forms",
        *(f"  {_describe(form)}" for form in bundle.forms),
        *(
            []
            if FAST in written
            else [f"  {_TITLES[FAST]:<19} NOT WRITTEN: none was measurably faster on this machine"]
        ),
        f"  Reduced precisions were calibrated and judged with: {bundle.photographs}.",
        f"  Latency is that of one face on: {machine}; {bundle.load}.",
        f"  All figures: {FIGURES}; the proofs: *.parity.json, *.quantization.md",
    ]
    return "\n".join(lines)


def _median_ms(form: FormFigures) -> float:
    return float("inf") if form.latency is None else form.latency.median_ms


def _name(form: FormFigures) -> str:
    return "" if form.path is None else form.path.name


def _pair(form: FormFigures) -> str:
    return "" if form.path is None else f"{form.path.name} and {certificate_path(form.path).name}"


def _describe(form: FormFigures) -> str:
    words = [f"{_TITLES[form.name]:<19} {form.bytes / _MIB:6.2f} MiB"]
    if form.latency is not None:
        words.append(f"{form.latency.median_ms:.2f} ms (p95 {form.latency.p95_ms:.2f})")
    if form.cosine_mean is not None:
        words.append(f"cosine to float {form.cosine_mean:.4f}, at least {form.cosine_min:.4f}")
    if form.accuracy is not None:
        words.append(f"accuracy on the pairs {form.accuracy:.2%}, float {form.float_accuracy:.2%}")
    if form.refused is not None:
        words.append(f"NOT WRITTEN: {form.refused}")
    return ", ".join(words)
