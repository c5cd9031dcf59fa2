"""The report of a device: machine, models, times and the sustained run, without anything personal."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final, Literal

from edge_sphereface.errors import EdgeSphereFaceError
from edge_sphereface.evaluation.condition import DeviceCondition
from edge_sphereface.evaluation.machine_load import MachineLoad
from edge_sphereface.evaluation.timing import LatencySummary
from edge_sphereface.json_output import OMIT_NONE, rounded
from edge_sphereface.storage.record import Between, Count, Length, Record, Sha256

if TYPE_CHECKING:
    from edge_sphereface.types import JsonObject

KIND: Final = "edge_sphereface.device_report"
SCHEMA_VERSION: Final = 1
_HINT = "give a file that report-device wrote"
_Threads = Annotated[int, Between(1, 1 << 20)]
_Positive = Annotated[float, Between(0, 1e12)]


class _Part(Record):
    """Base of the records in a report."""

    __slots__ = ()
    record_name = "The device report"
    record_error = EdgeSphereFaceError
    record_hint = _HINT


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnvironment(_Part):
    """The machine and the software on it.

    Attributes:
        time: start of the measurement, UTC, ISO 8601.
        cpu: name of the board or processor.
        processor: architecture of the kernel, such as ``aarch64``.
        generation: numbers that identify the generation of the processor, from /proc/cpuinfo; empty if unknown.
        cpu_flags: processor features that /proc/cpuinfo lists, sorted.
        usable_cpus: number of processors that this process can use.
        governor: frequency governor of the processor; None if unknown.
        memory_mib: main memory in MiB; None if unknown.
        system: name and version of the operating system.
        versions: versions of Python and of the relevant packages, by name.
        providers: execution providers that onnxruntime offers.
        accelerators: devices whose drivers were found.
    """

    time: str
    cpu: str
    processor: str
    generation: dict[str, str]
    cpu_flags: Annotated[tuple[str, ...], Length(4096)]
    usable_cpus: Count
    governor: str | None
    memory_mib: Count | None
    system: str
    versions: dict[str, str]
    providers: tuple[str, ...]
    accelerators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFinding(_Part):
    """Result of one check of the machine.

    Attributes:
        check: name of the check.
        status: ``ok``, ``warn`` (works, with a drawback) or ``fail`` (must be fixed).
        message: what was found; empty if the status is ``ok``.
    """

    check: str
    status: Literal["ok", "warn", "fail"]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProvider(_Part):
    """What runs a model.

    Attributes:
        requested: execution provider that was requested.
        active: execution providers of the session, in order of preference; ``ncnn`` for a model that ncnn runs.
        nodes: number of nodes per provider; None if onnxruntime cannot tell (before 1.24).
        threads: threads of one inference.
        onnxruntime: version of onnxruntime; None if ncnn runs the model.
        ncnn: version of ncnn; None, and left out in JSON, if onnxruntime runs the model.
        arithmetic: ``float32`` or ``float16``, in which ncnn computes; None, and left out in JSON, for onnxruntime.
    """

    requested: str
    active: tuple[str, ...]
    nodes: dict[str, Count] | None
    threads: _Threads
    onnxruntime: str | None
    ncnn: str | None = field(default=None, metadata=OMIT_NONE)
    arithmetic: str | None = field(default=None, metadata=OMIT_NONE)

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        return {"ncnn": None, "arithmetic": None, **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedModel(_Part):
    """A model, and whether it computes here what its certificate says.

    Attributes:
        form: name of the form: precision, rewrites and the start of the file's SHA-256.
        sha256: SHA-256 of the file in hexadecimal; None if it could not be read.
        bytes: size of the file; None if it could not be read.
        architecture: network architecture; None if the model could not be loaded.
        precision: precision of the weights; None if the model could not be loaded.
        rewrites: names of the graph rewrites applied to the model, in order.
        source_sha256: SHA-256 of the checkpoint in hexadecimal; None if the model could not be loaded.
        certified: whether its certificate is met on this device; None without a certificate.
        max_abs_error: largest difference from the certificate's embeddings, as a share of their largest component; None
            if nothing was compared, or not finite.
        min_cosine: smallest cosine similarity to the certificate's embeddings; None if nothing was compared.
        provider: what runs the model; None if it could not be loaded.
        reason: why the model may not run here; empty if it may.
        warning: warning of the model on this processor; empty if there is none.
    """

    form: str
    sha256: Sha256 | None
    bytes: Count | None
    architecture: str | None
    precision: str | None
    rewrites: tuple[str, ...]
    source_sha256: str | None
    certified: bool | None
    max_abs_error: float | None
    min_cosine: float | None
    provider: DeviceProvider | None
    reason: str
    warning: str

    @property
    def passed(self) -> bool:
        """Whether nothing says that the model is wrong here."""
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedForm(_Part):
    """Latency of embedding one face by a form of the network.

    Attributes:
        form: name of the form: precision, rewrites and the start of the file's SHA-256.
        precision: precision of the weights.
        threads: threads of one inference.
        pinned_threads: whether each helper thread was bound to a processor of its own.
        memory_arena: whether the session kept freed memory for the next inference.
        median_ms: median in milliseconds.
        latency: all figures; None for a latency that the model itself records.
    """

    form: str
    precision: str
    threads: _Threads
    pinned_threads: bool
    memory_arena: bool
    median_ms: _Positive = field(metadata=rounded(3))
    latency: LatencySummary | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceTuning(_Part):
    """Which form to use, and with which setting.

    Attributes:
        source: ``measured`` now, or ``recorded`` in the model by an earlier measurement on this kind of machine.
        best: the form to use.
        tie: whether ``best`` is a simpler form that is as fast as the fastest.
        rows: every form with every setting, fastest first; empty if ``source`` is ``recorded``.
    """

    source: Literal["measured", "recorded"]
    best: TimedForm
    tie: bool
    rows: tuple[TimedForm, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8OverFloat(_Part):
    """Latency of the INT8 form divided by that of the float form, measured in turns.

    Attributes:
        int8: the INT8 form.
        float32: the float form.
        ratio: ratio of the median latencies.
        low: lower bound of the ratio's 95 % interval; None if there were too few rounds.
        high: upper bound of that interval; None if there were too few rounds.
        rounds: number of rounds in which both were measured.
        verdict: ``faster``, ``slower``, or ``tie`` if the interval includes 1 or is unknown.
    """

    int8: TimedForm
    float32: TimedForm
    ratio: _Positive = field(metadata=rounded(4))
    low: _Positive | None = field(metadata=rounded(4))
    high: _Positive | None = field(metadata=rounded(4))
    rounds: Count
    verdict: Literal["faster", "slower", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedDetector(_Part):
    """Time of detecting the faces of one image.

    Attributes:
        name: name of the detector.
        is_auto: whether ``auto`` chooses this detector here.
        image: ``photograph`` that was given, or ``frame without a face``.
        width: width of the image in pixels.
        height: height of the image in pixels.
        faces: number of faces that were found.
        latency: time of one detection.
    """

    name: str
    is_auto: bool
    image: Literal["photograph", "frame without a face"]
    width: Count
    height: Count
    faces: Count
    latency: LatencySummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(_Part):
    """A part of the sustained run.

    Attributes:
        end_s: end of the part in seconds since the start of the run.
        inferences: number of inferences.
        rate: inferences per second.
        median_ms: median latency in milliseconds.
        condition: temperature, clock and throttling at the end of the part.
    """

    end_s: _Positive = field(metadata=rounded(2))
    inferences: Count
    rate: _Positive = field(metadata=rounded(3))
    median_ms: _Positive = field(metadata=rounded(3))
    condition: DeviceCondition


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedRun(_Part):
    """Embedding one face after the other without a pause.

    Attributes:
        form: name of the form: precision, rewrites and the start of the file's SHA-256.
        precision: precision of the weights.
        threads: threads of one inference.
        pinned_threads: whether each helper thread was bound to a processor of its own.
        planned_s: duration that was asked for, in seconds.
        rss_mib: resident memory of the process at the end in MiB; None if the system does not report it.
        before: condition before the run.
        windows: parts of the run, in order.
    """

    form: str
    precision: str
    threads: _Threads
    pinned_threads: bool
    planned_s: _Positive
    rss_mib: _Positive | None = field(metadata=rounded(1))
    before: DeviceCondition
    windows: tuple[Window, ...]

    @property
    def start_rate(self) -> float:
        """Rate of the parts that begin in the first tenth of the run, inferences per second; 0 without parts."""
        return _rate_of_tenth(self.windows)

    @property
    def end_rate(self) -> float:
        """Rate of the parts that end in the last tenth of the run, inferences per second; 0 without parts."""
        return _rate_of_tenth(self.windows[::-1])

    @property
    def slowdown(self) -> float | None:
        """Rate at the end divided by that at the start; None with fewer than two parts."""
        return self.end_rate / self.start_rate if len(self.windows) > 1 and self.start_rate else None

    @property
    def hottest_c(self) -> float | None:
        """Highest temperature in degrees Celsius; None if the machine does not report it."""
        conditions = (self.before, *(part.condition for part in self.windows))
        return max((one.temperature_c for one in conditions if one.temperature_c is not None), default=None)

    @property
    def throttled(self) -> tuple[str, ...] | None:
        """What slowed the machine down during the run; None if the machine does not report it."""
        before = self.before.throttled or ()
        known = [part.condition.throttled for part in self.windows if part.condition.throttled is not None]
        if not known:
            return None
        limits = [limit for one in known for limit in one if limit.endswith(" now") or limit not in before]
        return tuple(dict.fromkeys(limits))


def _rate_of_tenth(parts: tuple[Window, ...]) -> float:
    """Rate of the first parts that make up a tenth of the time of all: the last part of a run may be very short."""
    seconds = [part.inferences / part.rate if part.rate else 0.0 for part in parts]
    inferences, spent = 0, 0.0
    for part, lasted in zip(parts, seconds, strict=True):
        if spent and spent >= sum(seconds) / 10:
            break
        inferences, spent = inferences + part.inferences, spent + lasted
    return inferences / spent if spent else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPart(_Part):
    """A part that was not measured.

    Attributes:
        part: name of the part.
        reason: why it was not measured.
    """

    part: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport(_Part):
    """Everything that was measured on a device.

    Attributes:
        kind: identifies the file as a report of a device.
        schema_version: version of this record.
        complete: whether the measurement reached its end.
        stopped: why it did not; empty if it did.
        quick: whether fewer samples than usual were taken.
        environment: the machine and the software on it.
        findings: results of the checks of the machine.
        models: the models, and whether their certificates are met here.
        tuning: which form to use; None if that was not measured.
        int8_over_float: comparison of INT8 with float; None if that was not measured.
        detectors: times of the face detectors on this machine.
        sustained: the sustained run; None if there was none.
        peak_rss_mib: peak resident memory of the process in MiB; None if the system does not report it.
        load: load by other programs during the measurement; None before its end.
        missing: parts that were not measured.
    """

    record_bytes = 16 << 20

    kind: Literal["edge_sphereface.device_report"] = KIND
    schema_version: Literal[1] = SCHEMA_VERSION
    complete: bool
    stopped: str
    quick: bool
    environment: DeviceEnvironment
    findings: tuple[DeviceFinding, ...]
    models: tuple[VerifiedModel, ...]
    tuning: DeviceTuning | None
    int8_over_float: Int8OverFloat | None
    detectors: tuple[TimedDetector, ...]
    sustained: SustainedRun | None
    peak_rss_mib: _Positive | None = field(metadata=rounded(1))
    load: MachineLoad | None
    missing: tuple[MissingPart, ...]

    @property
    def fastest(self) -> TimedForm | None:
        """The form to use: INT8 if it was compared now and is faster than the form that an earlier tuning recorded."""
        compared, tuning = self.int8_over_float, self.tuning
        if tuning is not None and tuning.source == "measured":
            return tuning.best
        if compared is not None and compared.verdict == "faster":
            return compared.int8
        return None if tuning is None else tuning.best

    @classmethod
    def _current(cls, values: JsonObject) -> JsonObject:
        cls._require_kind(values, KIND, SCHEMA_VERSION)
        return values
