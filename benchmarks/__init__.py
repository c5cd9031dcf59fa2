"""Benchmarks of speed, memory, accuracy and live recognition. Run from a checkout: ``python -m benchmarks --help``."""
