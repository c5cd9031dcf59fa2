"""Measures a device step by step. A step that cannot run is named in the report, and the next one follows."""

from __future__ import annotations

import math
import platform
import time
import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sphereface._version import __version__
from edge_sphereface.cpu import cpu_generation
from edge_sphereface.device.report import (
    DeviceEnvironment,
    DeviceFinding,
    DeviceProvider,
    DeviceReport,
    DeviceTuning,
    Int8OverFloat,
    MissingPart,
    SustainedRun,
    TimedDetector,
    TimedForm,
    VerifiedModel,
)
from edge_sphereface.device.sustained import sustain
from edge_sphereface.device.wording import form_name, message_of, reason_of, unread_form
from edge_sphereface.doctor import examine
from edge_sphereface.doctor.machine import read_machine
from edge_sphereface.errors import EdgeSphereFaceError, ModelNotFoundError
from edge_sphereface.evaluation.condition import read_condition
from edge_sphereface.evaluation.latency import Plan, measure_rounds, ratio
from edge_sphereface.evaluation.machine_load import LoadMeter
from edge_sphereface.evaluation.model_selection import (
    Measurement,
    Setting,
    choose,
    inference,
    require_one_source,
    settings,
)
from edge_sphereface.evaluation.process_memory import peak_rss_mib, rss_mib
from edge_sphereface.evaluation.timing import measure_interleaved, summarize
from edge_sphereface.inference.embedder import Embedder
from edge_sphereface.inference.session import SessionConfig
from edge_sphereface.model.certificate import certificate_path, check_on_device, load_certificate
from edge_sphereface.model.quantization import ProcessorWarning
from edge_sphereface.storage.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edge_sphereface.doctor.machine import Machine
    from edge_sphereface.evaluation.condition import Run
    from edge_sphereface.evaluation.timing import LatencySummary
    from edge_sphereface.model.certificate import DeviceCheck
    from edge_sphereface.model.spec import ModelSpec
    from edge_sphereface.types import UInt8Array

    Progress = Callable[[int, int], None]

