"""Readings as text, and what a terminal shows."""
