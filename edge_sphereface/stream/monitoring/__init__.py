"""Monitoring of a long-running stream: health and metrics over HTTP, systemd notifications."""

from edge_sphereface.stream.monitoring.health import HealthEndpoint
from edge_sphereface.stream.monitoring.systemd import SystemdNotifier

__all__ = ["HealthEndpoint", "SystemdNotifier"]
