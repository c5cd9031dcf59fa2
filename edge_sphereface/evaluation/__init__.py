"""Judging models and galleries: accuracy, thresholds, latency."""
