"""Count what other runtimes execute for one inference on emulated Arm cores, beside this project's forms."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from benchmarks.arm64 import marked_ncnn, marked_peer
from benchmarks.arm64.cores import CORES
from benchmarks.arm64.cost_model import fit, modelled_ms, published
from benchmarks.arm64.instructions import SOURCE, Counts, build_plugin, count_marked
from benchmarks.arm64.kept_results import KeptResults, installed_packages
from benchmarks.arm64.marked_peer import PeerJob
from benchmarks.arm64.ncnn_networks import network_graph
from benchmarks.arm64.skipped_cases import OURS
from benchmarks.contenders import find_peer
from benchmarks.contenders.contender import FLOAT16, FLOAT32
from benchmarks.emulation.debian import EmulationError
from benchmarks.emulation.processors import PROCESSORS
from benchmarks.peer_environments import PeerUnavailableError, environment_of, has_own_environment, python_of
from benchmarks.stages import form_of
from edge_sphereface.cli.runner import UsageError
from edge_sphereface.inference.embedder import Embedder, preprocess
from edge_sphereface.metrics import agreement
from edge_sphereface.model.ncnn_file import is_ncnn_file
from edge_sphereface.model.spec import LAYOUT_NCHW
from edge_sphereface.storage.files import ensure_folder, sha256_of
from export.faces import face_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.arm64.cost_model import CostModel, Network
    from benchmarks.arm64.skipped_cases import Skip
    from benchmarks.contenders import Peer
    from benchmarks.contenders.contender import Precision
    from benchmarks.emulation.emulator import EmulatedPython, Emulator
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float32Array

CaseT = TypeVar("CaseT")
RowT = TypeVar("RowT")

ROOT = Path(__file__).resolve().parents[2]
LEAST_COSINE = 0.99
"""A run whose output is further from the float reference computes something else: an error, not a count."""
_RUNTIME = ("numpy", "onnxruntime", "opencv-python-headless")
_PEER_WORKER, _NCNN_WORKER = Path(marked_peer.__file__), Path(marked_ncnn.__file__)
_FIRST_NCNN_FOR_NUMPY_2 = "1.0.20240820"
_CONVERTERS = ("pnnx",)
"""Packages of the peers' environments that convert models on this machine, and do not run on the core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerCase:
    """What is counted.

    Attributes:
        processor: name of the core.
        contender: name of the contender's module.
        model: path of the model.
        precision: precision in which the contender computes.
        stored: precision of the model.
        graph: ``plain``, or the rewrites of the model's graph.
    """

    processor: str
    contender: str
    model: Path
    precision: Precision
    stored: str
    graph: str

    @property
    def row_precision(self) -> str:
        """Precision in which the model is computed: that of the file unless it is a float32 one."""
        return self.precision if self.stored == FLOAT32 else self.stored

    @property
    def label(self) -> str:
        """Name in tables, without the core."""
        title = find_peer(self.contender).title
        half = " in float16" if self.precision == FLOAT16 else ""
        return f"{title}: {self.model.name}{half}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Counts of a case that ran.

    Attributes:
        version: version of the contender, as it states it on the core.
        cosine: cosine similarity of the embedding to that of the first model on this machine.
        counts: instructions and moved data.
    """

    version: str
    cosine: float
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRow:
    """A case with its counts.

    Attributes:
        processor: name of the core.
        label: contender, model and precision, in words.
        contender: name of the contender.
        model: file name of the model.
        precision: precision in which the model is computed.
        graph: ``plain``, or the rewrites of the model's graph.
        counted: the counts; None if the case failed.
        modelled_ms: time by the cost model in milliseconds, no measurement; None for a board without published times.
        error: reason of a failure; empty for a case that ran.
        skipped: reason why the case was left out; empty for a case that was not.
    """

    processor: str
    label: str
    contender: str
    model: str
    precision: str
    graph: str
    counted: Counted | None
    modelled_ms: float | None = None
    error: str = ""
    skipped: str = ""


def select_peer_cases(
    specs: Mapping[Path, ModelSpec], peers: Sequence[str], processors: Sequence[str]
) -> list[PeerCase]:
    """Return the cases: this project's runtime runs every model, others the first one and, if they can, quantized ones.

    Args:
        specs: models with their specifications; the first one is the float reference.
        peers: names of the other contenders.
        processors: names in ``CORES``.

    Raises:
        UsageError: the first model is not a float32 file with layout ``nchw``, which every contender reads.
    """
    first = next(iter(specs))
    if specs[first].precision != FLOAT32 or specs[first].input_layout != LAYOUT_NCHW:
        raise UsageError(
            f"Expected a float32 file with layout nchw as the first model, got {first.name} "
            f"({specs[first].precision}, {specs[first].input_layout}).",
            hint="convert the checkpoint with --input-layout nchw",
        )

    def case(processor: str, contender: str, path: Path, precision: Precision = FLOAT32) -> PeerCase:
        return PeerCase(
            processor=processor,
            contender=contender,
            model=path,
            precision=precision,
            stored=specs[path].precision,
            graph=form_of(specs[path]),
        )

    cases = []
    for processor in processors:
        cases += [case(processor, OURS, path) for path in specs]
        for name in peers:
            peer = find_peer(name)
            cases.append(case(processor, name, first))
            if peer.has_half and CORES[processor].has_half:
                cases.append(case(processor, name, first, FLOAT16))
            if peer.takes_quantized:
                cases += [case(processor, name, path) for path, spec in specs.items() if spec.precision == "int8"]
    return cases


class PeerCounter:
    """Counts cases, and keeps their results in a folder, by everything that they depend on.

    Args:
        emulator: emulator of the cores.
        reference: the first model.
        folder: folder of converted models and kept results.

    Raises:
        EmulationError: emulation is not available on this machine.
    """

    def __init__(self, emulator: Emulator, reference: Path, folder: Path) -> None:
        self._emulator = emulator
        self._folder = ensure_folder(folder.absolute())
        self._reference = reference
        embedder = Embedder(reference, provider="cpu")
        crops = face_crops(embedder.spec, 1)
        np.save(self._folder / "crops.npy", crops)
        np.save(self._folder / "floats.npy", preprocess(crops, replace(embedder.spec, input_layout=LAYOUT_NCHW)))
        self._expected: Float32Array = embedder.forward(crops)
        self._plugin = build_plugin(emulator)
        self._results = KeptResults(self._folder / "counts")
        self._lock = threading.Lock()  # environments and converted models are made once

    def count(self, case: PeerCase) -> Counted:
        """Count a case, or return the kept counts of the same case.

        Raises:
            EmulationError: the contender cannot be installed or failed, or its output is wrong.
        """
        peer = find_peer(case.contender)
        with self._lock:
            python = self._python(peer, case)
        module = ROOT / "benchmarks" / "contenders" / f"{case.contender}.py"
        files = (case.model, self._reference, module, _PEER_WORKER)
        depends = [case.contender, case.precision, *map(sha256_of, files)]
        return self._kept(Counted, case.processor, python, depends, lambda: self._count(case, peer, python))

    def count_network(self, network: Network) -> Counts:
        """Count an inference of a network of ncnn's benchmark, or return the kept counts.

        Raises:
            EmulationError: ncnn cannot be installed or failed.
        """
        numpy = "numpy<2" if network.ncnn < _FIRST_NCNN_FOR_NUMPY_2 else "numpy"
        with self._lock:
            packages = self._emulator.install([f"ncnn=={network.ncnn}", numpy], name=f"ncnn-{network.ncnn}")
            python = self._with_packages(network.processor, packages)
        text = network_graph(network.network)
        depends = [text, network.precision, sha256_of(_NCNN_WORKER)]

        def count() -> Counts:
            with tempfile.TemporaryDirectory() as name:
                graph = Path(name) / f"{network.network}.param"
                graph.write_text(text, encoding="ascii")
                words = [str(_NCNN_WORKER), str(graph), network.precision]
                return count_marked(python, self._plugin, words, CORES[network.processor].caches)

        return self._kept(Counts, network.processor, python, depends, count)

    def _kept(
        self,
        kind: type[RowT],
        processor: str,
        python: EmulatedPython,
        depends: Sequence[str],
        count: Callable[[], RowT],
    ) -> RowT:
        """Return a result that is kept from an earlier run, else count and keep it."""
        packages = Path(python.variables["PYTHONPATH"].split(os.pathsep)[0])
        words = [processor, self._emulator.version(), sha256_of(SOURCE), repr(CORES[processor].caches)]
        words += [*depends, *installed_packages(packages)]
        counted = self._results.read(kind, words)
        if counted is None:
            counted = count()
            self._results.keep(counted, words)
        return counted

    def _count(self, case: PeerCase, peer: Peer, python: EmulatedPython) -> Counted:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            job = PeerJob(
                contender=case.contender,
                model=str(case.model.absolute()),
                precision=case.precision,
                folder=str(self._folder),
                crops=str(self._folder / "crops.npy"),
                floats=str(self._folder / "floats.npy"),
                output=str(folder / "output.npy"),
                version=str(folder / "version.txt"),
            )
            words = [str(_PEER_WORKER), str(folder / "job.json")]
            (folder / "job.json").write_text(job.to_json(), encoding="utf-8")
            if has_own_environment(peer):
                with self._lock:
                    _convert_here(peer, words)
            counts = count_marked(python, self._plugin, words, CORES[case.processor].caches)
            output = np.load(job.output)[None]
            stated = Path(job.version).read_text(encoding="utf-8")
        found = agreement(self._expected, output).min_cosine if output.shape == self._expected.shape else -1.0
        if found < LEAST_COSINE:
            raise EmulationError(
                f"Expected an embedding with a cosine of at least {LEAST_COSINE} to the float reference, "
                f"and {case.label} computes one of {found:.4f}."
            )
        return Counted(version=stated, cosine=found, counts=counts)

    def _python(self, peer: Peer, case: PeerCase) -> EmulatedPython:
        if has_own_environment(peer):
            alone = [name for name in peer.without_dependencies if name not in _CONVERTERS]
            packages = self._emulator.install(peer.requirements, alone=alone, name=peer.name)
        else:
            extras = ("ncnn",) if is_ncnn_file(case.model) else ()
            wanted = [f"{name}=={version(name)}" for name in (*_RUNTIME, *extras)]
            packages = self._emulator.install(wanted, name="-".join(("runtime", *extras)))
        return self._with_packages(case.processor, packages)

    def _with_packages(self, processor: str, packages: Path) -> EmulatedPython:
        emulated = PROCESSORS[CORES[processor].emulated_as or processor]
        python = self._emulator.python(emulated, packages=packages)
        variables = {
            **python.variables,
            "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}",
            "HOME": str(self._folder),
            "OMP_NUM_THREADS": "1",
        }
        return replace(python, variables=variables)


def _convert_here(peer: Peer, words: Sequence[str]) -> None:
    """Run a contender on this machine, which converts the model for the core."""
    try:
        python = python_of(peer)
    except PeerUnavailableError as error:
        raise EmulationError(str(error)) from error
    done = subprocess.run(  # noqa: S603
        [python, *words],
        env={**environment_of(peer), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EmulationError(f"{peer.title} does not convert the model: {done.stderr.strip()[-300:]}")


def count_peers(
    cases: Sequence[PeerCase],
    counter: PeerCounter,
    *,
    skips: Sequence[Skip] = (),
    model: CostModel | None = None,
    at_once: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    note: Callable[[str], None] = lambda _: None,
) -> list[PeerRow]:
    """Count all cases; one that fails or is left out is a row with its reason.

    Args:
        cases: what is counted.
        counter: counts one case.
        skips: cases to leave out.
        model: the cost model; None for no modelled times.
        at_once: number of cases that run at a time.
        progress: called with the numbers of done and of all cases.
        note: called with a description of each result.
    """

    def row(case: PeerCase) -> PeerRow:
        counted, modelled, error = None, None, ""
        skipped = next((skip.reason for skip in skips if skip.covers(case)), "")
        try:
            counted = None if skipped else counter.count(case)
        except EmulationError as problem:
            error = str(problem)
        if counted and model and case.processor in model.bandwidth_gb_s:
            modelled = modelled_ms(counted.counts, CORES[case.processor], model.bandwidth_gb_s[case.processor])
        said = f"{counted.counts.instructions / 1e6:.0f} million instructions" if counted else error or skipped
        note(f"{case.processor:<12} {case.label}: {said}")
        return PeerRow(
            processor=case.processor,
            label=case.label,
            contender=case.contender,
            model=case.model.name,
            precision=case.row_precision,
            graph=case.graph,
            counted=counted,
            modelled_ms=modelled,
            error=error,
            skipped=skipped,
        )

    return _at_once(row, cases, at_once, progress)


def count_published(
    counter: PeerCounter, *, at_once: int = 1, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> CostModel:
    """Count the networks of ncnn's benchmark, and fit and judge the cost model by their published times.

    Args:
        counter: counts one network.
        at_once: number of networks that run at a time.
        progress: called with the numbers of done and of all networks.

    Raises:
        EmulationError: ncnn cannot be installed or failed.
    """
    rows = published()
    networks = list(dict.fromkeys(row.network for row in rows))
    counts = dict(zip(networks, _at_once(counter.count_network, networks, at_once, progress), strict=True))
    return fit([(row, counts[row.network]) for row in rows])


def _at_once(
    count: Callable[[CaseT], RowT], cases: Sequence[CaseT], number: int, progress: Callable[[int, int], None]
) -> list[RowT]:
    results = []
    with ThreadPoolExecutor(number) as pool:
        for result in pool.map(count, cases):
            results.append(result)
            progress(len(results), len(cases))
    return results
