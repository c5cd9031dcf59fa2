"""The row of the ledger: one way to run a network, its figures, and why they may be believed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from edge_sphereface.cli.runner import UsageError
from edge_sphereface.evaluation.timing import LatencySummary  # noqa: TC001 -- read with the annotations of the row
from edge_sphereface.json_output import INLINE, OMIT_NONE, rounded
from edge_sphereface.kit.result import Includes  # noqa: TC001 -- read with the annotations of the row
from edge_sphereface.metrics import Agreement  # noqa: TC001 -- read with the annotations of the row

if TYPE_CHECKING:
    from collections.abc import Iterator

Origin = Literal["measured here", "imported", "published"]
Weights = Literal["trained", "untrained"]
Proof = Literal["proven", "failed", "not checked"]
"""Outcome of the comparison of a run's outputs with the expected ones."""

MEASURED: Origin = "measured here"
_MAX = 1e9
"""Largest time in milliseconds, rate, power in watts and energy in joules that a run can have."""
_ROUNDING = 1e-6
IMPORTED: Origin = "imported"
PUBLISHED: Origin = "published"

SPHEREFACE = "SphereFace"
"""Start of the names of this project's networks."""
FULL_WIDTH = f"{SPHEREFACE}-20, full width"
"""The network of the official checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialLatency:
    """What the log of another program says of a latency, in milliseconds; figures that it lacks are left out.

    Attributes:
        samples: number of samples.
        min_ms: minimum.
        mean_ms: mean.
        median_ms: median.
        p95_ms: 95th percentile.
        p99_ms: 99th percentile.
        max_ms: maximum.
    """

    samples: int | None = field(default=None, metadata=OMIT_NONE)
    min_ms: float | None = field(default=None, metadata=OMIT_NONE)
    mean_ms: float | None = field(default=None, metadata=OMIT_NONE)
    median_ms: float | None = field(default=None, metadata=OMIT_NONE)
    p95_ms: float | None = field(default=None, metadata=OMIT_NONE)
    p99_ms: float | None = field(default=None, metadata=OMIT_NONE)
    max_ms: float | None = field(default=None, metadata=OMIT_NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Power of the processor during a run.

    Attributes:
        watts: mean power in watts; None if the machine does not report it.
    """

    watts: float | None = field(metadata=rounded(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A file from which a row was read, as it was at that time.

    Attributes:
        name: file name.
        sha256: SHA-256 of its bytes.
    """

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One row of the ledger. Figures that it lacks are left out.

    Attributes:
        path: name of the way to run the network.
        network: name and width of the network.
        weights: whether its weights are ``trained`` or ``untrained``; left out if unknown.
        device: device or execution provider, and threads.
        precision: precision of the computation.
        batch: number of crops in one call.
        includes: what the latency covers.
        latency: latency of one call.
        host_to_device: time of copying the inputs of one call to the device.
        device_to_host: time of copying its outputs back.
        faces_per_second: crops per second.
        power: power during the run.
        energy_j: energy of the run in joules.
        agreement: agreement of the embeddings with numpy's.
        accuracy: accuracy on LFW's pairs by the 10-fold protocol.
        accuracy_std: standard deviation of the folds' accuracies.
        accuracy_interval: 95 % confidence interval of the accuracy.
        accuracy_source: who published the accuracy, if not ``source``.
        threshold: mean threshold of the folds, a cosine similarity.
        pairs: number of pairs.
        samples_ms: raw samples of the latency in milliseconds.
        error: why it was not measured.
        machine: processor of the machine of an imported run.
        origin: ``measured here``, ``imported`` or ``published``.
        source: who measured it, and where.
        confirmed: for a published figure, in which stored copy of its source this project read it; None if it was not
            found in any.
        proof: whether the outputs were compared with the expected ones.
        doubts: what a reader must know before believing a figure.
        file: file of an imported run.
        kit: manifest of the proof kit that the run used.
        check: result of the comparison of the outputs.
    """

    path: str
    network: str | None = field(default=None, metadata=OMIT_NONE)
    weights: Weights | None = field(default=None, metadata=OMIT_NONE)
    device: str | None = field(default=None, metadata=OMIT_NONE)
    precision: str | None = field(default=None, metadata=OMIT_NONE)
    batch: int | None = field(default=None, metadata=OMIT_NONE)
    includes: Includes | None = field(default=None, metadata=OMIT_NONE)
    latency: LatencySummary | PartialLatency | None = field(default=None, metadata=OMIT_NONE)
    host_to_device: PartialLatency | None = field(default=None, metadata=OMIT_NONE)
    device_to_host: PartialLatency | None = field(default=None, metadata=OMIT_NONE)
    faces_per_second: float | None = field(default=None, metadata=OMIT_NONE)
    power: Power | None = field(default=None, metadata=INLINE)
    energy_j: float | None = field(default=None, metadata=OMIT_NONE)
    agreement: Agreement | None = field(default=None, metadata=INLINE)
    accuracy: float | None = field(default=None, metadata=OMIT_NONE)
    accuracy_std: float | None = field(default=None, metadata=OMIT_NONE)
    accuracy_interval: tuple[float, float] | None = field(default=None, metadata=OMIT_NONE)
    accuracy_source: str | None = field(default=None, metadata=OMIT_NONE)
    threshold: float | None = field(default=None, metadata=OMIT_NONE)
    pairs: int | None = field(default=None, metadata=OMIT_NONE)
    samples_ms: tuple[float, ...] | None = field(default=None, metadata=OMIT_NONE)
    error: str | None = field(default=None, metadata=OMIT_NONE)
    machine: str | None = field(default=None, metadata=OMIT_NONE)
    origin: Origin
    source: str
    confirmed: str | None = field(default=None, metadata=OMIT_NONE)
    proof: Proof = "not checked"
    doubts: tuple[str, ...] = ()
    file: Evidence | None = field(default=None, metadata=OMIT_NONE)
    kit: Evidence | None = field(default=None, metadata=OMIT_NONE)
    check: Evidence | None = field(default=None, metadata=OMIT_NONE)

    def __post_init__(self) -> None:
        """Refuse figures that no run can have, whatever they were read from.

        Raises:
            UsageError: a figure is out of its range.
        """
        for what, value, low, high in self._ranges():
            if value is not None and not low <= value <= high:
                raise UsageError(
                    f"A row of the ledger has {value:g} as {what}; expected {low:g} to {high:g}.",
                    hint="record the run again, or give the file as it was written",
                )

    def _ranges(self) -> Iterator[tuple[str, float | None, float, float]]:
        for kind, times in (
            ("latency", self.latency),
            ("time of copying", self.host_to_device),
            ("time of copying", self.device_to_host),
        ):
            for name, value in ({} if times is None else asdict(times)).items():
                is_count = name == "samples"
                yield f"{name} of the {kind}", value, 1 if is_count else 0, _MAX
        if self.milliseconds() == 0:
            yield "latency", 0, _ROUNDING, _MAX
        yield "batch", self.batch, 1, _MAX
        yield "faces_per_second", self.faces_per_second, 0, _MAX
        yield "watts", None if self.power is None else self.power.watts, 0, _MAX
        yield "energy_j", self.energy_j, 0, _MAX
        for name, share in (("accuracy", self.accuracy), ("accuracy_std", self.accuracy_std)):
            yield name, share, 0, 1
        for share in self.accuracy_interval or ():
            yield "accuracy_interval", share, 0, 1
        yield "threshold", self.threshold, -1, 1
        yield "pairs", self.pairs, 1, _MAX
        for sample in self.samples_ms or ():
            yield "samples_ms", sample, 0, _MAX
        if self.agreement is not None and self.agreement.min_cosine > 1 + _ROUNDING:
            yield "min_cosine", self.agreement.min_cosine, -1, 1

    def milliseconds(self) -> float | None:
        """Median latency of one call, or its mean if no median is known."""
        if isinstance(self.latency, PartialLatency) and self.latency.median_ms is None:
            return self.latency.mean_ms
        return None if self.latency is None else self.latency.median_ms
