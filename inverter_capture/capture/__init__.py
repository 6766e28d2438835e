"""Packets from a network device or a capture file, and the filter that finds dongles."""
