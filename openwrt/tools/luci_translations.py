"""Updates the template of the LuCI app's translations, and the translations: make luci

The texts are those of the pages, and of the plugin's answers about settings and values. New texts get an empty
translation. Texts that are no longer used are removed.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

from inverter_capture.protocol.codes import GENERATOR_POWER_SWITCH, GENERATOR_RELAY_STATES
from inverter_capture.protocol.inverter_kinds import KINDS
from openwrt.tools.po2lmo import translations

APP = Path(__file__).resolve().parents[1] / "luci-app-inverter-capture"
PLUGIN = APP / "root/usr/share/luci-app-inverter-capture/plugin.py"
KINDS_SOURCE = APP.parents[1] / "inverter_capture/protocol/inverter_kinds.py"
TEMPLATE = APP / "po" / "templates" / "inverter-capture.pot"
LANGUAGES = ("af", "de")

_CALL = re.compile(r"(?<![\w$])_\('((?:[^'\\\n]|\\.)*)'\)")


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files() -> dict[Path, str]:
    """The up-to-date content of each file."""
    texts = originals()
    made = {TEMPLATE: _written(texts, {})}
    for language in LANGUAGES:
        path = APP / "po" / language / "inverter-capture.po"
        made[path] = _written(texts, translations(path) if path.exists() else {}, language)
    return made


def originals() -> dict[str, list[str]]:
    """The texts of the app, and the files that contain them."""
    found: dict[str, list[str]] = {}
    for path in sorted(APP.rglob("*.js")):
        for text in _CALL.findall(path.read_text()):
            _note(found, text.replace("\\'", "'"), path)
    for path in sorted(APP.rglob("menu.d/*.json")):
        for entry in json.loads(path.read_text()).values():
            _note(found, entry["title"], path)
    for path in sorted(APP.rglob("acl.d/*.json")):
        for group in json.loads(path.read_text()).values():
            _note(found, group["description"], path)
    for text in _answered():
        _note(found, text, PLUGIN)
    for text in _words():
        _note(found, text, KINDS_SOURCE)
    return found


def _words() -> Iterator[str]:
    """The program's words for codes and for kinds of inverters, which the status file has."""
    yield from KINDS
    for kind in KINDS.values():
        for texts in (*kind.codes.states.values(), *kind.codes.flags.values(), kind.codes.warnings, kind.codes.faults):
            yield from texts.values()
    yield from (*GENERATOR_RELAY_STATES.values(), GENERATOR_POWER_SWITCH[1], "none")


def _answered() -> Iterator[str]:
    """The texts in the plugin's answers that the pages translate; names with a number have %d there."""
    plugin = runpy.run_path(str(PLUGIN))
    for section in plugin["settings"]({})["sections"]:
        yield section["title"]
        for setting in section["settings"]:
            yield from (setting["title"], setting["help"])
    for kind in KINDS:
        for group, rows in plugin["fields"]({"kind": kind})["groups"]:
            yield from map(_pattern, [group, *(name for _, name, *_ in rows)])
            yield from (meaning for row in rows for meaning in row[4:])


def _pattern(name: str) -> str:
    """As `named` in overview.js."""
    numbers = re.findall(r"\d+", name)
    return name.replace(numbers[0], "%d") if len(numbers) == 1 else name


def _note(found: dict[str, list[str]], text: str, path: Path) -> None:
    places = found.setdefault(text, [])
    place = str(path.relative_to(APP.parents[1]))
    if place not in places:
        places.append(place)


def _written(texts: dict[str, list[str]], known: dict[str, str], language: str = "") -> str:
    head = "Content-Type: text/plain; charset=UTF-8\n" + (f"Language: {language}\n" if language else "")
    blocks = [f'msgid ""\nmsgstr {json.dumps(head)}\n']
    for text, places in texts.items():
        references = "".join(f"#: {place}\n" for place in places)
        quoted, translation = (json.dumps(each, ensure_ascii=False) for each in (text, known.get(text, "")))
        blocks.append(f"{references}msgid {quoted}\nmsgstr {translation}\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    main()
