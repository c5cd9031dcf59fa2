"""Compare detection with what it replaced: OpenCV's ``FaceDetectorYN``, closer looks, photographs decoded in full."""
