"""Accuracy on labeled pairs.

``embeddings`` embeds the photographs of the pairs. ``evaluate`` computes the accuracy.
"""
