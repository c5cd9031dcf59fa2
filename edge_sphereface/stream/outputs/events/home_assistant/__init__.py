"""Home Assistant: entities for cameras and enrolled people, by MQTT discovery."""
