"""Accuracy on labelled pairs.

``pairs`` reads them, ``embeddings`` embeds their photographs, ``statistics`` has the figures, ``evaluate`` puts them
together.
"""
