"""Face detection behind one interface: :class:`Detector`, opened by :func:`open_detector`."""

from edge_sphereface.detection.detector import DETECTOR_NAMES, BatchDetector, Detector, detect_batch, open_detector

__all__ = ["DETECTOR_NAMES", "BatchDetector", "Detector", "detect_batch", "open_detector"]
