"""Measure the quantization of this project: speed, size, drift, accuracy, and the models that its gate refuses.

``derived`` makes every form of a model. ``gate`` tries to pass harmful models. ``targets`` is the table of targets.
"""
