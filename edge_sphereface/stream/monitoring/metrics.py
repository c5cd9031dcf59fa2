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

    from edge_sphereface.stream.face_stream import FaceStream
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


def make_registry(stream: FaceStream) -> CollectorRegistry:
    """The metrics of a stream and of its process."""
    registry = CollectorRegistry()
    registry.register(_StreamCollector(stream))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The metrics in the text format of Prometheus."""
    return bytes(generate_latest(registry))


class _StreamCollector(Collector):
    def __init__(self, stream: FaceStream) -> None:
        self._stream = stream

    def collect(self) -> Iterator[Metric]:
        name, now = self._stream.settings.name, self._stream.statistics()
        health = self._stream.health()
        labels = ["stream"]
        yield _gauge("info", "Version of this package", ["stream", "version"], {(name, __version__): 1})
        yield _gauge("healthy", "Whether frames arrive and are processed", labels, {(name,): health.healthy})
        yield _gauge("source_up", "Whether the source delivers frames", labels, {(name,): now.source_up})
        about = "Problems besides those of the source; /health describes them"
        yield _gauge("problems", about, labels, {(name,): len(now.problems)})
        for key, about in _COUNTS.items():
            counter = CounterMetricFamily(f"edge_sphereface_{key}", about, labels=labels)
            counter.add_metric([name], getattr(now, key))
            yield counter
        work = CounterMetricFamily("edge_sphereface_work_seconds", "Time spent on processing frames", labels=labels)
        work.add_metric([name], self._stream.counters.total.work_ms / 1000)
        yield work
        events = CounterMetricFamily("edge_sphereface_events", "Events, by kind", labels=["stream", "event"])
        for kind, count in list(self._stream.counters.events.items()):
            events.add_metric([name, kind], count)
        yield events
        for key, about in _GAUGES.items():
            yield _gauge(key, about, labels, {(name,): getattr(now, key)})
        for key, about in _TIMES.items():
            quantiles: Quantiles = getattr(now, f"{key}_ms")
            values = {(name, "0.5"): quantiles.p50, (name, "0.99"): quantiles.p99}
            seconds = {where: value / 1000 for where, value in values.items() if value is not None}
            yield _gauge(f"{key}_seconds", f"{about}; recent quantiles", ["stream", "quantile"], seconds)


def _gauge(name: str, about: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    gauge = GaugeMetricFamily(f"edge_sphereface_{name}", about, labels=labels)
    for where, value in values.items():
        gauge.add_metric(list(where), float(value))
    return gauge
