"""Backends deliver readings. They do not depend on captures."""
