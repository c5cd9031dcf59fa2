"""Proof that wheel and models do on arm64 what they do on x86-64, on emulated cores of the boards that users have.

``models`` makes every form of the network, ``features`` runs inside the emulator, ``smoke`` runs it on each core,
``agreement`` holds what comes out against this machine, ``instructions`` counts what an inference costs, ``report``
shows it. The emulator is :mod:`benchmarks.emulation`.
"""