_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_FRAME_PX = (480, 640)
_CHECKED_BEFORE = ("model", "offline")
"""Checks whose subject has a part of its own in the report."""
STEPS = ("models", "tuning", "INT8 over float", "detectors", "sustained run")
"""Names of the steps that take time, in order."""
_CASES = 2
"""Cases that are measured to compare INT8 with float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """What to measure.

    Attributes:
        models: ONNX files made from one checkpoint.
        minutes: duration of the sustained run; 0 for none.
        quick: take a quarter of the samples.
        provider: execution provider.
        threads: numbers of threads to try; empty for one and all that this process can use.
        photograph: image with faces, (H, W, 3) uint8 BGR, to time the detectors on; None for a frame without a face.
    """

    models: tuple[Path, ...]
    minutes: float = 5.0
    quick: bool = False
    provider: str = "auto"
    threads: tuple[int, ...] = ()
    photograph: UInt8Array | None = None

    @property
    def samples(self) -> int:
        """Latency samples of each case."""
        return 25 if self.quick else 100

    def later_s(self, step: str, step_s: float) -> float:
        """Seconds that the steps after one are expected to take.

        A case of the tuning is a form with a number of threads; comparing INT8 with float measures two cases, and the
        detectors count as two more.

        Args:
            step: ``tuning``, ``INT8 over float`` or ``detectors``.
            step_s: seconds that it takes as a whole.
        """
        cases = {"tuning": len(self.models) * (len(self.threads) or 2), "INT8 over float": _CASES}
        later = {"tuning": 2 * _CASES, "INT8 over float": _CASES}
        measured = step_s * later[step] / cases[step] if step in later else 0.0
        return measured + 60 * self.minutes


class _StopError(Exception):
    """The measurement may not go on."""


def measure_device(
    plan: DevicePlan,
    *,
    keep: Callable[[DeviceReport], None] = lambda _: None,
    progress: Callable[[str], Progress] = lambda _: lambda _done, _total: None,
    explain: Callable[[str], None] = lambda _: None,
    root: Path = Path("/"),
    run: Run | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> DeviceReport:
    """Measure a device.

    Args:
        plan: what to measure.
        keep: stores the report; called after each step and each part of the sustained run, because a board may fail
            under load.
        progress: for the name of a step, a function that is called with the work done and its total.
        explain: called with what the report leaves out, because it may hold paths: the message of each error.
        root: folder where ``proc``, ``sys`` and ``dev`` are mounted.
        run: runs a program of the system, as in :func:`edge_sphereface.evaluation.condition.read_condition`.
        clock: monotonic time in seconds, for the sustained run.

    Returns:
        The report. A model that fails its verification ends the measurement early, with the reason in ``stopped``.

    Raises:
        KeyboardInterrupt: the measurement was interrupted, after what was measured was kept.
    """
    made = _Device(plan, progress=progress, explain=explain, keep=keep, root=root, run=run, clock=clock)
    try:
        made.measure()
    except _StopError as reason:
        made.finish(stopped=str(reason))
    except KeyboardInterrupt:
        made.finish(stopped="interrupted")
        raise
    else:
        made.finish(stopped="")
    return made.report


class _Device:
    """One measurement of this device; ``report`` holds what is known so far."""

    def __init__(
        self,
        plan: DevicePlan,
        *,
        progress: Callable[[str], Progress],
        explain: Callable[[str], None],
        keep: Callable[[DeviceReport], None],
        root: Path,
        run: Run | None,
        clock: Callable[[], float],
    ) -> None:
        self._plan, self._progress, self._explain, self._keep = plan, progress, explain, keep
        self._root, self._clock = root, clock
        self._condition = partial(read_condition, root, run)
        self._machine = read_machine(root)
        self._specs: dict[Path, ModelSpec] = {}
        self._names: dict[Path, str] = {}
        self._ranked: list[tuple[Path, Setting]] = []
        self._load = LoadMeter(root)
        self.report = DeviceReport(
            complete=False,
            stopped="unfinished",
            quick=plan.quick,
            environment=_environment(self._machine, root),
            findings=self._findings(),
            models=(),
            tuning=None,
            int8_over_float=None,
            detectors=(),
            sustained=None,
            peak_rss_mib=None,
            load=None,
            missing=(),
        )

    def measure(self) -> None:
        """Run every step.

        Raises:
            _StopError: a model fails its verification.
        """
        steps = (self._verify, self._tune, self._compare, self._time_detectors, self._sustain)
        for name, step in zip(STEPS, steps, strict=True):
            try:
                step(self._progress(name))
            except EdgeSphereFaceError as error:
                self._fail(name, error)
            self._keep(self.report)

    def finish(self, *, stopped: str) -> None:
        """End the report, and keep it."""
        self._learn(complete=not stopped, stopped=stopped, load=self._load.read(), peak_rss_mib=peak_rss_mib())
        self._keep(self.report)

    def _learn(self, **parts: object) -> None:
        self.report = replace(self.report, **parts)  # type: ignore[arg-type] # fields by name, checked by the record

    def _miss(self, part: str, reason: str) -> None:
        self._learn(missing=(*self.report.missing, MissingPart(part=part, reason=reason)))

    def _fail(self, part: str, error: EdgeSphereFaceError) -> None:
        self._explain(f"{part}: {error}")
        self._miss(part, reason_of(error))

    def _findings(self) -> tuple[DeviceFinding, ...]:
        findings = examine(machine=self._machine).findings
        return tuple(
            DeviceFinding(
                check=one.check,
                status=one.status,
                message=message_of(one, imports_onnxruntime=not self._machine.onnxruntime_error),
            )
            for one in findings
            if one.check not in _CHECKED_BEFORE
        )

    def _verify(self, progress: Progress) -> None:
        models = self._plan.models
        for number, path in enumerate(models, start=1):
            verified = self._verify_one(path, unread_form(number))
            self._learn(models=(*self.report.models, verified))
            if not verified.passed:
                raise _StopError(f"{verified.form}: {verified.reason}")
            progress(number, len(models))
        try:
            require_one_source(self._specs)
        except EdgeSphereFaceError as error:
            self._explain(str(error))
            raise _StopError("the models come from different checkpoints") from error

    def _verify_one(self, path: Path, unread: str) -> VerifiedModel:
        found = VerifiedModel(
            form=unread,
            sha256=None,
            bytes=None,
            architecture=None,
            precision=None,
            rewrites=(),
            source_sha256=None,
            certified=None,
            max_abs_error=None,
            min_cosine=None,
            provider=None,
            reason="",
            warning="",
        )
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always", ProcessorWarning)
                embedder = Embedder(path, provider=self._plan.provider)
            digest = sha256_of(path)
            self._names[path] = form_name(embedder.spec, digest)
            found = replace(
                found,
                form=self._names[path],
                sha256=digest,
                bytes=path.stat().st_size,
                architecture=embedder.spec.architecture,
                precision=embedder.spec.precision,
                rewrites=embedder.spec.rewrites,
                source_sha256=embedder.spec.source_sha256,
                provider=_provider(embedder),
                warning="; ".join(str(one.message) for one in warned),
            )
            self._specs[path] = embedder.spec
            if not certificate_path(path).is_file():
                return found
            check = check_on_device(embedder, load_certificate(certificate_path(path)))
        except EdgeSphereFaceError as error:
            self._explain(str(error))
            return replace(found, reason=reason_of(error))
        error_share, cosine = check.measured.max_abs_error, check.measured.min_cosine
        return replace(
            found,
            certified=check.passed,
            max_abs_error=error_share if math.isfinite(error_share) else None,
            min_cosine=cosine,
            reason="" if check.passed else f"its certificate is not met here: {_excess(check)}",
        )

    def _tune(self, progress: Progress) -> None:
        recorded = self._recorded_tuning()
        if recorded is not None:
            self._learn(tuning=recorded)
            return
        choice = choose(
            self._plan.models,
            settings(self._plan.threads or (1, self._machine.usable_cpus)),
            what=Measurement(provider=self._plan.provider, rounds=self._plan.samples),
            progress=progress,
        )
        if choice.best is None:
            self._explain("; ".join(f"{form.path}: {form.dropped}" for form in choice.dropped))
            self._miss("tuning", "no form may run here")
            return
        self._ranked = [(row.form.path, row.setting) for row in (choice.best, *choice.rows)]
        best, *rows = (self._timed_form(row.form.path, row.setting, row.latency) for row in (choice.best, *choice.rows))
        self._learn(tuning=DeviceTuning(source="measured", best=best, tie=choice.is_tie, rows=tuple(rows)))

    def _recorded_tuning(self) -> DeviceTuning | None:
        """The tuning that a model records, if it was made on this kind of machine with this onnxruntime."""
        here = self._machine.cpu_model or self._machine.processor
        providers = [model.provider for model in self.report.models if model.provider is not None]
        versions = {provider.onnxruntime for provider in providers if provider.ncnn is None}
        for path, spec in self._specs.items():
            kept = spec.tuning
            if (
                kept is not None
                and kept.processor == here
                and {kept.onnxruntime} == versions
                and kept.batch == 1
                and kept.threads in (self._plan.threads or range(1, self._machine.usable_cpus + 1))
            ):
                setting = Setting(
                    threads=kept.threads, pinned_threads=kept.pinned_threads, memory_arena=kept.memory_arena
                )
                self._ranked = [(path, setting)]
                best = self._timed_form(path, setting, None, median_ms=kept.tuned_ms)
                return DeviceTuning(source="recorded", best=best, tie=False, rows=())
        return None

    def _timed_form(
        self, path: Path, setting: Setting, latency: LatencySummary | None, *, median_ms: float = 0.0
    ) -> TimedForm:
        return TimedForm(
            form=self._names[path],
            precision=self._specs[path].precision,
            threads=setting.threads,
            pinned_threads=setting.pinned_threads,
            memory_arena=setting.memory_arena,
            median_ms=median_ms if latency is None else latency.median_ms,
            latency=latency,
        )

    def _best(self, precision: str | None = None) -> tuple[Path, Setting] | None:
        """The fastest form of a precision, or of all, with its best setting; None if there is no such form."""
        for path, setting in self._ranked:
            if precision in (None, self._specs[path].precision):
                return path, setting
        setting = self._ranked[0][1] if self._ranked else Setting(threads=self._machine.usable_cpus)
        paths = [path for path, spec in self._specs.items() if precision in (None, spec.precision)]
        return (paths[0], setting) if paths else None

    def _compare(self, progress: Progress) -> None:
        int8, plain = self._best("int8"), self._best("float32")
        if int8 is None or plain is None:
            self._miss("INT8 over float", f"no {'INT8' if int8 is None else 'float32'} form was given")
            return
        cases = {"int8": int8, "float32": plain}
        load = {name: partial(self._load_form, *case) for name, case in cases.items()}
        samples = measure_rounds(load, Plan.of(self._plan.samples), progress=progress)
        found = ratio(samples["int8"], samples["float32"])
        known = math.isfinite(found.high)
        self._learn(
            int8_over_float=Int8OverFloat(
                int8=self._timed_form(*int8, summarize(samples["int8"].ravel())),
                float32=self._timed_form(*plain, summarize(samples["float32"].ravel())),
                ratio=found.ratio,
                low=found.low if known else None,
                high=found.high if known else None,
                rounds=found.rounds,
                verdict=found.verdict,
            )
        )

    def _load_form(self, path: Path, setting: Setting) -> Callable[[], object]:
        return inference(setting.open(path, self._plan.provider))

    def _time_detectors(self, progress: Progress) -> None:
        from edge_sphereface.detection.detector import choose_installed, open_detector

        auto = choose_installed().name
        best = self._best()
        session = SessionConfig(threads=best[1].threads if best else None, provider=self._plan.provider)
        opened = {}
        for name in ("yunet", "mtcnn"):
            try:
                opened[name] = open_detector(name, session=session.for_detector(None))
            except ModelNotFoundError as error:
                self._fail(f"detector {name}", error)
        image = _plain_frame() if self._plan.photograph is None else self._plan.photograph
        faces = {name: len(detector.detect(image)) for name, detector in opened.items()}
        rounds = self._plan.samples
        samples = measure_interleaved(
            {name: partial(detector.detect, image) for name, detector in opened.items()},
            rounds=rounds,
            progress=lambda done: progress(done, rounds),
        )
        self._learn(
            detectors=tuple(
                TimedDetector(
                    name=name,
                    is_auto=name == auto,
                    image="frame without a face" if self._plan.photograph is None else "photograph",
                    width=image.shape[1],
                    height=image.shape[0],
                    faces=faces[name],
                    latency=summarize(taken),
                )
                for name, taken in samples.items()
            )
        )

    def _sustain(self, progress: Progress) -> None:
        best, seconds = self._best(), self._plan.minutes * 60
        compared, fastest = self.report.int8_over_float, self.report.fastest
        if compared is not None and fastest == compared.int8:
            best = self._best("int8")
        if best is None or not seconds:
            self._miss("sustained run", "no minutes were asked for")
            return
        path, setting = best
        embed = self._load_form(path, setting)
        embed()
        sustained = SustainedRun(
            form=self._names[path],
            precision=self._specs[path].precision,
            threads=setting.threads,
            pinned_threads=setting.pinned_threads,
            planned_s=seconds,
            rss_mib=rss_mib(),
            before=self._condition(),
            windows=(),
        )
        for window in sustain(embed, seconds, condition=self._condition, clock=self._clock):
            sustained = replace(sustained, windows=(*sustained.windows, window), rss_mib=rss_mib())
            self._learn(sustained=sustained)
            self._keep(self.report)
            progress(min(round(window.end_s), round(seconds)), round(seconds))


def _environment(machine: Machine, root: Path) -> DeviceEnvironment:
    try:
        with (root / _GOVERNOR).open(encoding="ascii", errors="replace") as stream:
            governor = stream.read(80).strip() or None
    except OSError:
        governor = None
    return DeviceEnvironment(
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        cpu=machine.cpu_model or machine.processor,
        processor=machine.processor,
        generation=cpu_generation(root),
        cpu_flags=tuple(sorted(machine.cpu_flags)),
        usable_cpus=machine.usable_cpus,
        governor=governor,
        memory_mib=machine.memory_mib,
        system=platform.platform(),
        versions={"edge_sphereface": __version__, "python": machine.python, **machine.wheels},
        providers=machine.providers,
        accelerators=machine.accelerators,
    )


def _provider(embedder: Embedder) -> DeviceProvider:
    found = embedder.provider
    nodes: Mapping[str, int] | None = found.nodes
    return DeviceProvider(
        requested=found.requested,
        active=found.active,
        nodes=None if nodes is None else dict(nodes),
        threads=found.threads,
        onnxruntime=found.onnxruntime,
        ncnn=found.ncnn,
        arithmetic=found.arithmetic,
    )


def _excess(check: DeviceCheck) -> str:
    measured, bounds = check.measured, check.bounds
    return (
        f"cosine {measured.min_cosine:.6f}, expected at least {bounds.min_cosine:g}; error "
        f"{measured.max_abs_error:.2e}, expected at most {bounds.max_abs_error:g}"
    )


def _plain_frame() -> UInt8Array:
    """A frame of a camera that shows no face: a slope of gray, (480, 640, 3) uint8 BGR."""
    height, width = _FRAME_PX
    slope = np.linspace(40, 200, width, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(slope[None, :, None], (height, width, 3)))
