"""Emulate other processors by QEMU's user mode: results are exact, speed is not.

``debian`` unpacks packages for any processor. ``emulator`` runs Python on one, and ``processors`` lists the emulated
processors. ``compare`` compares embeddings of quantized models, which ``worker`` computes in the emulator, with those
of this machine.
"""
