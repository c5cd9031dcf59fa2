"""The quantization of this project measured: speed, size, drift, accuracy, and what its gate refuses.

``derived`` makes every form of a model, ``gate`` tries to get harmful ones past the gate, ``targets`` is the table.
"""
