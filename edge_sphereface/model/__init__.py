"""Metadata of a model file: specification, certificate, quantization and tuning."""
