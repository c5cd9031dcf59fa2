"""Other processors than the one at hand, by QEMU's user mode: what they compute is exact, how fast they are is not.

``sysroot`` gets an emulator and a small arm64 system from Debian's and Python's registries, ``processors`` lists what
can be emulated, ``worker`` runs inside, ``compare`` holds the embeddings against those of this machine.
"""
