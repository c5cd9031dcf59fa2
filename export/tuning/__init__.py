"""The float graph that is fastest on a machine, found by measuring.

``search`` times every way to compute each stage and picks combinations, ``tune`` measures whole networks and writes
the best with its proof. What a device does with given forms is in :mod:`edge_sphereface.evaluation.model_selection`.
"""
