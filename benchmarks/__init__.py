"""Measurements that a camera builder can decide from. Run from a checkout: ``python -m benchmarks --help``."""
