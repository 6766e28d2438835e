"""The text that `settings` prints: every section and setting, with default and description."""

from __future__ import annotations

import textwrap

from inverter_capture.config.schema import REQUIRED, SECTIONS, Setting
from inverter_capture.config.toml_file import header, write
from inverter_capture.config.uci import BACKEND_ENABLED, CONFIG_FILE, ENABLED, SERVICE, SERVICE_ENABLED

INTRODUCTION = (
    f"Sections and settings, with their defaults as TOML has them. In {CONFIG_FILE} on OpenWrt sections and options "
    "have the same names, and true and false are 1 and 0. Sections in double brackets can be repeated."
)


def settings_text(width: int) -> str:
    """The text, wrapped at `width` characters."""
    blocks = [
        textwrap.fill(INTRODUCTION, width, break_on_hyphens=False, break_long_words=False),
        f"{SERVICE} (OpenWrt only)\n{_describe(ENABLED, SERVICE_ENABLED, width)}",
    ]
    for section in SECTIONS.values():
        lines = [f"{header(section)} {section.type.__doc__ or ''}".partition("\n")[0].rstrip()]
        if section.repeated:
            lines.append(_describe(f"{ENABLED} (OpenWrt only)", BACKEND_ENABLED, width))
        lines += [_describe(name, setting, width) for name, setting in section.settings.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _describe(name: str, setting: Setting, width: int) -> str:
    value = "(required)" if setting.default is REQUIRED else f"= {write(setting.default)}"
    indent = " " * 6
    text = textwrap.fill(setting.help, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    return f"  {name} {value}\n{text}"
