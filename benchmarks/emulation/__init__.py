"""Other processors than the one at hand, by QEMU's user mode: what they compute is exact, how fast they are is not.

``debian`` unpacks packages for any processor, ``emulator`` runs Python on one, ``processors`` lists what can be
emulated, ``compare`` holds embeddings of quantized models, which ``worker`` makes inside, against this machine's.
"""
