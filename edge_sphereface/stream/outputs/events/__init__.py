"""Event sinks: lines on stdout or in a file, MQTT, a command, a webhook, a Python function."""
