"""Measures a device for a report that is sent to others: ``measurement`` runs it, ``report`` holds what it found."""

from edge_sphereface.device.measurement import DevicePlan, measure_device
from edge_sphereface.device.report import DeviceReport

__all__ = ["DevicePlan", "DeviceReport", "measure_device"]
