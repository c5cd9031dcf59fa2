"""Make every form of a network in one folder, each with its proof: float, tuned for this machine, INT8, FP16, ncnn."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sphereface.evaluation.latency import DEFAULT_PLAN, Plan
from edge_sphereface.image import find_images
from edge_sphereface.model.certificate import certificate_path
from edge_sphereface.model.manifest import NCNN_SUFFIX
from edge_sphereface.model.spec import LAYOUT_IMAGE
from edge_sphereface.storage.files import ensure_folder
from export.convert import ConversionOptions, convert
from export.ncnn_form import FLOAT32, NcnnOptions, make_ncnn_form, require_ncnn
from export.presets import NOTHING_TOLD
from export.quantization.output import write_quantized
from export.quantization.policy import Policy
from export.quantization.quantize import FLOAT16, INT8, PROOF_PHOTOGRAPHS, QuantizationOptions, quantize
from export.rewrite.fast import rewrite
from export.tuning.tune import TuningOptions, tune

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge_sphereface.detection import Detector
    from edge_sphereface.evaluation.pairs import LabeledPairs
    from edge_sphereface.model.spec import ModelSpec
    from export.convert import Conversion
    from export.ncnn_form import NcnnForm
    from export.presets import Told
    from export.quantization.quantize import QuantizedModel
    from export.quantization.search import Reporter
    from export.reference import ReferenceName

STEM = "sphereface20"
"""Stem of the file names. The specification in each file names the network."""
PLAIN, FAST = "float", "float, faster"
NCNN_FORMS = {"ncnn": FLOAT32, "ncnn float16": FLOAT16}
"""Precision of each form for ncnn, by name of the form."""
_POLICY = Policy(latency=None)
"""The forms are for other devices, which this machine's latency says nothing about: it is measured, not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Photographs:
    """Photographs for a quantization.

    Attributes:
        calibration: folder of photographs that determine the ranges.
        labeled: labeled pairs of other photographs for the accuracy; None to judge only the drift.
        detector: finds the faces for the calibration; None for the best detector available.
    """

    calibration: Path
    labeled: LabeledPairs | None
    detector: Detector | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormOptions:
    """Options of the forms.

    Attributes:
        tuned: measure Winograd's filtering stage by stage, which takes minutes, instead of only replacing PReLU.
        precisions: reduced precisions to make, ``int8`` and ``float16``.
        ncnn: also make the forms for ncnn.
        max_drift: mean of 1 - cosine above which layers of the INT8 form remain in float32.
        reference: reference forward pass of the conversion's proof.
        told: what the user tells of the network; the rest is recognized.
        plan: number of latency samples of each comparison.
    """

    tuned: bool = True
    precisions: tuple[str, ...] = (INT8, FLOAT16)
    ncnn: bool = False
    max_drift: float = 0.002
    reference: ReferenceName = "auto"
    told: Told = NOTHING_TOLD
    plan: Plan = DEFAULT_PLAN


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkForms:
    """The forms that were made.

    Attributes:
        conversion: plain float form with its proof against the checkpoint.
        fast: faster float form; None if none is measurably faster than the plain one on this machine.
        quantized: form of each reduced precision with its proof; a form that misses a bound is not written.
        ncnn: forms for ncnn by name; one that misses a bound is not written.
        paths: paths of the models by name of the form, plain float first.
        reports: paths of certificates and reports of quantizations.
    """

    conversion: Conversion
    fast: Path | None
    quantized: dict[str, QuantizedModel]
    ncnn: dict[str, NcnnForm]
    paths: dict[str, Path]
    reports: tuple[Path, ...]


def make_forms(
    checkpoint: Path,
    folder: Path,
    photographs: Callable[[ModelSpec], Photographs],
    options: FormOptions,
    *,
    note: Callable[[str], None],
    reporter: Reporter,
) -> NetworkForms:
    """Convert a checkpoint and derive the other forms.

    Args:
        checkpoint: path of the checkpoint.
        folder: folder of the files; created if missing.
        photographs: function from the specification of the model to the photographs for the quantizations.
        options: options of the forms.
        note: called with a description of each step.
        reporter: returns a progress function for a named step.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        ParityError: a form differs from its source; it is not written.
        ExtraError: forms for ncnn were asked for, and ncnn or pnnx is not installed.
        OutputError: a file cannot be written.
    """
    if options.ncnn:
        require_ncnn()
    plain = folder / f"{STEM}.onnx"
    with _removed_if_empty(folder):
        conversion = convert(
            checkpoint,
            plain,
            ConversionOptions(input_layout=LAYOUT_IMAGE, told=options.told, reference=options.reference),
            note=note,
        )
    found = photographs(conversion.spec)
    fast = folder / f"{STEM}.{'tuned' if options.tuned else 'fast'}.onnx"
    if options.tuned:
        note("measuring the fastest form of each stage on this machine")
        is_fast = tune(plain, fast, TuningOptions(), reporter=reporter, note=note).made is not None
    else:
        note("rewriting the float model in faster operators")
        is_fast = rewrite(plain, fast, plan=options.plan, note=note).written
    paths = {PLAIN: plain, **({FAST: fast} if is_fast else {})}
    if not is_fast:
        note("no other float form is measurably faster on this machine: the plain one remains alone")
        _delete(folder, fast.stem)
    quantized, reports = {}, [conversion.certificate]
    for precision in options.precisions:
        note(f"quantizing to {precision}; the photographs of the proof are not those of the calibration")
        made = quantize(
            plain,
            found.calibration,
            QuantizationOptions(
                precision=precision,
                max_drift=options.max_drift,
                policy=_POLICY,
                plan=options.plan,
                faster_than=[fast] if is_fast and options.tuned else [],  # the untuned one is compared with anyway
            ),
            labeled=found.labeled,
            detector=found.detector,
            reporter=reporter,
            note=note,
        )
        quantized[precision] = made
        if not made.proof.passed:
            _delete(folder, f"{STEM}.{precision}")
        else:
            paths[precision] = folder / f"{STEM}.{precision}.onnx"
            written = write_quantized(made, paths[precision], plain, "cpu")
            reports += written[1:]
    for_ncnn = {}
    for name, precision in NCNN_FORMS.items() if options.ncnn else ():
        output = folder / f"{STEM}{'' if precision == FLOAT32 else f'.{precision}'}{NCNN_SUFFIX}"
        how = NcnnOptions(
            precision=precision,
            policy=_POLICY,
            photographs=find_images(found.calibration)[:PROOF_PHOTOGRAPHS],
            labeled=found.labeled,
        )
        for_ncnn[name] = make_ncnn_form(plain, output, how, note=note, reporter=reporter)
        if for_ncnn[name].written:
            paths[name] = output
            reports.append(certificate_path(output))
        else:
            for path in (output, certificate_path(output)):
                path.unlink(missing_ok=True)
    return NetworkForms(
        conversion=conversion,
        fast=fast if is_fast else None,
        quantized=quantized,
        ncnn=for_ncnn,
        paths=paths,
        reports=tuple(reports),
    )


@contextmanager
def _removed_if_empty(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it again if the block fails and leaves nothing in it."""
    is_new = not folder.exists()
    ensure_folder(folder)
    try:
        yield
    except BaseException:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()
        raise


def _delete(folder: Path, stem: str) -> None:
    """Delete what an earlier run left of a form that this run refused."""
    for path in folder.glob(f"{stem}.*"):
        path.unlink()
