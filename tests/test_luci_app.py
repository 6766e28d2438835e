"""What is written of the LuCI app by programs, its translations, and that its files survive the build that LuCI has."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverter_capture.config.schema import REQUIRED, SECTIONS
from inverter_capture.config.uci import PACKAGE, SERVICE, convert
from inverter_capture.output.table import DIRECTIONS, GROUPS, label
from inverter_capture.protocol.inverter_kinds import KINDS, SINGLE_PHASE
from inverter_capture.service.recent_readings import CHART_FIELDS
from openwrt.tools import luci_translations
from openwrt.tools.jsmin import JsminError, jsmin
from openwrt.tools.po2lmo import translations

APP = luci_translations.APP


def sources() -> list[Path]:
    """The app's JavaScript."""
    return sorted(APP.rglob("*.js"))


def acl() -> dict[str, dict[str, dict[str, Any]]]:
    """What each group may do: group -> read or write -> scope -> object -> functions."""
    (path,) = APP.rglob("acl.d/*.json")
    groups: dict[str, dict[str, dict[str, Any]]] = json.loads(path.read_text())
    for group in groups.values():
        del group["description"]
    return groups


@pytest.fixture(scope="module")
def plugin() -> dict[str, Any]:
    """The functions of rpcd's plugin."""
    return runpy.run_path(str(luci_translations.PLUGIN))


def test_the_forms_are_told_of_every_setting_in_the_schema_s_words(plugin: dict[str, Any]) -> None:
    sections = {section["name"]: section for section in plugin["settings"]({})["sections"]}
    assert list(sections) == [SERVICE, *SECTIONS]
    for name, section in SECTIONS.items():
        settings = {setting["name"]: setting for setting in sections[name]["settings"]}
        assert list(settings) == (["enabled"] if section.repeated else []) + list(section.settings)
        for key, spec in section.settings.items():
            assert settings[key]["help"] == spec.help
            assert settings[key]["secret"] is spec.secret
            assert settings[key]["required"] is (spec.default is REQUIRED)
            # What the form shows as the default is what the program takes for it.
            if settings[key]["default"]:
                given = convert([settings[key]["default"]], spec.type.types)
                assert spec.type.read(given) == spec.default


def test_the_table_is_told_of_every_value_of_every_inverter(plugin: dict[str, Any]) -> None:
    for kind in KINDS.values():
        groups = plugin["fields"]({"kind": kind.name})["groups"]
        assert [group for group, _ in groups] == list(GROUPS)
        rows = {row[0]: row for _, rows in groups for row in rows}
        assert rows.keys() == kind.fields_by_id.keys()
        for name, field in kind.fields_by_id.items():
            assert rows[name][1:4] == (label(field, 0), field.unit, field.decimals)
            assert rows[name][4:] == DIRECTIONS.get(name, ())


def test_the_pages_and_the_program_agree_on_charts_and_states() -> None:
    resources = APP / "htdocs/luci-static/resources"
    chart = (resources / "inverter-capture/chart.js").read_text()
    assert f"SERIES = [ {', '.join(repr(name) for name in CHART_FIELDS)} ]" in chart
    overview = (resources / "view/inverter-capture/overview.js").read_text()
    named = re.search(r"STATES = \{ (.*) \}", overview)
    assert named is not None
    assert set(re.findall(r"(\w+): ", named[1])) <= set(SINGLE_PHASE.codes.states["inverter_state"].values())


def test_the_template_and_the_translations_are_current_and_complete() -> None:
    for path, text in luci_translations.files().items():
        assert path.read_text() == text, "run: make luci"
    originals = luci_translations.originals()
    for language in luci_translations.LANGUAGES:
        known = translations(APP / "po" / language / "inverter-capture.po")
        assert [text for text in originals if text not in known] == []
        for text, translation in known.items():
            assert re.findall("%.", text) == re.findall("%.", translation)


def test_no_text_that_people_read_is_left_out_of_the_translations() -> None:
    # A string with a space and a capital letter is one, unless it is a class, a path or a picture.
    for path in sources():
        text = re.sub(r"//.*|_\('(?:[^'\\]|\\.)*'\)|'(?:use strict|require [^']*)'", "", path.read_text())
        found = [
            each for each in re.findall(r"'((?:[^'\\\n]|\\.)*)'", text) if re.fullmatch(r"[A-Z][a-z]+ [a-z ]+.*", each)
        ]
        assert found == [], path.name


def test_no_text_needs_a_singular() -> None:
    places = luci_translations.originals()
    counts = [text for text in places if re.search("%d [a-z]", text) and any(".js" in place for place in places[text])]
    # None of these numbers is ever 1.
    assert counts == ["%d seconds", "%d minutes", "%d hours", "%d days", "All %d values", "%d of %d seconds"]


