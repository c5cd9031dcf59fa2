"""Time a model against others on this machine, to decide whether a derived model is kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edge_sphereface.cpu import usable_cpus
from edge_sphereface.evaluation.latency import DEFAULT_PLAN, Plan, Ratio, measure_rounds, ratio
from edge_sphereface.evaluation.machine_load import LoadMeter, MachineLoad
from edge_sphereface.evaluation.model_selection import Setting, inference
from edge_sphereface.evaluation.timing import LatencySummary, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


BEFORE, AFTER = "before", "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """Latency of several models for one face.

    Attributes:
        latency: latency by name of the model; the candidate comes first.
        ratios: latency of the candidate divided by that of each other model, by name.
        load: load of the machine by other programs during the measurement.
    """

    latency: Mapping[str, LatencySummary]
    ratios: Mapping[str, Ratio]
    load: MachineLoad


def race(
    name: str,
    candidate: Path,
    others: Mapping[str, Path],
    *,
    plan: Plan = DEFAULT_PLAN,
    setting: Setting | None = None,
    provider: str = "cpu",
) -> Race:
    """Time a model against others, in rounds (:mod:`edge_sphereface.evaluation.latency`).

    Args:
        name: name of the candidate.
        candidate: path of the candidate.
        others: paths of the other models, by name.
        plan: number of samples.
        setting: session setting of all models; None for all processors.
        provider: execution provider.
    """
    how = setting or Setting(threads=usable_cpus())

    def load(path: Path) -> Callable[[], object]:
        return inference(how.open(path, provider))

    meter = LoadMeter()
    samples = measure_rounds({key: partial(load, path) for key, path in {name: candidate, **others}.items()}, plan)
    return Race(
        latency={key: summarize(taken.ravel()) for key, taken in samples.items()},
        ratios={key: ratio(samples[name], samples[key]) for key in others},
        load=meter.read(),
    )
