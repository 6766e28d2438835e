"""Measures speed and memory, as ratios."""
