"""Make every form of a float model: rewritten, quantized by this project, by ``quantize_static``, and by NNCF."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from benchmarks import static_int8
from benchmarks.contenders.contender import Peer
from benchmarks.peer_environments import PeerUnavailableError, environment_of, python_of
from benchmarks.peer_process import ROOT
from edge_sphereface.detection import open_detector
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.spec import LAYOUT_NCHW
from export.parity import normalize_plainly
from export.quantization.crops import calibration_crops
from export.quantization.policy import Policy
from export.quantization.quantize import QuantizationOptions, quantize
from export.rewrite.fast import rewrite

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_sphereface.evaluation.pairs import LabeledPairs
    from export.quantization.quantize import QuantizedModel
    from export.quantization.search import Reporter

NO_BOUNDS = Policy(mean=None, p1=None, known=None, min=None, accuracy=None, tar=None, latency=None)
"""No bounds, so that the benchmark also reports models that the gate would refuse."""
_BRIEF = Plan(rounds=5, per_round=1)
"""The benchmark times the forms itself."""
NNCF = Peer(
    name="nncf",
    title="OpenVINO on NNCF's INT8",
    requirements=("openvino>=2025.0", "nncf>=2.16", "numpy"),
    settings="nncf.quantize with its defaults on the same calibration crops, fixed batch 1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """Files of one network.

    Attributes:
        plain: plain float32 model.
        rewritten: float32 model with PRelu in fast operators.
        int8: model quantized by this project.
        made: result of that quantization.
    """

    plain: Path
    rewritten: Path
    int8: Path
    made: QuantizedModel


def derive(
    plain: Path,
    folder: Path,
    photographs: Path,
    *,
    labeled: LabeledPairs | None,
    reporter: Reporter,
    note: Callable[[str], None],
) -> Forms:
    """Rewrite and quantize a model without bounds."""
    rewritten, int8 = folder / f"{plain.stem}.fast.onnx", folder / f"{plain.stem}.int8.onnx"
    rewrite(plain, rewritten, max_ratio=float("inf"), plan=_BRIEF, note=note)
    options = QuantizationOptions(policy=NO_BOUNDS, plan=_BRIEF)
    made = quantize(plain, photographs, options, labeled=labeled, reporter=reporter, note=note)
    onnx.save(made.model, int8)
    return Forms(plain=plain, rewritten=rewritten, int8=int8, made=made)


def habit(plain: Path, folder: Path, photographs: Path) -> Path | None:
    """Quantize the plain model by onnxruntime's ``quantize_static``; None if its layout is not supported."""
    if Embedder(plain, provider="cpu").spec.input_layout != LAYOUT_NCHW:
        return None
    target = folder / f"{plain.stem}.habit.onnx"
    static_int8.quantize(plain, target, photographs)
    return target


def by_nncf(plain: Path, folder: Path, photographs: Path, *, count: int = 300) -> Path:
    """Quantize the plain model by NNCF for OpenVINO, calibrated on the same number of the same crops.

    Raises:
        PeerUnavailableError: NNCF cannot be installed or fails.
    """
    spec = Embedder(plain, provider="cpu").spec
    crops = calibration_crops(photographs, spec, open_detector(), count=count).crops
    batches, target = folder / "calibration.npy", folder / f"{plain.stem}.nncf.xml"
    np.save(batches, normalize_plainly(crops, spec) if spec.input_layout == LAYOUT_NCHW else crops)
    words = [python_of(NNCF), "-m", "benchmarks.quantization.nncf_model", str(plain), str(batches), str(target)]
    done = subprocess.run(words, cwd=ROOT, env=environment_of(NNCF), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise PeerUnavailableError(f"NNCF failed: {done.stderr.strip()[-300:]}")
    return target
