"""The native path: MindSpore on an Ascend NPU, its exported MINDIR, and onnxruntime's CANN provider.

``probe`` detects the hardware and the software. ``native`` runs the network, on the CPU if there is no NPU; rows state
the device. ``imported`` reads runs from other machines. ``comparison_table`` shows all rows and keeps measured and
published figures apart.
"""
