"""Model the time of an inference from its counts: a stated, simple model with its error, and no measurement.

``time = vector instructions / (starts per cycle x clock x vector share) / threads + bytes / (bus x bus share)``

Vector instructions run on each thread's own core; lines that the caches lack or write back pass one bus, which all
threads share. Both parts are added: nothing overlaps. The two shares are constants of all boards, fitted to some
published times of ncnn's benchmark and judged by the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.arm64.cores import CORES
from benchmarks.arm64.instructions import LINE_BYTES

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
        "mobilenet_v2": (158.80, 111.68),
        "resnet18": (379.57, 271.93),
        "resnet50": (979.75, 587.42),
    },
    "cortex-a72": {
        "squeezenet": (73.96, 46.65),
        "mobilenet": (124.32, 61.17),
        "mobilenet_v2": (93.48, 61.88),
        "resnet18": (191.10, 123.12),
        "resnet50": (534.11, 262.83),
        "vgg16": (1071.85, 547.09),
    },
    "cortex-a76": {"resnet18": (29.7, 20.0)},
}
"""Mean time in milliseconds with one thread and with four, by core and network.

Source: Tencent/ncnn, benchmark/README.md: Raspberry Pi 3 Model B+ at 1.4 GHz, Raspberry Pi 4 Model B at 1.8 GHz,
Raspberry Pi 5 at 2.4 GHz."""

_VERSIONS = {"cortex-a53": "1.0.20221128", "cortex-a72": "1.0.20221128", "cortex-a76": "1.0.20240102"}
_FITTED = {("cortex-a72", name, 1) for name in ("mobilenet", "mobilenet_v2", "resnet50")}
"""All others judge the model, among them every time with four threads and every other board."""


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
            is_fitted=(processor, name, threads) in _FITTED,
        )
        for processor, rows in _TIMES.items()
        for name, times in rows.items()
        for threads, ms in zip((1, 4), times, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """The fitted constants.

    Attributes:
        vector_share: vector instructions that start, as a share of those that the core can start.
        bus_share: transferred bytes, as a share of those that the memory can transfer.
    """

    vector_share: float
    bus_share: float


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
        constants: the fitted constants.
        pairs: published and modelled times.
        largest_error: largest error of a pair that judges the model, by core and number of threads.
    """

    constants: Constants
    pairs: tuple[ModelledPair, ...]
    largest_error: Mapping[str, float]


def _parts_ms(counts: Counts, core: Core, threads: int) -> tuple[float, float]:
    """Milliseconds of arithmetic and of transfers at the full rates of core and memory."""
    if counts.traffic is None:
        raise ValueError("Expected counts with the traffic of a core's caches, got none.")
    lines = counts.traffic.misses[-1] + counts.traffic.written_back
    arithmetic = counts.vector / (core.vector_per_cycle * core.ghz * 1e6 * threads)
    return arithmetic, lines * LINE_BYTES / (core.memory_gb_s * 1e6)


def modelled_ms(counts: Counts, core: Core, constants: Constants, threads: int = 1) -> float:
    """Return the modelled time of an inference in milliseconds.

    Args:
        counts: counts with one thread, with traffic.
        core: the core.
        constants: constants of the model.
        threads: number of threads, each on a core of its own.
    """
    arithmetic, transfers = _parts_ms(counts, core, threads)
    return arithmetic / constants.vector_share + transfers / constants.bus_share


def fit(rows: Sequence[tuple[Published, Counts]]) -> CostModel:
    """Fit the constants to the pairs that are meant for it, by least squares of relative errors, and judge by the rest.

    Args:
        rows: published times, with the counts of their networks.

    Raises:
        ValueError: the pairs do not determine two positive constants.
    """
    fitted = [
        (one.ms, _parts_ms(counts, CORES[one.network.processor], one.threads)) for one, counts in rows if one.is_fitted
    ]
    matrix = np.array([[part / ms for part in parts] for ms, parts in fitted])
    if len(fitted) < 2 or np.linalg.matrix_rank(matrix) < 2:
        raise ValueError(f"Expected pairs that determine two constants, got {len(fitted)}.")
    factors = np.linalg.lstsq(matrix, np.ones(len(fitted)), rcond=None)[0]
    if not (factors > 0).all():
        raise ValueError(f"Expected positive constants, got {factors.tolist()}.")
    constants = Constants(vector_share=float(1 / factors[0]), bus_share=float(1 / factors[1]))
    pairs = []
    for one, counts in rows:
        ms = modelled_ms(counts, CORES[one.network.processor], constants, one.threads)
        pairs.append(ModelledPair(published=one, counts=counts, modelled_ms=ms, error=ms / one.ms - 1))
    largest: dict[str, float] = {}
    for pair in pairs:
        if not pair.published.is_fitted:
            key = f"{pair.published.network.processor}, {pair.published.threads} threads"
            largest[key] = max(largest.get(key, 0.0), abs(pair.error))
    return CostModel(constants=constants, pairs=tuple(pairs), largest_error=largest)
