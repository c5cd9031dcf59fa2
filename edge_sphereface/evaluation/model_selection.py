"""Selects the model file and the session setting to use on this device, by measurement.

A plain, a rewritten and a quantized model of one network identify the same people, but which is fastest depends on
cores, caches and memory. Every model is measured with every setting, in turns. One model is loaded at a time, so the
largest model determines the memory, and a board that heats up slows all of them equally.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface.errors import EdgeSphereFaceError, ExtraError, ModelFormatError
from edge_sphereface.evaluation.latency import Plan, Ratio, measure_rounds, ratio
from edge_sphereface.evaluation.machine_load import LoadMeter, MachineLoad
from edge_sphereface.evaluation.timing import Deadline, LatencySummary, summarize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import CPU, SessionConfig, short_name
from edge_sphereface.json_output import INLINE, OMIT_NONE
from edge_sphereface.model.certificate import certificate_path, check_on_device, golden_crops, load_certificate
from edge_sphereface.model.ncnn_file import is_ncnn_file, read_ncnn_model
from edge_sphereface.model.quantization import TARGET_OPENVINO, ProcessorWarning, mismatch_here, provider_mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import Float64Array

    Case = tuple["Form", "Setting"]

_SEARCH_ROUNDS = 4
_SEARCH_SHARE = 0.4
"""Part of the time limit, and of the samples, that the search takes."""
_SEARCHED = 1.1
"""Largest ratio of latencies at which the search measures a model in one more round."""
_NEAR = 1.05
"""Largest ratio of latencies at which a simpler model is measured again together with the fastest one."""
_CERTAIN_ROUNDS, _CERTAIN, _HOPELESS = 8, 0.999, 0.5
"""Rounds from which a ratio is not measured further if the first interval excludes 1, or if the second, smaller one
includes it: then more rounds would hardly show that the fastest is faster. Looking after every round would make chance
findings of a 95 % interval more frequent."""
_PRECISIONS = ("float32", "weights8", "float16", "float16-large-tiles", "int8")
"""Precisions, simplest first."""
_NO_SETTING = "a form for ncnn is tried on the provider cpu, without pinned threads and arena: no setting is that"
_MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Setting of a session, as in :class:`edge_sphereface.inference.session.SessionConfig`.

    Attributes:
        threads: threads of one inference.
        pinned_threads: whether each helper thread is bound to a processor of its own.
        memory_arena: whether the session keeps freed memory for the next inference.
        provider: execution provider; None, and left out in JSON, if the setting names none.
    """

    threads: int
    pinned_threads: bool = False
    memory_arena: bool = False
    provider: str | None = field(default=None, metadata=OMIT_NONE)

    def __str__(self) -> str:
        words = [] if self.provider is None or self.is_on_cpu else [self.provider]
        words += [f"{self.threads} thread{'s' if self.threads > 1 else ''}"]
        words += ["pinned"] if self.pinned_threads else []
        return ", ".join(words + (["arena"] if self.memory_arena else []))

    def config(self, provider: str) -> SessionConfig:
        """Session options with this setting, on ``provider`` if it names none."""
        return SessionConfig(
            provider=self.provider or provider,
            threads=self.threads,
            pinned_threads=self.pinned_threads,
            memory_arena=self.memory_arena,
        )

    @property
    def is_on_cpu(self) -> bool:
        """Whether no other provider than that of the CPU is named."""
        return self.provider is None or short_name(self.provider) == short_name(CPU)

    def suits(self, model: Path) -> bool:
        """Whether a model can run with this setting: ncnn has no pinned threads, no memory arena and no providers."""
        is_plain = not self.pinned_threads and not self.memory_arena and self.is_on_cpu
        return is_plain or not is_ncnn_file(model)

    def open(self, model: Path, provider: str, batch: int = 1) -> Embedder:
        """Load a model with this setting, for inferences of ``batch`` faces."""
        return Embedder(model, session=self.config(provider), batch_size=batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What to measure.

    Attributes:
        provider: execution provider.
        batch: number of faces per inference.
        rounds: number of samples of each model and setting; fewer in the search.
    """

    provider: str = "cpu"
    batch: int = 1
    rounds: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A model file: one form of the network.

    Attributes:
        path: path of the file.
        spec: specification of the model.
        bytes: size of the file, which approximates the memory of its weights.
        certified: whether its certificate was met on this device; None without a certificate, or if it was not read.
        dropped: why the model is excluded; empty if it is not.
    """

    path: Path
    spec: ModelSpec
    bytes: int
    certified: bool | None
    dropped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Latency of one inference of a model with a setting."""

    form: Form
    setting: Setting
    latency: LatencySummary

    def report(self) -> RowReport:
        """This row for the output of a command."""
        spec = self.form.spec
        return RowReport(
            model=self.form.path,
            bytes=self.form.bytes,
            precision=spec.precision,
            rewrites=spec.rewrites,
            stages=spec.tuning.stages if spec.tuning else None,
            setting=self.setting,
            latency=self.latency,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReport:
    """Latency of one inference of a model with a setting, for the output of a command.

    Attributes:
        model: path of the ONNX file.
        bytes: size of the file.
        precision: ``float32``, ``float16`` or ``int8``; models made by other tools may name another.
        rewrites: names of the graph rewrites applied to the model, in order.
        stages: how each of the four stages is computed; None for a model that was not rewritten for speed.
        setting: setting of the session.
        latency: latency of one inference.
    """

    model: Path
    bytes: int
    precision: str
    rewrites: tuple[str, ...]
    stages: tuple[str, ...] | None
    setting: Setting = field(metadata=INLINE)
    latency: LatencySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalReport:
    """Comparison of the fastest row with a simpler one, for the output of a command.

    Attributes:
        row: the simpler row, measured again.
        fastest_over_this: latency of the fastest row divided by that of this row.
    """

    row: RowReport = field(metadata=INLINE)
    fastest_over_this: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A simpler row that was compared with the fastest one, on samples that were not part of the search.

    Attributes:
        row: the simpler row, with the latency measured again.
        ratio: latency of the fastest row divided by that of this row.
    """

    row: Row
    ratio: Ratio

    def report(self) -> RivalReport:
        """This rival for the output of a command."""
        return RivalReport(row=self.row.report(), fastest_over_this=self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Result of a model selection.

    Attributes:
        rows: rows of the search, fastest first.
        dropped: models that were not measured, with the reason.
        fastest: fastest row of the search, with the latency measured again; None if every model was dropped.
        rivals: simpler rows that were measured again together with it, simplest first.
        load: load of other programs during the measurement.
        out_of_time: whether the time limit ended the measurement.
    """

    rows: tuple[Row, ...]
    dropped: tuple[Form, ...]
    fastest: Row | None
    rivals: tuple[Rival, ...]
    load: MachineLoad
    out_of_time: bool = False

    @property
    def best(self) -> Row | None:
        """The simplest row that is not measurably slower than the fastest; None if every model was dropped."""
        return next((rival.row for rival in self.rivals if rival.ratio.verdict != "faster"), self.fastest)

    @property
    def is_tie(self) -> bool:
        """Whether a simpler row is selected because the fastest one is not measurably faster."""
        return self.best is not self.fastest


def settings(
    threads: Sequence[int], *, pinned: bool = False, arena: bool = False, providers: Sequence[str | None] = (None,)
) -> list[Setting]:
    """All combinations of the given options.

    A single thread has no helper threads to pin, and only the CPU provider has these and the arena.
    """
    made = [
        Setting(threads=count, pinned_threads=pin, memory_arena=keep, provider=provider)
        for provider in dict.fromkeys(name and short_name(name) for name in providers)
        for count in dict.fromkeys(threads)
        for pin in ((False, True) if pinned and count > 1 else (False,))
        for keep in ((False, True) if arena else (False,))
    ]
    return [setting for setting in made if setting.is_on_cpu or not (setting.pinned_threads or setting.memory_arena)]


def choose(  # noqa: PLR0913 -- all but the first two are options, by name
    models: Sequence[Path],
    how: Sequence[Setting],
    *,
    what: Measurement = Measurement(),
    beside: Collection[Path] = (),
    max_mib: float | None = None,
    min_cosine: float | None = None,
    deadline: Deadline | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Choice:
    """Select among models of one network by measuring them on this device.

    The search finds the fastest row. A row that is clearly slower leaves it early. Because the fastest of many is
    partly chance, it is measured again in rounds with the simpler rows of similar latency. One of those is selected
    unless the fastest is measurably faster. A row leaves these rounds as soon as the result is certain.

    Args:
        models: model files made from one checkpoint. One for ncnn is left out where ncnn is not installed.
        how: settings to combine with every model.
        what: what to measure.
        beside: models that are measured for comparison and never selected.
        max_mib: size limit of a model file in MiB.
        min_cosine: smallest mean cosine similarity to the float model that a quantized model may state.
        deadline: no round starts after it; too few rounds are a tie. None for no limit.
        progress: called with the number of inferences done and their total.

    Raises:
        ModelError: a file is missing, or is not a model of this package.
        ModelFormatError: the models come from different checkpoints.
        ProviderError: the execution provider is absent or fails.
    """
    meter = LoadMeter()
    paths = list(dict.fromkeys(models))
    fitting = [(path, setting) for path in paths for setting in how if setting.suits(path)]
    pairs = dict.fromkeys((path, setting.provider) for path, setting in fitting)
    forms = {
        (path, provider): _inspect(path, provider or what.provider, max_mib, min_cosine) for path, provider in pairs
    }
    for path in paths:
        if not any(path == inspected for inspected, _ in pairs):
            forms[path, None] = replace(_inspect(path, "cpu", max_mib, min_cosine), dropped=_NO_SETTING)
    require_one_source({path: form.spec for (path, _), form in forms.items()})
    dropped = tuple(
        replace(form, dropped=f"on {provider}: {form.dropped}") if provider else form
        for (_, provider), form in forms.items()
        if form.dropped
    )
    found = [(forms[path, setting.provider], setting) for path, setting in fitting]
    cases = [(form, setting) for form, setting in found if not form.dropped]
    limit = deadline or Deadline()
    plan = Plan.of(math.ceil(what.rounds * _SEARCH_SHARE), _SEARCH_ROUNDS)
    candidates = [case for case in cases if case[0].path not in beside]
    near_fastest = partial(_near_fastest, candidates, beside=[case for case in cases if case not in candidates])
    samples = _measure(cases, what, plan, near_fastest, limit.share(_SEARCH_SHARE), progress)
    rows = sorted((_row(case, taken) for case, taken in samples.items()), key=lambda row: row.latency.median_ms)
    if not candidates:
        return Choice(rows=tuple(rows), dropped=dropped, fastest=None, rivals=(), load=meter.read())
    fastest = min(_of_last_round(candidates, samples), key=lambda case: float(np.median(samples[case])))
    near = _near([case for case in candidates if _is_simpler(case, fastest)], fastest, samples)
    if near:
        anew = _measure(
            [fastest, *near],
            what,
            Plan.of(what.rounds),
            partial(_undecided, fastest, near),
            limit,
            _after(sum(map(len, samples.values())) // plan.per_round, progress),
        )
    else:
        anew = samples
    rivals = [Rival(row=_row(case, anew[case]), ratio=ratio(anew[fastest], anew[case])) for case in near]
    return Choice(
        rows=tuple(rows),
        dropped=dropped,
        fastest=_row(fastest, anew[fastest]),
        rivals=tuple(rivals),
        load=meter.read(),
        out_of_time=limit.passed,
    )


def _after(before: int, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
    """Progress of a step after another one, so that one line shows both."""
    return None if progress is None else lambda done, total: progress(before + done, before + total)


def _near_fastest(
    candidates: Sequence[Case], samples: Mapping[Case, Float64Array], *, beside: Sequence[Case]
) -> list[Case]:
    """Select the cases of the search that may be the fastest, and those that are not compared."""
    medians = {case: float(np.median(samples[case])) for case in _of_last_round(candidates, samples)}
    bound = _SEARCHED * min(medians.values(), default=0.0)
    return [*beside, *(case for case, median in medians.items() if median <= bound)]


def _of_last_round(cases: Sequence[Case], samples: Mapping[Case, Float64Array]) -> list[Case]:
    """Select the cases that did not leave: the machine may have been faster in earlier rounds."""
    rounds = max((len(samples[case]) for case in cases), default=0)
    return [case for case in cases if len(samples[case]) == rounds]


def _undecided(fastest: Case, near: Sequence[Case], samples: Mapping[Case, Float64Array]) -> list[Case]:
    """Select the cases, simplest first, of which it is not clear yet whether the fastest one is faster.

    A case that the fastest one is not faster than is chosen before all that follow it, so these are not needed.
    """
    if len(samples[fastest]) < _CERTAIN_ROUNDS:
        return [fastest, *near]
    open_cases = []
    for case in near:
        certain, hopeless = (
            ratio(samples[fastest], samples[case], confidence=level).verdict for level in (_CERTAIN, _HOPELESS)
        )
        if hopeless != "faster":
            break
        if certain == "tie":
            open_cases.append(case)
    return [fastest, *open_cases] if open_cases else []


def _near(simpler: Sequence[Case], fastest: Case, samples: Mapping[Case, Float64Array]) -> list[Case]:
    """Select the simpler cases to measure again together with the fastest, simplest first.

    They include the simplest model with its best setting and with the setting of the fastest case.
    """
    medians = {case: float(np.median(samples[case])) for case in (*simpler, fastest)}
    ordered = sorted(simpler, key=lambda case: (_complexity(case[0]), _cost(case[1])))
    plainest = [case for case in ordered if case[0] == ordered[0][0] and case[0] != fastest[0]]
    kept = {min(plainest, key=medians.__getitem__)} if plainest else set()
    kept |= {case for case in plainest if case[1] == fastest[1]}
    kept |= {case for case in ordered if medians[case] < _NEAR * medians[fastest]}
    return [case for case in ordered if case in kept]


def _is_simpler(case: Case, other: Case) -> bool:
    """Whether a case has a simpler model or, with the same model, a simpler setting."""
    if case[0] != other[0]:
        return _complexity(case[0]) < _complexity(other[0])
    return case[1] != other[1] and all(
        mine <= theirs for mine, theirs in zip(_cost(case[1]), _cost(other[1]), strict=True)
    )


def _complexity(form: Form) -> tuple[bool, int, int, int, str]:
    """Sort key of models: onnxruntime before ncnn, full precision before reduced, plain before rewritten, by size."""
    spec = form.spec
    rank = _PRECISIONS.index(spec.precision) if spec.precision in _PRECISIONS else len(_PRECISIONS)
    return is_ncnn_file(form.path), rank, len(spec.rewrites), form.bytes, str(form.path)


def _cost(setting: Setting) -> tuple[bool, int, bool, bool]:
    return not setting.is_on_cpu, setting.threads, setting.pinned_threads, setting.memory_arena


def _row(case: Case, samples: Float64Array) -> Row:
    form, setting = case
    return Row(form=form, setting=setting, latency=summarize(samples.ravel()))


def _measure(
    cases: Sequence[Case],
    what: Measurement,
    plan: Plan,
    remaining: Callable[[Mapping[Case, Float64Array]], Sequence[Case]],
    deadline: Deadline,
    progress: Callable[[int, int], None] | None,
) -> dict[Case, Float64Array]:
    """Measure each case; returns (rounds, samples) milliseconds. A model is released before the next one is loaded."""
    names = {str(number): case for number, case in enumerate(cases)}

    def kept(taken: Mapping[str, Float64Array]) -> list[str]:
        again = remaining({case: taken[name] for name, case in names.items()})
        return [name for name, case in names.items() if case in again]

    load = {name: partial(_load, case, what) for name, case in names.items()}
    taken = measure_rounds(load, plan, remaining=kept, deadline=deadline, progress=progress)
    return {case: taken[name] for name, case in names.items()}


def _load(case: Case, what: Measurement) -> Callable[[], object]:
    form, setting = case
    return inference(setting.open(form.path, what.provider, what.batch), what.batch)


def inference(embedder: Embedder, batch: int = 1) -> Callable[[], object]:
    """The function to time: one inference of ``batch`` crops."""
    return partial(embedder.forward, np.resize(golden_crops(embedder.spec), (batch, *embedder.spec.crop_shape)))


def _inspect(path: Path, provider: str, max_mib: float | None, min_cosine: float | None) -> Form:
    """Inspect a model file before it is measured."""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always", ProcessorWarning)
            embedder = Embedder(path, provider=provider)
    except ExtraError as error:
        spec = read_ncnn_model(path).spec
        return Form(path=path, spec=spec, bytes=path.stat().st_size, certified=None, dropped=str(error))
    spec, size, certified = embedder.spec, path.stat().st_size, None
    dropped = _other_provider(spec, embedder.provider.active[0])
    if dropped:
        return Form(path=path, spec=spec, bytes=size, certified=None, dropped=dropped)
    for warning in warned:
        warnings.warn(warning.message, stacklevel=2)
    if certificate_path(path).is_file():
        try:
            check = check_on_device(embedder, load_certificate(certificate_path(path)))
            certified = check.passed
            if not check.passed:
                dropped = (
                    f"its certificate does not hold here: cosine {check.measured.min_cosine:.6f}, where "
                    f"{check.bounds.min_cosine:g} is required"
                )
        except EdgeSphereFaceError as error:
            certified, dropped = False, error.message
    if max_mib is not None and size > max_mib * _MIB:
        dropped = f"{size / _MIB:.1f} MiB are more than {max_mib:g}"
    record = spec.quantization
    if min_cosine is not None and record is not None and record.cosine_mean < min_cosine:
        dropped = f"its mean cosine to float, {record.cosine_mean:.5f}, is less than {min_cosine:g}"
    return Form(path=path, spec=spec, bytes=size, certified=certified, dropped=dropped)


def _other_provider(spec: ModelSpec, active: str) -> str:
    """Explain that a model was made for another provider; empty if it was not."""
    record = spec.quantization
    if record is None:
        return ""
    if active != CPU:
        return provider_mismatch(record.target, active)
    return mismatch_here(record.target) if record.target == TARGET_OPENVINO else ""


def require_one_source(specs: Mapping[Path, ModelSpec]) -> None:
    """Require that all models come from one checkpoint.

    Raises:
        ModelFormatError: two models come from different checkpoints.
    """
    sources = {spec.source_sha256: path for path, spec in specs.items()}
    if len(sources) > 1:
        one, other, *_ = sources.values()
        raise ModelFormatError(
            f"Expected models of one network, but {one} and {other} come from different checkpoints "
            f"({specs[one].source_file}, {specs[other].source_file}).",
            hint="their embeddings are not comparable; measure them separately",
        )
