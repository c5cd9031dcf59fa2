"""Where events go: lines on a stream or in a file, MQTT, a Python function."""
