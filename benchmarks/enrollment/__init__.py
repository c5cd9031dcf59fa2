"""Benchmarks of enrollment: quality checked against recognition, templates, score normalization by a cohort."""
