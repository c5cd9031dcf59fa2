"""Measure all promises of the tuning in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from benchmarks import runner
from benchmarks.case_row import FormRow
from benchmarks.contenders import find_peer
from benchmarks.latency import example_crops
from benchmarks.peer_environments import PeerUnavailableError
from benchmarks.quantization import derived
from benchmarks.runner import Case
from benchmarks.tuning import gemm_peak
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.compare import normalize
from edge_sphereface.detection import open_detector
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.model.quantization import INT8_TARGETS, TARGET_OPENVINO, TARGET_PORTABLE
from export.parity import normalize_plainly
from export.plain import open_plain
from export.quantization.crops import proof_crops
from export.rewrite import to_winograd
from export.rewrite.tile import read_stages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from export.quantization.search import Reporter

PEERS = ("ncnn", "openvino", "mnn", "opencv_dnn")
BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Setup of the run.

    Attributes:
        plain: float ONNX file with layout ``nchw``, which every peer accepts.
        tuned: forms that ``export tune`` wrote; each number of threads and each batch uses the form tuned for it.
        int8: quantized forms of different targets.
        trained: plain float ONNX file for the exactness; may be the same as ``plain``.
        photographs: folder of photographs for the exactness and for the peer's INT8.
        crops: largest number of crops for the exactness.
        peers: names among :data:`PEERS`.
        threads: numbers of threads of one inference.
        rounds: number of samples of each case.
        restarts: number of starts of every process.
        folder: folder of the files that are made.
    """

    plain: Path
    tuned: tuple[Path, ...]
    int8: tuple[Path, ...]
    trained: Path
    photographs: Path
    crops: int
    peers: tuple[str, ...]
    threads: tuple[int, ...]
    rounds: int
    restarts: int
    folder: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """Matrix product, whose rate limits direct convolution.

    Attributes:
        size: rows and columns of the square matrices.
        median_ms: median duration in milliseconds by number of threads.
    """

    size: int
    median_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """Agreement of a tuned graph and the plain one.

    Attributes:
        stages: name of the tile of each stage.
        crops: number of crops.
        min_cosine: least cosine similarity of their embeddings.
    """

    stages: tuple[str, ...]
    crops: int
    min_cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the tuning promises, measured.

    Attributes:
        rows: latency of each form and number of threads.
        gflop: multiplications and additions of one inference of the plain model, in billions.
        product: matrix product of this machine.
        exactness: agreement of each tuned graph and the plain one.
    """

    rows: tuple[FormRow, ...]
    gflop: float
    product: Product
    exactness: tuple[Exactness, ...]


def measure(setup: Setup, *, reporter: Reporter) -> Figures:
    """Time every form and peer in turn, and compare the tuned graphs with the plain one.

    Args:
        setup: setup of the run.
        reporter: returns a progress function for a named step.
    """
    spec = Embedder(setup.plain, provider="cpu").spec
    crops = example_crops(spec, BATCH)
    floats = normalize_plainly(crops, spec)
    int8 = _by_target(setup.int8)  # before NNCF takes minutes
    nncf = _nncf(setup)
    rows: list[FormRow] = []
    limits = {}
    for count in setup.threads:
        cases = _cases(setup, count, int8, nncf)
        before = _product_ms(count)
        progress = reporter(f"latency, threads: {count}")
        measured = runner.measure_restarted(
            list(cases.values()), crops, floats, rounds=setup.rounds, restarts=setup.restarts, progress=progress
        )
        rows += [FormRow(form=form, row=row) for form, row in zip(cases, measured, strict=True)]
        limits[str(count)] = float(np.median([*before, *_product_ms(count)]))
    return Figures(
        rows=tuple(rows),
        gflop=_flop(setup.plain) / 1e9,
        product=Product(size=gemm_peak.SIZE, median_ms=limits),
        exactness=tuple(_exactness(setup, reporter)),
    )


def _cases(setup: Setup, count: int, int8: Mapping[str, Path], nncf: tuple[Path, str] | None) -> dict[str, Case]:
    """Return the cases by form; the first one is the reference for correctness."""
    case = partial(Case, threads=count, batch=1, precision="float32")
    tuned, batched = (_tuned_for(setup.tuned, count, batch) for batch in (1, BATCH))
    title, batched_title = (f"tuned: {', '.join(_stages(path))}" for path in (tuned, batched))
    cases = {
        "plain": case(contender="onnxruntime_plain", model=setup.plain, label="plain export on onnxruntime"),
        "tuned": case(contender="edge_tuned", model=tuned, label=title),
        "tuned_batch": case(
            contender="edge_tuned", model=batched, label=f"{batched_title}, batch {BATCH}", batch=BATCH
        ),
        "tuned_default": case(contender="edge", model=tuned, label="tuned, default session"),
    }
    cases |= {name: case(contender=name, model=setup.plain, label=find_peer(name).title) for name in setup.peers}
    if nncf is None:
        return cases
    whole = partial(case, precision="int8")
    for target, path in int8.items():
        if target == TARGET_OPENVINO:
            cases["plain_on_provider"] = case(
                contender="edge_openvino", model=setup.plain, label="plain export on the provider openvino"
            )
            label = "INT8 for OpenVINO, on the provider openvino"
            cases[int8_form(target)] = whole(contender="edge_openvino", model=path, label=label)
        else:
            label = "INT8" if target == TARGET_PORTABLE else f"INT8, target {target}"
            cases[int8_form(target)] = whole(contender="edge_tuned", model=path, label=label)
            if target == TARGET_PORTABLE or "int8_openvino" not in cases:
                label = f"OpenVINO: the same {label}"
                cases["int8_openvino"] = whole(contender="openvino", model=path, label=label)
    path, problem = nncf
    cases["int8_nncf"] = whole(contender="openvino", model=path, label="OpenVINO: NNCF's INT8", refusal=problem)
    return cases


def int8_form(target: str) -> str:
    """Name of the row of an INT8 form that was made for a target."""
    return "int8" if target == TARGET_PORTABLE else f"int8_for_{target.replace('-', '_')}"


def _by_target(paths: Sequence[Path]) -> dict[str, Path]:
    """Return INT8 models by target.

    Raises:
        UsageError: a model is not quantized, or two have the same target.
    """
    models: dict[str, Path] = {}
    for path in paths:
        record = Embedder(path, provider="cpu").spec.quantization
        if record is None or record.target not in INT8_TARGETS:
            raise UsageError(f"--int8 expects models in INT8, got another one: {path}.")
        if record.target in models:
            raise UsageError(f"--int8 expects different targets, got two of target {record.target!r}: {path}.")
        models[record.target] = path
    return models


def _tuned_for(paths: Sequence[Path], threads: int, batch: int) -> Path:
    """Return the model that was tuned for the same number of threads and faces, or else of threads."""

    def distance(path: Path) -> tuple[bool, bool]:
        record = Embedder(path, provider="cpu").spec.tuning
        return record is None or record.threads != threads, record is None or record.batch != batch

    return min(paths, key=distance)


def _stages(path: Path) -> tuple[str, ...]:
    record = Embedder(path, provider="cpu").spec.tuning
    return record.stages if record is not None else ()


def _nncf(setup: Setup) -> tuple[Path, str] | None:
    """Return NNCF's INT8 of the plain model, or the reason why it is missing."""
    if not setup.int8:
        return None
    try:
        return derived.by_nncf(setup.plain, setup.folder, setup.photographs), ""
    except PeerUnavailableError as error:
        return setup.plain, str(error)


