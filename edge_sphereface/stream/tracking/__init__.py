"""Face tracking from frame to frame."""
