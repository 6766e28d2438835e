"""MQTT, and Home Assistant behind it."""