def _product_ms(threads: int) -> list[float]:
    """Time numpy's matrix products in a separate process, in milliseconds."""
    variables = {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    words = [sys.executable, gemm_peak.__file__]
    done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=True)  # noqa: S603
    samples: list[float] = json.loads(done.stdout)
    return samples


def _flop(path: Path) -> int:
    """Count the multiplications and additions of one inference of a plain model."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            positions = shapes[node.output[0]][2].dim_value * shapes[node.output[0]][3].dim_value
            total += 2 * int(np.prod(weights[node.input[1]])) * positions
        elif node.op_type == "Gemm":
            total += 2 * int(np.prod(weights[node.input[1]]))
    return total


def _exactness(setup: Setup, reporter: Reporter) -> list[Exactness]:
    """Cosine similarity of each tuned graph and the plain one with trained weights, over crops of photographs."""
    original, plain = open_plain(setup.trained, "cpu")
    progress = reporter("crops")
    crops = proof_crops(setup.photographs, original.spec, open_detector(), count=setup.crops, progress=progress)
    expected = normalize(original.forward(crops)).astype(np.float64)
    rows = []
    for stages in dict.fromkeys(_stages(path) for path in setup.tuned):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "tuned.onnx"
            onnx.save(to_winograd(plain, read_stages(stages)), path)
            got = normalize(Embedder(path, provider="cpu").forward(crops))
        cosine = float(np.minimum(np.einsum("nd,nd->n", got, expected), 1).min())
        rows.append(Exactness(stages=stages, crops=len(crops), min_cosine=cosine))
    return rows
