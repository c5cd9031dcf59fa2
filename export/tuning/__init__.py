"""Find the fastest form of the float model on a machine by measuring.

``search`` times every way to compute each stage and selects combinations. ``tune`` measures whole networks and writes
the best one with its proof. :mod:`edge_sphereface.evaluation.model_selection` selects among given forms on a device.
"""
