"""Evaluation of models and galleries: accuracy, thresholds, latency."""
