"""What those who run a stream for months ask of it: health and metrics over HTTP, and signs for systemd."""

from edge_sphereface.stream.operation.endpoint import HealthEndpoint
from edge_sphereface.stream.operation.supervisor import Supervisor

__all__ = ["HealthEndpoint", "Supervisor"]
