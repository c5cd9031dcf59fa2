"""The demo's result as records for ``--json``. The pictures show single answers and similarities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edge_sphereface.evaluation.machine_load import MachineLoad
    from edge_sphereface.evaluation.timing import LatencySummary
    from export.demo.run import Demo


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReport:
    """A file that the demo made.

    Attributes:
        path: path of the file.
        bytes: size of the file.
    """

    path: Path
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FormReport:
    """One form of the network.

    Attributes:
        name: name of the form.
        path: path of the model; None if it was refused and not written.
        bytes: size of the model.
        threshold: cosine similarity that 1 % of the strangers' photographs reach.
        rank1: share of the enrolled people's photographs whose most similar person is correct.
        identified: share of the enrolled people's photographs that get the correct name at the threshold.
        wrong_names: number of photographs of enrolled people that get the name of another person.
        false_alarms: number of photographs of strangers that get a name.
        genuine_mean: mean cosine similarity of pairs of photographs of the same person.
        impostor_mean: mean cosine similarity of pairs of photographs of different people.
        latency: latency of one embedding.
        refused: reason why the model was not written; None if it was.
    """

    name: str
    path: Path | None
    bytes: int
    threshold: float
    rank1: float
    identified: float
    wrong_names: int
    false_alarms: int
    genuine_mean: float
    impostor_mean: float
    latency: LatencySummary
    refused: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """Result of the demo.

    Attributes:
        checkpoint: description of the checkpoint.
        lfw_accuracy: 10-fold accuracy of the checkpoint on LFW, as a share.
        accuracy_source: origin of that accuracy, in words.
        parity_passed: whether the ONNX model equals the checkpoint.
        detector: name of the detector.
        provider: execution provider, in words.
        load: load of the machine by other programs while latency was measured.
        forms: forms of the network, plain float first.
        int8_cosine_mean: mean cosine similarity of INT8 and float embeddings of the same face.
        int8_cosine_min: least cosine similarity of INT8 and float embeddings of the same face.
        files: files that the demo made.
    """

    checkpoint: str
    lfw_accuracy: float
    accuracy_source: str
    parity_passed: bool
    detector: str
    provider: str
    load: MachineLoad
    forms: tuple[FormReport, ...]
    int8_cosine_mean: float
    int8_cosine_min: float
    files: tuple[FileReport, ...]


def demo_report(demo: Demo) -> DemoReport:
    """Return the record of a demo."""
    mean, _, low = demo.quantized.proof.drift
    return DemoReport(
        checkpoint=demo.known.title,
        lfw_accuracy=demo.known.lfw_accuracy,
        accuracy_source=demo.known.accuracy_source,
        parity_passed=demo.made.proof.passed,
        detector=demo.detector,
        provider=demo.provider,
        load=demo.load,
        forms=tuple(
            FormReport(
                name=name,
                path=form.path,
                bytes=form.bytes,
                threshold=form.recognition.threshold,
                rank1=form.recognition.rank1,
                identified=form.recognition.identified,
                wrong_names=form.recognition.wrong_names,
                false_alarms=form.recognition.false_alarms,
                genuine_mean=float(form.recognition.genuine.mean()),
                impostor_mean=float(form.recognition.impostor.mean()),
                latency=form.latency,
                refused=form.refused or None,
            )
            for name, form in demo.forms.items()
        ),
        int8_cosine_mean=mean,
        int8_cosine_min=low,
        files=tuple(FileReport(path=path, bytes=path.stat().st_size) for path in demo.files),
    )
