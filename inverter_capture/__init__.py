"""Captures the readings that a solar inverter's WiFi dongle sends to its cloud, and delivers them to databases."""

__version__ = "0.1.0"
