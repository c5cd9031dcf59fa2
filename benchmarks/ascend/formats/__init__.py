"""Readers of what other tools print: one module for each format.

Each has ``read``, which takes a :class:`~benchmarks.ascend.formats.recording.Recording` and returns its rows: none if
the text is not of that format. A figure that cannot be a time is an error. Figures that contradict one another are
kept, and the contradiction is among the row's doubts.
"""
