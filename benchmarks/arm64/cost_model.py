"""Model the time of an inference from its counts: a stated, simple model with its error, and no measurement.

``time = vector instructions / (starts per cycle x clock x threads) + lines x 64 bytes / bandwidth``

A core starts as many vector instructions in a cycle as Arm states, on each thread's own core. Lines that the last level
of the caches lacks or writes back pass one bus, which all threads share. Both parts are added: nothing overlaps, and
everything else is free. The bandwidth is published, or fitted to published times of ncnn's benchmark with one thread;
the other times judge the model. It is fitted where there are times of several networks: a single time takes up in the
bandwidth whatever the model does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.arm64.cores import CORES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.arm64.cores import Core
    from benchmarks.arm64.instructions import Counts
    from benchmarks.contenders.contender import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network of ncnn's benchmark on a board.

    Attributes:
        processor: name of the core in ``CORES``.
        network: name in ``ncnn_networks``.
        precision: precision that ncnn chooses on that core.
        ncnn: version of ncnn that is counted: the release nearest to the publication.
    """

    processor: str
    network: str
    precision: Precision
    ncnn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A published time.

    Attributes:
        network: the network and its board.
        threads: number of threads.
        ms: mean time in milliseconds.
        is_fitted: whether the constants of the model are fitted to it; else it judges them.
    """

    network: Network
    threads: int
    ms: float
    is_fitted: bool


_TIMES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "cortex-a53": {
        "squeezenet": (125.58, 85.22),
        "mobilenet": (205.65, 108.66),
        "resnet18": (379.57, 271.93),
        "resnet50": (979.75, 587.42),
    },
    "cortex-a72": {
        "squeezenet": (73.96, 46.65),
        "mobilenet": (124.32, 61.17),
        "mobilenet_v2": (93.48, 61.88),
        "resnet18": (191.10, 123.12),
        "resnet50": (534.11, 262.83),
    },
    "cortex-a76": {"resnet18": (29.7, 20.0)},
}
"""Mean time in milliseconds with one thread and with four, by core and network.

Source: Tencent/ncnn, benchmark/README.md: Raspberry Pi 3 Model B+ at 1.4 GHz, Raspberry Pi 4 Model B at 1.8 GHz,
Raspberry Pi 5 at 2.4 GHz."""

_VERSIONS = {"cortex-a53": "1.0.20221128", "cortex-a72": "1.0.20221128", "cortex-a76": "1.0.20240102"}
_FITTED = {(processor, name) for processor in ("cortex-a53", "cortex-a72") for name in ("mobilenet", "resnet50")}
"""Core and network of the times with one thread to which the bandwidths are fitted."""


def published() -> list[Published]:
    """Return the published times."""
    return [
        Published(
            network=Network(
                processor=processor,
                network=name,
                precision="float16" if CORES[processor].has_half else "float32",
                ncnn=_VERSIONS[processor],
            ),
            threads=threads,
            ms=ms,
            is_fitted=threads == 1 and (processor, name) in _FITTED,
        )
        for processor, rows in _TIMES.items()
        for name, times in rows.items()
        for threads, ms in zip((1, 4), times, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledPair:
    """A published time beside the modelled one.

    Attributes:
        published: the published time.
        counts: counts of the same network on the emulated core, with one thread.
        modelled_ms: modelled time in milliseconds.
        error: difference to the published time, as a share of it.
    """

    published: Published
    counts: Counts
    modelled_ms: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """The model with its evidence.

    Attributes:
        bandwidth_gb_s: 10^9 bytes that a board moves to and from memory in a second, by core, as published or fitted.
        pairs: published and modelled times.
        largest_error: largest error of the pairs that judge the model, as a share, by core; a pair with four threads
            judges its core too.
    """

    bandwidth_gb_s: Mapping[str, float]
    pairs: tuple[ModelledPair, ...]
    largest_error: Mapping[str, float]


def _parts(counts: Counts, core: Core, threads: int) -> tuple[float, float]:
    """Milliseconds of arithmetic, and millions of bytes to and from memory."""
    if counts.traffic is None:
        raise ValueError("Expected counts with the traffic of a core's caches, got none.")
    arithmetic_ms = counts.vector / (core.vector_per_cycle * core.ghz * 1e6 * threads)
    return arithmetic_ms, counts.traffic.memory_bytes / 1e6


def modelled_ms(counts: Counts, core: Core, bandwidth_gb_s: float, threads: int = 1) -> float:
    """Return the modelled time of an inference in milliseconds.

    Args:
        counts: counts with one thread, with traffic.
        core: the core.
        bandwidth_gb_s: 10^9 bytes that the board moves to and from memory in a second.
        threads: number of threads, each on a core of its own.
    """
    arithmetic_ms, megabytes = _parts(counts, core, threads)
    return arithmetic_ms + megabytes / bandwidth_gb_s


def fit(rows: Sequence[tuple[Published, Counts]]) -> CostModel:
    """Fit the bandwidths that are not published to the pairs that are meant for it, and judge the model by the rest.

    Least squares of relative errors.

    Args:
        rows: published times, with the counts of their networks.

    Raises:
        ValueError: the pairs of a board determine no bandwidth.
    """
    bandwidths = {
        name: CORES[name].memory_gb_s
        or _bandwidth(name, [(one, counts) for one, counts in rows if one.network.processor == name])
        for name in dict.fromkeys(one.network.processor for one, _ in rows)
    }
    pairs = []
    for one, counts in rows:
        name = one.network.processor
        ms = modelled_ms(counts, CORES[name], bandwidths[name], one.threads)
        pairs.append(ModelledPair(published=one, counts=counts, modelled_ms=ms, error=ms / one.ms - 1))
    largest: dict[str, float] = {}
    for pair in pairs:
        name = pair.published.network.processor
        if not pair.published.is_fitted:
            largest[name] = max(largest.get(name, 0.0), abs(pair.error))
    return CostModel(bandwidth_gb_s=bandwidths, pairs=tuple(pairs), largest_error=largest)


def _bandwidth(name: str, rows: Sequence[tuple[Published, Counts]]) -> float:
    above = below = 0.0
    for one, counts in rows:
        if one.is_fitted:
            arithmetic_ms, megabytes = _parts(counts, CORES[name], one.threads)
            above += megabytes / one.ms * (1 - arithmetic_ms / one.ms)
            below += (megabytes / one.ms) ** 2
    if above <= 0:
        raise ValueError(f"Expected times of {name} that are longer than the arithmetic alone, got none to fit to.")
    return below / above
