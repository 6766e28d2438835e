"""Packets to readings: bytes in, events out. No I/O, no clock, no log; imports nothing of ours but itself."""
