"""Test the wheel and the models on emulated arm64 cores, and compare the results with x86-64.

``models`` makes every form of the network. ``features`` runs inside the emulator, and ``smoke`` runs it on each core.
``agreement`` compares the results with this machine. ``instructions`` counts the instructions of an inference, and
``report`` formats the results. The emulator is :mod:`benchmarks.emulation`.
"""
