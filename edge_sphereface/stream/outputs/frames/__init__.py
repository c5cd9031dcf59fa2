"""Frame sinks: snapshots and recordings on disk. The page is in ``edge_sphereface.web``."""
