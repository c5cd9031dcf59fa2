"""``python -m edge_sphereface`` is ``edge-sphereface``."""

from edge_sphereface.cli.__main__ import entry_point

entry_point()
