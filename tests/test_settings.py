"""What `settings` prints."""

from __future__ import annotations

import pytest

from inverter_capture.commands.settings import settings_text
from inverter_capture.config.schema import REQUIRED, SECTIONS
from inverter_capture.config.toml_file import header, write
from tests.configuration import parse
from tests.programs import run_program


def test_every_setting_is_explained_with_its_default() -> None:
    done = run_program("settings")
    assert (done.code, done.err) == (0, "")
    blocks = dict(block.split("\n", 1) for block in done.out.split("\n\n")[1:])
    for section in SECTIONS.values():
        (text,) = (text for title, text in blocks.items() if title.startswith(f"{header(section)} "))
        words = " ".join(text.split())
        for name, setting in section.settings.items():
            default = "(required)" if setting.default is REQUIRED else f"= {write(setting.default)}"
            assert f"{name} {default} {setting.help}" in words
        assert ("enabled (OpenWrt only)" in words) == section.repeated


def test_the_defaults_are_toml() -> None:
    lines = ["[[console]]", "[pcap]", 'device = "lo"']
    text = settings_text(80).partition("[pcap]")[2].partition("[[")[0]
    lines += [line.strip() for line in text.splitlines() if line.startswith("  ") and " = " in line]
    assert len(lines) == 2 + len(SECTIONS["pcap"].settings)
    assert parse("\n".join(lines), "c.toml") == parse("\n".join(lines[:3]), "c.toml")


@pytest.mark.parametrize("width", [1, 40, 80])
def test_lines_are_as_wide_as_the_terminal(width: int) -> None:
    longest = max(len(word) for word in settings_text(80).split())
    assert max(map(len, settings_text(width).splitlines())) <= max(width, 80, longest + 6)
