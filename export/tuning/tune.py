"""Find the fastest form of a plain float model on this machine, and prove that it is equal to its source."""

from __future__ import annotations

import platform
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from edge_sphereface.cpu import read_cpuinfo, usable_cpus
from edge_sphereface.evaluation.model_selection import Measurement, Setting, choose, require_one_source, settings
from edge_sphereface.evaluation.timing import Deadline
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.metrics import agreement
from edge_sphereface.model.certificate import CONVERSION_BOUNDS
from export.faces import face_crops
from export.outputs import check_output
from export.plain import open_plain
from export.rewrite import to_winograd
from export.rewrite.fast import Measured, Rewritten, rewrite, weight_bytes
from export.rewrite.tile import StageForm, stage_names
from export.topology import STAGES
from export.tuning.search import combinations, measure_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge_sphereface.evaluation.model_selection import Choice, Row
    from export.quantization.search import Reporter
    from export.tuning.search import StageTimes

_MIB = 1 << 20
_KERNEL = re.compile(r"conv(\d)_(\d+)\.weight$")
_SEARCH_ROUNDS = 20
_STAGES_SHARE = 0.5
"""Part of the time limit that the search for forms of stages may take."""
_CROPS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningOptions:
    """Options of the tuning.

    Attributes:
        threads: numbers of threads to try.
        pinned_threads: also try threads bound to processors.
        batch: number of faces in one inference.
        rounds: number of samples of each whole network.
        combinations: number of whole networks to measure for each number of threads.
        max_seconds: time limit of the search for each number of threads. Writing the result with its proof follows.
        max_mib: largest size of the file in MiB; None for no limit.
        max_error: largest difference of a component from the plain network, relative to the largest component.
        others: paths of other forms of the network to measure as well, such as INT8.
    """

    threads: Sequence[int] = field(default_factory=lambda: [usable_cpus()])
    pinned_threads: bool = False
    batch: int = 1
    rounds: int = 100
    combinations: int = 3
    max_seconds: float = 120.0
    max_mib: float | None = None
    max_error: float = CONVERSION_BOUNDS.max_abs_error
    others: Sequence[Path] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """Result of the tuning.

    Attributes:
        stages: median latency in milliseconds by number of threads, stage and tile.
        choice: measurements of whole networks, the fastest first, and the one that is measurably the fastest.
        cut_short: what the time limit ended before its end, in words.
        inexact: error of the networks that exceed ``max_error`` and were not measured, by their stages.
        forms: forms of the chosen float network's stages that are in tiles.
        made: the chosen network, written and proven; None if none is measurably faster than the plain model, or if it
            was dropped.
    """

    stages: Mapping[int, StageTimes]
    choice: Choice
    cut_short: tuple[str, ...]
    inexact: Mapping[str, float]
    forms: Mapping[int, StageForm]
    made: Rewritten | None


def tune(
    source: Path,
    output: Path,
    options: TuningOptions,
    *,
    reporter: Reporter,
    note: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuned:
    """Find the fastest form, prove it equal to its source, and write it with its certificate.

    Args:
        source: path of the plain float ONNX file.
        output: path of the result.
        options: options of the tuning.
        reporter: returns a progress function for a named step.
        note: called with a description of each step.
        clock: monotonic time in seconds.

    Raises:
        ModelFormatError: the source is not a plain float32 model of this project.
        ParityError: the result differs from its source; nothing is written.
        OutputError: the output cannot be written.
    """
    check_output(output, source)
    original, plain = open_plain(source, "cpu")
    others = {path: Embedder(path, provider="cpu").spec for path in options.others}
    require_one_source({source: original.spec, **others})  # before minutes of search
    threads = list(dict.fromkeys(options.threads))
    deadline = Deadline(options.max_seconds * len(threads), clock)
    cut_short = list[str]()
    most = float("inf") if options.max_mib is None else options.max_mib * _MIB / weight_bytes(plain)
    times, wanted = {}, {stage_names({}, STAGES): dict[int, StageForm]()}
    for count in threads:
        setting = Setting(threads=count, pinned_threads=options.pinned_threads and count > 1, memory_arena=True)
        limit = Deadline(options.max_seconds * _STAGES_SHARE, clock)
        found = measure_stages(
            plain, setting, batch=options.batch, rounds=_SEARCH_ROUNDS, reporter=reporter, deadline=limit
        )
        if limit.passed:
            tried = ", ".join(f"{len(ways)} of stage {stage}" for stage, ways in found.items())
            cut_short.append(f"the forms of stages for {setting}: tried {tried}")
        times[count] = found
        for forms in combinations(found, lambda f: growth(plain, f), max_growth=most, count=options.combinations):
            wanted.setdefault(stage_names(forms, STAGES), forms)
    crops = face_crops(original.spec, _CROPS)
    expected = original.forward(crops)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        paths, inexact = {}, {}
        for names, forms in wanted.items():
            model, path = to_winograd(plain, forms, check=False), Path(folder) / f"{'-'.join(names)}.onnx"
            onnx.save(model, path)
            error = agreement(expected, Embedder(path, provider="cpu").forward(crops)).max_abs_error
            if not error <= options.max_error:
                inexact[path.stem] = error
                continue
            paths[path] = forms
        models = [source, *paths, *options.others]
        how = settings(threads, pinned=options.pinned_threads, arena=True)
        choice = choose(
            models,
            how,
            what=Measurement(batch=options.batch, rounds=options.rounds),
            beside=options.others,
            max_mib=options.max_mib,
            deadline=deadline,
            progress=reporter("networks"),
        )
    if choice.out_of_time:
        cut_short.append("the comparison of whole networks")
    best = choice.best
    source_is_dropped = any(form.path == source for form in choice.dropped)
    if best is None or source_is_dropped or best.form.path == source:
        return Tuned(stages=times, choice=choice, cut_short=tuple(cut_short), inexact=inexact, forms={}, made=None)
    forms = paths[best.form.path]
    note(f"writing {' '.join(stage_names(forms, STAGES))} for {best.setting}")
    measured = _measured(choice, best, source, options.batch, original)
    made = rewrite(source, output, forms=forms, measured=measured, note=note)
    return Tuned(stages=times, choice=choice, cut_short=tuple(cut_short), inexact=inexact, forms=forms, made=made)


def _measured(choice: Choice, best: Row, source: Path, batch: int, original: Embedder) -> Measured:
    """Return the latency of the chosen network and of the plain one with the same setting."""
    anew = [rival.row for rival in choice.rivals]
    plain = next((row for row in anew if row.form.path == source and row.setting == best.setting), None)
    return Measured(
        processor=read_cpuinfo()[0] or platform.machine(),
        onnxruntime=original.provider.library[1],
        setting=best.setting,
        batch=batch,
        samples=best.latency.samples,
        plain_ms=None if plain is None else plain.latency.median_ms,
        tuned_ms=best.latency.median_ms,
    )


def growth(plain: onnx.ModelProto, forms: Mapping[int, StageForm]) -> float:
    """Size of the weights with some stages in tiles divided by that of the plain model."""
    added = 0.0
    for tensor in plain.graph.initializer:
        layer = _KERNEL.match(tensor.name)
        tile = forms.get(int(layer[1]), StageForm()).tile(int(layer[2])) if layer else None
        if layer and tile:
            added += len(tensor.raw_data) * (tile.weight_growth(stride=2 if layer[2] == "1" else 1) - 1)
    return 1 + added / weight_bytes(plain)
