"""Benchmarks of galleries: identification, search latency, and embedding of folders."""
