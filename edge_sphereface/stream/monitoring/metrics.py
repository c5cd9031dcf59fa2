"""Metrics of a stream for Prometheus: extra ``metrics``.

References:
    https://prometheus.io/docs/practices/naming/: base units, and ``_total`` for counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from edge_sphereface import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from prometheus_client import Metric

    from edge_sphereface.stream.monitoring.health import Monitored
    from edge_sphereface.stream.statistics import Quantiles

_COUNTS = {
    "frames": "Frames that were processed",
    "read": "Frames that were read from the source",
    "dropped": "Frames that were replaced by a newer one",
    "detections": "Frames in which faces were detected",
    "embeddings": "Faces that were embedded",
    "openings": "Times that the source was opened",
    "events_dropped": "Events that were lost because a queue was full",
}
_GAUGES = {
    "faces": "Faces that are tracked",
    "events_pending": "Events that are not delivered yet",
    "detect_fps": "Detections per second that the budget allows",
    "detect_side": "Longer side of the image for detection, in pixels",
}
_TIMES = {
    "age": "Age of a frame when its processing begins",
    "latency": "Time from the reading of a frame to the end of its processing",
}


def make_registry(monitored: Monitored) -> CollectorRegistry:
    """The metrics of one or several streams and of their process."""
    registry = CollectorRegistry()
    registry.register(_StreamCollector(monitored))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics in the text format of Prometheus."""
    return bytes(generate_latest(registry))


class _StreamCollector(Collector):
    def __init__(self, monitored: Monitored) -> None:
        self._monitored = monitored

    def collect(self) -> Iterator[Metric]:
        streams = {stream.settings.name: stream for stream in self._monitored.streams}
        now = {name: stream.statistics() for name, stream in streams.items()}
        health = {(name,): stream.health().healthy for name, stream in streams.items()}
        labels = ["stream"]
        yield _gauge("info", "Version of this package", ["stream", "version"], {(name, __version__): 1 for name in now})
        yield _gauge("healthy", "Whether frames arrive and are processed", labels, health)
        up = {(name,): counts.source_up for name, counts in now.items()}
        yield _gauge("source_up", "Whether the source delivers frames", labels, up)
        about = "Problems besides those of the source; /health describes them"
        yield _gauge("problems", about, labels, {(name,): len(counts.problems) for name, counts in now.items()})
        for key, about in _COUNTS.items():
            counts = {(name,): getattr(statistics, key) for name, statistics in now.items()}
            yield _counter(key, about, labels, counts)
        work = {(name,): stream.counters.total.work_ms / 1000 for name, stream in streams.items()}
        yield _counter("work_seconds", "Time spent on processing frames", labels, work)
        kinds = {
            (name, kind): count
            for name, stream in streams.items()
            for kind, count in list(stream.counters.events.items())
        }
        yield _counter("events", "Events, by kind", ["stream", "event"], kinds)
        for key, about in _GAUGES.items():
            yield _gauge(key, about, labels, {(name,): getattr(statistics, key) for name, statistics in now.items()})
        for key, about in _TIMES.items():
            seconds = {
                (name, label): value / 1000
                for name, statistics in now.items()
                for label, value in _quantiles(getattr(statistics, f"{key}_ms"))
            }
            yield _gauge(f"{key}_seconds", f"{about}; recent quantiles", ["stream", "quantile"], seconds)


def _quantiles(quantiles: Quantiles) -> list[tuple[str, float]]:
    found = (("0.5", quantiles.p50), ("0.99", quantiles.p99))
    return [(label, value) for label, value in found if value is not None]


def _counter(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    counter = CounterMetricFamily(f"edge_sphereface_{name}", about, labels=labels)
    for where, value in values.items():
        counter.add_metric(list(where), value)
    return counter


def _gauge(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    gauge = GaugeMetricFamily(f"edge_sphereface_{name}", about, labels=labels)
    for where, value in values.items():
        gauge.add_metric(list(where), float(value))
    return gauge
