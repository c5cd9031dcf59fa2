"""Frame sources: cameras, network streams, GStreamer, files, Python iterators."""
