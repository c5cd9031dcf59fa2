"""Where frames come from: cameras, the network, GStreamer, files, Python."""
