"""Make every form of the network that a device may run from one checkpoint, and keep the files."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edge_sphereface.compare import normalize
from edge_sphereface.evaluation.latency import Plan
from edge_sphereface.image import save_image
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.quantization import (
    TARGET_ARM64,
    TARGET_PORTABLE,
    TARGET_X86_VNNI,
    WEIGHT_BITS,
    Quantization,
    Target,
)
from edge_sphereface.model.spec import LAYOUT_IMAGE, METADATA_KEY
from edge_sphereface.storage.files import sha256_of
from export.convert import ConversionOptions, convert
from export.faces import astronaut, face_crops
from export.layers import layers_of
from export.official import OFFICIAL, official_path
from export.plain import open_plain
from export.presets import NOTHING_TOLD
from export.quantization.activation_statistics import embed_all, histograms
from export.quantization.kernels import KERNELS
from export.quantization.qdq import quantize_graph
from export.quantization.ranges import RULES
from export.rewrite import decompose_prelu
from export.rewrite.fast import rewrite
from export.rewrite.tile import read_stages
from export.untrained import write_untrained

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from export.presets import Told

ROOT = Path(__file__).resolve().parents[2]
PLAIN, REWRITTEN, WINOGRAD = "plain", "rewritten", "winograd"
INT8_FORMS: tuple[Target, ...] = (TARGET_PORTABLE, TARGET_ARM64, TARGET_X86_VNNI)
"""INT8 targets that the emulated processors run: others are for AMX and OpenVINO."""
_STAGES = ("7x4s", "4x6s+7x6s", "7x3ps+7x3ps", "4x3ps+4x3ps")
"""Forms of the stages with the fewest instructions on Arm that keep the bounds of a rewrite with the untrained weights;
boards may be faster with others."""
_SOURCES = ("edge_sphereface/**/*.py", "export/**/*.py", "benchmarks/arm64/models.py")
_UNTRAINED = "untrained.ckpt"
_RULE = "percentile-99.99"
_CALIBRATION_CROPS = 16
_CROPS = 4
_UNTIMED = Plan(rounds=1, per_round=1)
"""The forms run on other cores: how fast they are on this machine decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Models and inputs of the runs.

    Attributes:
        name: name of the network and its weights.
        key: what follows from the checkpoint and the code that made the models.
        floats: float32 ONNX files by form.
        int8: quantized ONNX files by target.
        photo: photograph with a face.
        mirrored: mirror image of the photograph.
        crops: array file with crops, (N, H, W, 3) uint8 BGR.
        count: number of crops N.
    """

    name: str
    key: str
    floats: Mapping[str, Path]
    int8: Mapping[str, Path]
    photo: Path
    mirrored: Path
    crops: Path
    count: int = _CROPS


def prepare(
    checkpoint: Path | None,
    *,
    folder: Path,
    told: Told = NOTHING_TOLD,
    note: Callable[[str], None] = lambda _: None,
) -> Models:
    """Make the models, or reuse those that the same code made from the same checkpoint.

    INT8 is calibrated on one face without a search for rules, since one file is compared on two processors.

    Args:
        checkpoint: file of weights; None for the official one if it is in the cache, else random weights.
        folder: folder of the models.
        told: what the user tells of the network; the rest is recognized.
        note: called with a description of each step.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        TopologyError: it holds a different network, or does not tell its publisher.
        ParityError: a model differs from its checkpoint.
    """
    official = OFFICIAL.matches(official_path())
    source = checkpoint or (official_path() if official else None)
    target = folder / f"models-{_fingerprint(source, told)}"
    if not target.is_dir():
        part = target.with_name(f"{target.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        _make(source, part, told, note)
        part.rename(target)
    spec = Embedder(target / f"{PLAIN}.onnx", provider="cpu").spec
    weights = source.name if source else "untrained weights (random, fixed seed)"
    return Models(
        name=f"{spec.architecture}, channels {', '.join(map(str, spec.widths))}: {weights}",
        key=target.name,
        floats={form: target / f"{form}.onnx" for form in (PLAIN, REWRITTEN, WINOGRAD)},
        int8={form: target / f"{form}.onnx" for form in INT8_FORMS},
        photo=target / "photo.png",
        mirrored=target / "mirrored.png",
        crops=target / "crops.npy",
    )


def _make(checkpoint: Path | None, folder: Path, told: Told, note: Callable[[str], None]) -> None:
    if checkpoint is None:
        note("writing a checkpoint with random weights")
        checkpoint = folder / _UNTRAINED
        write_untrained(checkpoint)
    plain = folder / f"{PLAIN}.onnx"
    options = ConversionOptions(input_layout=LAYOUT_IMAGE, told=told, reference="numpy")
    convert(checkpoint, plain, options, note=note)
    for name, forms in ((REWRITTEN, {}), (WINOGRAD, read_stages(_STAGES))):
        rewrite(plain, folder / f"{name}.onnx", forms=forms, max_ratio=float("inf"), plan=_UNTIMED, note=note)
    _quantize(plain, {target: folder / f"{target}.onnx" for target in INT8_FORMS}, note)
    (folder / _UNTRAINED).unlink(missing_ok=True)
    photo = astronaut()
    save_image(folder / "photo.png", photo)
    save_image(folder / "mirrored.png", np.ascontiguousarray(photo[:, ::-1]))
    np.save(folder / "crops.npy", face_crops(Embedder(plain, provider="cpu").spec, _CROPS))


def _quantize(source: Path, outputs: Mapping[Target, Path], note: Callable[[str], None]) -> None:
    original, plain = open_plain(source, "cpu")
    crops = face_crops(original.spec, _CALIBRATION_CROPS)
    expected = normalize(embed_all(plain, crops, original.spec))
    rewritten = decompose_prelu(plain)
    ranges = {name: RULES[_RULE](histogram) for name, histogram in histograms(rewritten, crops, original.spec).items()}
    for target, output in outputs.items():
        note(f"quantizing for {target}")
        model = quantize_graph(rewritten, original.spec, ranges, kernels=KERNELS[target])
        cosines = np.einsum("nd,nd->n", expected, normalize(embed_all(model, crops, original.spec)))
        record = Quantization(
            target=target,
            weight_bits=WEIGHT_BITS[target],
            rules=tuple((layer, _RULE) for layer in layers_of(plain)),
            equalization=0.0,
            bias_correction=False,
            float_layers=(),
            calibration_crops=len(crops),
            float_sha256=sha256_of(source),
            proof_crops=len(crops),
            cosine_mean=float(cosines.mean()),
            cosine_p1=float(np.percentile(cosines, 1)),
            cosine_min=float(cosines.min()),
        )
        spec = replace(original.spec, precision="int8", rewrites=("prelu",), quantization=record)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {METADATA_KEY: spec.to_json()})
        onnx.save(model, output)


def _fingerprint(checkpoint: Path | None, told: Told) -> str:
    digest = hashlib.sha256(b"" if checkpoint is None else sha256_of(checkpoint).encode())
    digest.update(repr(told).encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
