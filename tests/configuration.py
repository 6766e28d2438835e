"""Configurations for tests."""

from __future__ import annotations

from inverter_capture.config.schema import Config
from inverter_capture.config.toml_file import TomlFile


def parse(text: str, name: str) -> Config:
    """The configuration in a text. Raises ConfigError, in which `name` is the file's name."""
    return TomlFile(text, name).config()
