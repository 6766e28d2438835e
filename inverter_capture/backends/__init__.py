"""Backends: where readings go. They know nothing of captures."""
