"""The native path beside the edge path: MindSpore on an Ascend NPU, runs of other machines, published figures.

``probe`` detects the hardware and the software. ``native`` runs the network, on the CPU if there is no NPU; rows state
the device. ``imported`` reads runs from other machines in the ``formats`` of their tools; ``checked`` joins them with
the comparison of their outputs. ``published`` holds what others published. ``row`` is the row of all of them,
``ledger`` their table, ``comparison`` the written ledger, ``picture`` its picture. Measured, imported and published
figures are kept apart throughout.
"""