def test_the_readme_s_pictures_are_small() -> None:
    pictures = Path(__file__).parents[1].joinpath(".github").glob("*.png")
    assert 0 < sum(picture.stat().st_size for picture in pictures) < 200 * 1024


def test_views_and_menu_belong_together() -> None:
    (path,) = APP.rglob("menu.d/*.json")
    menu = json.loads(path.read_text())
    views = {entry["action"]["path"] for entry in menu.values() if entry["action"]["type"] == "view"}
    assert views == {f"inverter-capture/{name}" for name in ("overview", "settings", "log")}
    for view in views:
        assert (APP / "htdocs/luci-static/resources/view" / f"{view}.js").is_file()
    groups = {group for entry in menu.values() for group in entry.get("depends", {}).get("acl", [])}
    assert groups == acl().keys()


def test_readers_see_neither_settings_nor_the_log_of_others() -> None:
    overview, settings = acl().values()
    assert overview["read"] == {
        # What runs the one command below, for users too who may not run others.
        "cgi-io": ["exec"],
        "file": {
            "/var/run/inverter-capture/status.json": ["read"],
            "/tmp/run/inverter-capture/status.json": ["read"],
            "/sbin/logread -t -e inverter-capture": ["exec"],
        },
        "ubus": {"file": ["read"], PACKAGE: ["state", "fields", "problems"]},
    }
    assert settings.keys() == {"write"}
    assert overview["write"] == {"ubus": {PACKAGE: ["service"]}}


def test_what_the_pages_call_is_granted_and_nothing_else() -> None:
    called: dict[str, set[str]] = {}
    for path in sources():
        text = path.read_text()
        for found, method in re.findall(r"object: '([\w-]+)', method: '(\w+)'", text):
            called.setdefault(found, set()).add(method)
        called.setdefault(PACKAGE, set()).update(re.findall(r"\bdeclare\('(\w+)'", text))
    granted: dict[str, set[str]] = {}
    for group in acl().values():
        for rights in group.values():
            for name, methods in rights["ubus"].items():
                granted.setdefault(name, set()).update(methods)
    assert granted.pop("file") == {"read"}
    assert called == granted


def test_the_plugin_knows_the_schema_s_backends_and_grants_the_same_methods() -> None:
    script = (APP / "root/usr/libexec/rpcd/inverter-capture").read_text()
    done = subprocess.run(
        ["sh", str(APP / "root/usr/libexec/rpcd/inverter-capture"), "list"], capture_output=True, check=True, text=True
    )
    methods = {method for group in acl().values() for rights in group.values() for method in rights["ubus"][PACKAGE]}
    assert json.loads(done.stdout).keys() == methods
    assert re.findall(r'type == "(\w+)"', script.split("close_section()")[1]) == [
        SERVICE,
        *(section.name for section in SECTIONS.values() if section.repeated),
    ]


# --- jsmin --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_no_source_needs_more_than_jsmin_understands(path: Path) -> None:
    text = path.read_text()
    assert "`" not in text
    # A regular expression behind a word would be taken for a division.
    assert not re.search(r"\b(?:return|typeof|case|in|of)\s+/", text)
    small = jsmin(path.read_bytes())
    assert jsmin(small) == small
    assert len(small) < len(text)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("var a = 1; // b\nvar c;", "var a=1;var c;"),
        ("a  /* b */  + +c", "a+ +c"),
        ("x = /[/'\"]\\/ */.test( 'a  b' )", "x=/[/'\"]\\/ */.test('a  b')"),
        ("if (a)\n\treturn b\n\nc()", "if(a)\nreturn b\nc()"),
        ("'use strict';\n'require a';\n\nlet b = c / d / e;", "'use strict';'require a';let b=c/d/e;"),
        ("const ü = 'ä  ö'", "const ü='ä  ö'"),
        ("", ""),
    ],
)
def test_jsmin(source: str, expected: str) -> None:
    assert jsmin(source.encode()).decode() == expected


@pytest.mark.parametrize("source", ["'a", "/* a", "x = /a", "x = '\n'"])
def test_jsmin_refuses_what_has_no_end(source: str) -> None:
    with pytest.raises(JsminError):
        jsmin(source.encode())


@given(st.lists(st.sampled_from(["a", " ", "\n", "+", "-", "'b  c'", "// d\n", "/* e */", ";", "(", ")", "1"])))
def test_jsmin_is_done_after_one_time(parts: list[str]) -> None:
    once = jsmin("".join(parts).encode())
    assert jsmin(once) == once
