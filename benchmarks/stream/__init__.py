"""Benchmarks of live recognition: on rendered video with ground truth, and over many frames."""
