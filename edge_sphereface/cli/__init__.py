"""The command ``edge-sphereface``."""
