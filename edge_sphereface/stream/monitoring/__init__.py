"""What those who run a stream for months ask of it: health and metrics over HTTP, and signs for systemd."""

from edge_sphereface.stream.monitoring.health import HealthEndpoint
from edge_sphereface.stream.monitoring.systemd import SystemdNotifier

__all__ = ["HealthEndpoint", "SystemdNotifier"]
