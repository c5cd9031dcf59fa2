"""Outputs of a stream: events and frames."""
