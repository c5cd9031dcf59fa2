"""Pass harmful models through the command line; each must be refused with a reason."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from benchmarks.peer_process import ROOT
from edge_sphereface.image import save_image
from export.graph import OUTPUT_NAME
from export.rewrite.weights import read_weights, rebuild

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.quantization.derived import Forms
    from edge_sphereface.types import UInt8Array

SCALE_FACTOR = 4
POISONED_CROPS = 120
_BALLAST_REPEATS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Attempt to pass a harmful model.

    Attributes:
        what: what is harmful.
        exit_code: exit code of the command.
        reason: bounds that the model missed, or the error.
        written: whether a model was written.
        refused: whether the command refused with a reason and wrote nothing.
    """

    what: str
    exit_code: int
    reason: str
    written: bool
    refused: bool


def poisoned_photographs(folder: Path, crops: UInt8Array) -> Path:
    """Remove nearly all contrast of crops, so that a calibration on them clips the values of real faces."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, crop in enumerate(crops):
        gray = np.clip(127 + (crop.astype(np.float32) - 127) * 0.05, 0, 255).astype(np.uint8)
        save_image(folder / f"{number:03d}.png", gray)
    return folder


def with_wrong_scale(int8: Path, target: Path) -> Path:
    """Multiply the scales of one layer of the model."""
    model = onnx.load(int8)
    weights = read_weights(model)
    # A layer inside a residual pair: at the end of a trunk, a factor would only scale the embedding.
    inside = [name for name in weights if re.fullmatch(r"conv\d_[2468]\.weight\.scale", name)]
    chosen = inside[len(inside) // 2]
    weights[chosen] = weights[chosen] * np.float32(SCALE_FACTOR)
    onnx.save(rebuild(model, model.graph.node, weights), target)
    return target


def with_ballast(int8: Path, target: Path) -> Path:
    """Slow the model down by a long chain of additions whose sum is zero."""
    model = onnx.load(int8)
    weights = read_weights(model)
    nodes = list(model.graph.node)
    last = type(nodes[-1])()
    last.CopyFrom(nodes[-1])
    last.output[0] = "answer"
    nodes[-1] = last
    nodes.append(helper.make_node("ReduceSum", ["answer"], ["total"], name="total", keepdims=0))
    weights["none"] = np.zeros((), np.float32)
    nodes.append(helper.make_node("Mul", ["total", "none"], ["zero"], name="zero"))
    weights["square"] = np.zeros((512, 512), np.float32)
    nodes.append(helper.make_node("Add", ["square", "zero"], ["ballast.0"], name="ballast.0"))
    for number in range(_BALLAST_REPEATS):
        inputs = [f"ballast.{number}", f"ballast.{number}"]
        nodes.append(helper.make_node("Add", inputs, [f"ballast.{number + 1}"], name=f"ballast.{number + 1}"))
    nodes.append(helper.make_node("ReduceSum", [f"ballast.{_BALLAST_REPEATS}"], ["weight"], name="weight", keepdims=0))
    nodes.append(helper.make_node("Add", ["answer", "weight"], [OUTPUT_NAME], name=OUTPUT_NAME))
    onnx.save(rebuild(model, nodes, weights), target)
    return target


def attempts(forms: Forms, folder: Path, crops: UInt8Array, proof_options: Sequence[str]) -> list[Attempt]:
    """Try every harmful model, and return its exit code and the reason.

    Args:
        forms: forms of the trained model.
        folder: folder of the harmful files.
        crops: (N, H, W, 3) uint8 BGR, real faces.
        proof_options: options of the command line for the labeled pairs.
    """
    poisoned = poisoned_photographs(folder / "poisoned", crops[:POISONED_CROPS])
    target = folder.absolute() / "poisoned.onnx"
    target.unlink(missing_ok=True)  # of an earlier run
    wrong = with_wrong_scale(forms.int8, target.with_name("wrong-scale.onnx"))
    slow = with_ballast(forms.int8, target.with_name("slow.onnx"))
    plain = str(forms.plain.absolute())
    quantize = ["quantize", plain, "--calibration", str(poisoned.absolute()), "-o", str(target), *proof_options]
    verify = ["--float", plain, *proof_options]
    return [
        _attempt("a poisoned calibration", quantize, target),
        _attempt(f"a scale off by {SCALE_FACTOR}", ["verify", str(wrong), *verify]),
        _attempt("slower than float", ["verify", str(slow), *verify]),
    ]


def _attempt(what: str, words: list[str], target: Path | None = None) -> Attempt:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "export", *words, "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    answer = json.loads(done.stdout)
    missed = answer["proof"]["missed"] if "proof" in answer else [answer["error"]["message"]]
    written = target is not None and target.exists()
    return Attempt(
        what=what,
        exit_code=done.returncode,
        reason="; ".join(missed),
        written=written,
        refused=done.returncode == 1 and bool(missed) and not written,
    )
