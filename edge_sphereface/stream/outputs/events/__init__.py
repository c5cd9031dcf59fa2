"""Event sinks: lines on stdout or in a file, MQTT, a Python function."""
