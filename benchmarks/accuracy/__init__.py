"""Accuracy on labelled pairs.

``embeddings`` embeds their photographs, ``evaluate`` puts the figures together.
"""
