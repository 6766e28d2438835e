"""The pages of the LuCI app in a real Chromium, with a stand-in for LuCI's runtime and the service's own status."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from inverter_capture.config.schema import SECTIONS
from inverter_capture.config.uci import UciSection, read_export
from inverter_capture.protocol.codes import describe
from inverter_capture.protocol.inverter_kinds import KINDS
from openwrt.tools.luci_translations import APP
from tests.luci.browser import PHONE, Browser, start_browser
from tests.luci.server import Server, po_translations
from tests.luci.statuses import NIGHT, backend, status
from tests.network import wait_for

HOSTILE = "<img src=x onerror=\"window.errors.push('run')\"><b>&amp;</b>'\"%s${1}"
NOT_CONNECTED = "http://192.168.1.10:8086: connection refused: check the address and the port"


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    with start_browser(tmp_path_factory.mktemp("pictures")) as started:
        yield started


@pytest.fixture
def server() -> Iterator[Server]:
    """A router that has not been told anything yet."""
    with Server() as started:
        yield started


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """At the end of the test nothing may have gone wrong in the page."""
    yield chromium
    chromium.check()
    chromium.driver.get("about:blank")


# --- the picture --------------------------------------------------------------------------------------------------


def directions(browser: Browser, card: str = ".ic-card") -> dict[str, str]:
    """Where the power of each line flows: into the inverter, out of it, or nowhere."""
    lines = browser.all(f"{card} [data-direction]")
    names = [str(line.get_attribute("class")).split()[0].removeprefix("ic-") for line in lines]
    return {name: str(line.get_attribute("data-direction")) for name, line in zip(names, lines, strict=True)}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(1200, 900), PHONE], ids=["wide", "phone"])
def test_the_picture_shows_where_the_power_flows(
    browser: Browser, server: Server, dark: bool, size: tuple[int, int]
) -> None:
    server.router.status = status("large")
    server.router.dark = dark
    browser.open(server, size=size)
    (inverter,) = server.router.status["inverters"]
    values = inverter["values"]
    assert values["grid_power"] < -1000
    assert directions(browser) == {"solar": "in", "battery": "out", "grid": "out", "home": "out"}
    flow = browser.one(".ic-flow")
    assert f"{values['pv_power'] / 1000:.2f} kW" in flow.text
    assert f"{values['battery_soc']} %" in flow.text
    assert f"{values['pv_production_today']:.1f} kWh today\n4.0 · 2.8 · 0.8 kW" in flow.text
    said = flow.get_attribute("aria-label")
    assert said is not None
    assert "exporting" in said
    assert f"Battery {values['battery_soc']} %: {values['battery_power']} W, charging, ".replace("-", "") in said
    assert "Normal" in browser.text(".ic-head")
    assert not browser.all(".ic-panel")
    # Nothing is wider than the page, on a phone too.
    assert browser.script("return document.documentElement.scrollWidth <= window.innerWidth")
    browser.picture(f"overview-{'dark' if dark else 'light'}-{size[0]}")


def test_at_night_the_battery_feeds_the_house(browser: Browser, server: Server) -> None:
    server.router.status = status("large", until=NIGHT)
    browser.open(server)
    assert directions(browser) == {"solar": "none", "battery": "in", "grid": "none", "home": "out"}
    browser.picture("overview-night")


def test_dots_move_unless_reduced_motion_is_wanted(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    running = "return getComputedStyle(document.querySelector('.ic-dots')).animationName"
    browser.open(server)
    assert browser.script(running) != "none"
    browser.open(server, still=True)
    assert browser.script(running) == "none"


def test_two_inverters_and_a_three_phase_one(browser: Browser, server: Server) -> None:
    server.router.status = status("small", "three-phase", "large")
    loads = {"load_power_l1": 614, "load_power_l2": 80, "load_power_l3": 0}
    phases = {"grid_power_l1": -400, "grid_power_l2": 2100, "grid_power_l3": 7}
    server.router.status["inverters"][1]["values"] |= loads | phases
    browser.open(server)
    three_phase = ".ic-card[data-serial='2710200333']"
    assert "\n-0.4 · 2.1 · 0.0 kW" in browser.text(f"{three_phase} .ic-flow")
    assert "\n614 · 80 · 0 W" in browser.text(f"{three_phase} .ic-flow")
    serials = [card.get_attribute("data-serial") for card in browser.all(".ic-card")]
    assert serials == [each["serial"] for each in server.router.status["inverters"]]
    assert len(serials) == 3
    assert "three-phase" in browser.text(f"{three_phase} summary")
    browser.picture("three-inverters")
    # One that is not known any more goes, the others stay.
    del server.router.status["inverters"][0]
    browser.poll()
    assert [card.get_attribute("data-serial") for card in browser.all(".ic-card")] == serials[1:]


@pytest.mark.parametrize(
    ("age", "stale"), [(0, False), (590, False), (640, True), (7300, True)], ids=lambda value: str(value)
)
def test_two_readings_that_did_not_come_make_it_grey(browser: Browser, server: Server, age: int, stale: bool) -> None:
    server.router.status = status("small", hours=1)
    # The browser's clock is no measure.
    received = server.router.now + 5000
    server.router.status["inverters"][0] |= {"received": received, "due": received + 300}
    server.router.now = received + age
    browser.open(server)
    head = browser.text(".ic-head")
    assert ("ic-old" in str(browser.one(".ic-card").get_attribute("class"))) is stale
    assert ("No reading for" in head) is stale
    assert ("Normal" in head) is not stale
    if age >= 600:
        assert ("2 hours" if age == 7300 else "11 minutes") in head
        browser.picture(f"stale-{age}")
        assert "overdue" in browser.text(".ic-service")


def test_a_fault_and_warnings_stand_there_in_words(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    inverter = server.router.status["inverters"][0]
    inverter["values"] |= {"inverter_state": 4, "inverter_faults": 1 << 34, "inverter_warnings": 1 << 1}
    codes = KINDS[inverter["kind"]].codes
    for name in ("inverter_state", "inverter_faults", "inverter_warnings"):
        inverter["texts"][name] = describe(name, inverter["values"][name], codes)
    browser.open(server)
    assert "Fault" in browser.text(".ic-head")
    alarms = [alarm.text for alarm in browser.all(".ic-card .ic-panel")]
    assert alarms == [
        f"Faults\n{inverter['texts']['inverter_faults']}",
        f"Warnings\n{inverter['texts']['inverter_warnings']}",
    ]
    assert "no grid" in alarms[0]
    browser.picture("fault")


def test_the_house_s_ring_shows_where_its_power_comes_from(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    server.router.status["inverters"][0]["values"] |= {"pv_power": 500, "battery_power": 1500, "grid_power": -20}
    browser.open(server)
    ring = browser.all(".ic-flow g.ic-home path.ic-ring")
    sources = [str(part.get_attribute("class")).split()[-1] for part in ring]
    lengths = [browser.script("return arguments[0].getTotalLength()", part) for part in ring]
    assert sources == ["ic-solar", "ic-battery"]
    assert lengths[1] / lengths[0] == pytest.approx(3, rel=0.01)


def test_what_has_not_changed_keeps_the_keyboard_s_place(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    server.router.status["capturing"] = False
    browser.open(server)
    for place in (".ic-panel .btn", ".ic-service .btn", ".ic-key", ".ic-plot"):
        element = browser.all(place)[0]
        browser.script("arguments[0].focus()", element)
        server.router.now += 60
        browser.poll()
        assert browser.script("return document.activeElement === arguments[0]", element), place


def test_a_value_that_is_absent_is_no_zero(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    for name in ("pv_power", "battery_soc", "grid_power"):
        del server.router.status["inverters"][0]["values"][name]
    browser.open(server)
    assert directions(browser)["grid"] == "none"
    assert browser.text(".ic-flow").count("\N{EN DASH}") == 2
    assert "Grid: 0.0 kWh imported" in str(browser.one(".ic-flow").get_attribute("aria-label"))


# --- the chart ----------------------------------------------------------------------------------------------------


def test_the_chart_shows_a_day_and_the_values_under_the_pointer(browser: Browser, server: Server) -> None:
    server.router.status = status("large")
    browser.open(server)
    assert len(browser.all(".ic-curve")) == 5
    chart = server.router.status["inverters"][0]["chart"]
    plot = browser.one(".ic-plot")
    assert not browser.one(".ic-tip").is_displayed()
    # By keyboard: from the end to the left.
    browser.script("arguments[0].focus()", plot)
    plot.send_keys(Keys.ARROW_LEFT)
    tip = browser.text(".ic-tip")
    moment = chart["time"][-1]
    shown = browser.script("return new Date(arguments[0] * 1000).toTimeString().slice(0, 5)", moment)
    assert tip.splitlines()[0] == shown
    for words in (
        f"{chart['pv_power'][-1] / 1000:.2f} kW",
        f"{chart['battery_soc'][-1]} %",
    ):
        assert words in tip
    # A screen reader says the same.
    assert plot.get_attribute("role") == "slider"
    said = str(plot.get_attribute("aria-valuetext"))
    assert said.startswith(f"{shown}, Solar {chart['pv_power'][-1] / 1000:.2f} kW, ")
    plot.send_keys(Keys.HOME)
    assert browser.text(".ic-tip").splitlines()[0] == browser.script(
        "return new Date(arguments[0] * 1000).toTimeString().slice(0, 5)", chart["time"][0]
    )
    # By pointer.
    box = plot.rect
    browser.script(
        "arguments[0].dispatchEvent(new PointerEvent('pointermove',"
        " { clientX: arguments[1], clientY: arguments[2], bubbles: true }))",
        plot,
        box["x"] + box["width"] / 2,
        box["y"] + 50,
    )
    assert browser.one(".ic-tip").is_displayed()
    browser.picture("chart-pointer")
    browser.button("Solar").click()
    assert len(browser.all(".ic-curve")) == 4
    assert "Solar" not in browser.text(".ic-tip")


def test_a_finger_leaves_the_values_where_it_was(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    browser.open(server)
    event = "arguments[0].dispatchEvent(new PointerEvent(arguments[1], { pointerType: arguments[2], clientX: 600 }))"
    for kind, stays in (("touch", True), ("mouse", False)):
        for name in ("pointerdown", "pointerleave"):
            browser.script(event, browser.one(".ic-plot"), name, kind)
        assert browser.one(".ic-tip").is_displayed() is stays


def test_an_inverter_whose_clock_is_fast_stays_within_the_chart(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    server.router.now -= 7200
    browser.open(server)
    right, label = browser.script(
        "return [document.querySelector('.ic-curve.ic-load_power').getBoundingClientRect().right,"
        " Array.from(document.querySelectorAll('.ic-plot text')).find(each => each.textContent == '100 %')"
        ".getBoundingClientRect().left]"
    )
    assert right <= label


def test_a_gap_in_the_readings_is_a_gap_in_the_line(browser: Browser, server: Server) -> None:
    server.router.status = status("small")
    chart = server.router.status["inverters"][0]["chart"]
    for column in chart.values():
        del column[100:140]
    chart["load_power"][20] = None
    browser.open(server)
    path = browser.one(".ic-curve.ic-load_power").get_attribute("d")
    assert str(path).count("M") == 2


def test_a_chart_without_values_says_so(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    server.router.status["inverters"][0]["chart"] = {}
    browser.open(server)
    assert "fills as readings arrive" in browser.text(".ic-plot")


# --- all values ---------------------------------------------------------------------------------------------------


def open_values(browser: Browser, card: str = ".ic-card") -> None:
    """Open the table of all values."""
    browser.one(f"{card} summary").click()
    browser.wait(f'document.querySelector("{card} tr")', "the values")


def test_all_values_stand_in_a_table_that_can_be_searched(browser: Browser, server: Server) -> None:
    def shown(card: str) -> list[str]:
        return list(
            browser.script(
                "return Array.from(document.querySelectorAll(arguments[0]))"
                ".filter(row => row.offsetHeight).map(row => row.dataset.field)",
                f"{card} tr[data-field]",
            )
        )

    server.router.status = status("large", "three-phase", hours=1)
    browser.open(server)
    for inverter in server.router.status["inverters"]:
        card = f".ic-card[data-serial='{inverter['serial']}']"
        open_values(browser, card)
        rows = shown(card)
        assert set(rows) == inverter["values"].keys()
        assert f"All {len(rows)} values" in browser.text(f"{card} summary")
        row = browser.text(f"{card} tr[data-field=battery_soc]")
        assert row.split() == ["SOC", str(inverter["values"]["battery_soc"]), "%"]
        groups = [caption.text for caption in browser.all(f"{card} caption")]
        assert groups[:3] == ["Inverter", "PV", "Battery"]
    browser.picture("values")
    search = browser.one(f"{card} input[type=search]")
    search.send_keys("grid volt")
    found = shown(card)
    assert "grid_voltage" in found
    assert all("grid" in name and "volt" in name for name in found)
    # What is typed stays when a new reading comes.
    server.router.status["inverters"][-1]["received"] += 1
    browser.poll()
    assert search.get_attribute("value") == "grid volt"
    assert shown(card) == found


def test_signs_are_explained(browser: Browser, server: Server) -> None:
    server.router.status = status("large", hours=1)
    server.router.status["inverters"][0]["values"] |= {"grid_power": -40, "battery_power": -30}
    browser.open(server)
    open_values(browser)
    assert "(exporting)" in browser.text("tr[data-field=grid_power]")
    assert "(charging)" in browser.text("tr[data-field=battery_power]")


# --- faces --------------------------------------------------------------------------------------------------------

STATES: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str, str]] = {
    "not configured": (
        {"enabled": False, "running": False, "device": False},
        None,
        "Not configured",
        "Open the settings",
    ),
    "no backend": ({"enabled": False, "running": False, "backends": 0}, None, "No server is enabled", "Add a server"),
    "not enabled": ({"enabled": False, "running": False}, None, "Not enabled", "Enable and start"),
    "stopped": ({"running": False}, None, "stopped", "Start"),
    "starting": ({}, None, "starting or stopping", ""),
    "device missing": (
        {},
        {"capturing": False, "problem": '"br-lan": there is no such network device'},
        "br-lan",
        "Choose the device",
    ),
    "no dongle": ({}, {"reports": 0, "readings": 0}, "No dongle seen yet", "Find my dongle"),
    "unknown length": ({}, {"reports": 4, "unknown": 4, "readings": 0}, "cannot be decoded yet", "Open the log"),
    "no reading": ({}, {"reports": 4, "readings": 0}, "complete reading", "Open the log"),
    "backend": (
        {},
        {"backends": (backend(connected=False, waiting=7, problem=NOT_CONNECTED, failing_since=1_700_000_000.0),)},
        "Readings do not reach influxdb2 http://",
        "Check its settings",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_each_state_has_its_face_with_the_button_that_helps(browser: Browser, server: Server, name: str) -> None:
    state, told, title, button = STATES[name]
    server.router.state |= state
    if told is not None:
        server.router.status = status(*(["small"] if name == "backend" else []), hours=1, **told)
    browser.open(server)
    (panel,) = browser.all(".ic-panel")
    assert title in panel.text
    assert [each.text for each in browser.all(".ic-panel .btn")] == ([button] if button else [])
    if told is not None and "problem" in told:
        assert told["problem"] in panel.text
    if name == "no dongle":
        assert str(browser.one(".ic-panel a").get_attribute("href")).endswith("/inverter-capture/settings#find")
    if name == "backend":
        assert NOT_CONNECTED in panel.text
        assert "Readings waiting: 7 · failing since " in panel.text
        assert NOT_CONNECTED in browser.text(".ic-service")
        assert len(browser.all(".ic-flow")) == 1
    browser.picture(f"face-{name.replace(' ', '-')}")


def test_wrong_settings_are_said_once_in_the_program_s_words(browser: Browser, server: Server) -> None:
    server.router.state |= {"running": False}
    server.router.problems = ["influxdb2 'home' option host 'ftp://x': unknown scheme: begin with http:// or https://"]
    browser.open(server)
    assert server.router.problems[0] in browser.text(".ic-panel")
    assert [each.text for each in browser.all(".ic-panel .btn")] == ["Correct the settings"]
    browser.poll()
    browser.poll()
    assert [method for _, method, _ in server.router.calls].count("problems") == 1


@pytest.mark.parametrize(
    ("state", "words", "action"),
    [
        ({"enabled": False, "running": False}, "Enable and start", "enable"),
        ({"running": False}, "Start", "start"),
        ({}, "Stop", "stop"),
        ({}, "Restart", "restart"),
        ({}, "Disable", "disable"),
    ],
)
def test_the_service_is_told(browser: Browser, server: Server, state: dict[str, Any], words: str, action: str) -> None:
    server.router.state |= state
    server.router.status = status("small", hours=1)
    browser.open(server)
    where = ".ic-panel" if state else ".ic-service"
    browser.button(words, where).click()
    browser.wait("document.querySelectorAll('.spinning').length == 0", "the service's answer")
    assert server.router.actions == [action]
    assert len(browser.all(".ic-card")) == (action in ("enable", "start", "restart"))


def test_a_router_that_does_not_answer(browser: Browser, server: Server) -> None:
    server.router.status = status("small", hours=1)
    browser.open(server)
    state = server.router.state
    server.router.state = None  # type: ignore[assignment] # it cannot answer
    no_answer: dict[str, dict[str, Any]] = {}
    server.router.plugin["state"] = lambda _: no_answer["there is none"]
    browser.script("window.pollNow()")
    browser.wait("document.querySelectorAll('.ic-panel').length == 1", "the face")
    assert "does not answer" in browser.text(".ic-panel")
    assert len(browser.all(".ic-old .ic-card")) == 1
    server.router.state = state
    del server.router.plugin["state"]
    browser.poll()
    assert not browser.all(".ic-panel")
    assert not browser.all(".ic-old")


def test_who_may_only_read_can_press_nothing(browser: Browser, server: Server) -> None:
    server.router.writable = False
    server.router.status = status("small", hours=1)
    browser.open(server)
    buttons = browser.all(".ic-service button")
    assert buttons
    assert not any(button.is_enabled() for button in buttons)
    browser.picture("read-only")


# --- what strangers wrote -----------------------------------------------------------------------------------------


def test_hostile_texts_stay_texts(browser: Browser, server: Server) -> None:
    told = status(
        "small",
        hours=1,
        device=HOSTILE,
        problem=HOSTILE,
        capturing=False,
        backends=(backend(HOSTILE, connected=False, problem=HOSTILE),),
    )
    inverter = told["inverters"][0]
    inverter |= {"serial": HOSTILE, "kind": HOSTILE, "texts": dict.fromkeys(inverter["texts"], HOSTILE)}
    inverter["values"] |= {"inverter_faults": 1, "inverter_warnings": 1}
    told["version"] = HOSTILE
    server.router.status = told
    name = HOSTILE.partition("%")[0]
    server.router.plugin["fields"] = lambda _: {
        "groups": [[name, [[field, name, name, 0] for field in inverter["values"]]]]
    }
    browser.open(server)
    open_values(browser)
    page = browser.text("body")
    assert page.count(HOSTILE) >= 10
    assert not browser.all("#view img")
    browser.picture("hostile")


def test_hostile_lines_of_the_log_stay_texts(browser: Browser, server: Server) -> None:
    server.router.log = log_line(HOSTILE)
    browser.open(server, "log")
    browser.wait("document.querySelectorAll('.ic-entry').length == 1", "the line")
    assert HOSTILE in browser.text(".ic-entry")
    assert not browser.all("#view img")


def test_hostile_answers_to_find_and_test_stay_texts(browser: Browser, server: Server) -> None:
    dongle = {"host": HOSTILE, "dongles": [HOSTILE], "inverters": {HOSTILE: HOSTILE}, "reports": 1, "lengths": {}}
    found: dict[str, Any] = {"dongles": [dongle], "settings": {}, "problems": []}
    server.router.plugin |= {
        "find": lambda _: {"problems": []},
        "progress": lambda _: {"running": False, "seconds": 9, "found": found},
        "cancel": lambda _: {"problems": []},
    }
    browser.open(server, "settings")
    browser.button("Find my dongle").click()
    browser.wait("document.querySelectorAll('#modal .ic-facts').length == 1", "the report")
    assert browser.text("#modal").count(HOSTILE) == 4
    browser.button("Close", "#modal").click()
    found = {"problems": [HOSTILE]}
    browser.button("Find my dongle").click()
    browser.wait("document.querySelectorAll('#modal .ic-bad').length == 1", "the report")
    assert browser.text("#modal").count(HOSTILE) == 1
    assert not browser.all("#modal img")


# --- the log ------------------------------------------------------------------------------------------------------


def log_line(text: str, priority: str = "info", seconds: int = 1_700_000_000, tag: str = "inverter-capture[42]") -> str:
    """As `logread -t` prints it."""
    return f"Tue Nov 14 22:13:20 2023 [{seconds}.123] daemon.{priority} {tag}: {text}\n"


def test_the_log_can_be_filtered_and_followed(browser: Browser, server: Server) -> None:
    lines = [
        log_line("a detail", "debug"),
        log_line("capturing on br-lan"),
        log_line("influxdb2 http://x: connection refused", "warn"),
        log_line("[pcap] device: gone", "err"),
        log_line("not enabled: make your settings", "notice", tag="inverter-capture"),
        log_line("about inverter-capture", tag="dnsmasq[7]"),
        log_line("sent to the system log by itself", "warn"),
    ]
    server.router.log = "".join(lines)
    browser.open(server, "log")
    browser.wait("document.querySelectorAll('.ic-entry').length > 0", "the lines")

    def shown() -> list[str]:
        return [line.text.splitlines()[-1] for line in browser.all(".ic-entry span")]

    assert shown() == [
        "a detail",
        "capturing on br-lan",
        "influxdb2 http://x: connection refused",
        "[pcap] device: gone",
        "not enabled: make your settings",
        "sent to the system log by itself",
    ]
    expected = browser.script("return new Date(1700000000 * 1000).getHours()")
    assert f"{expected:02d}:13:20" in browser.all(".ic-entry time")[0].text
    browser.picture("log")
    severity = Select(browser.one("select"))
    severity.select_by_index(2)
    assert shown() == [
        "influxdb2 http://x: connection refused",
        "[pcap] device: gone",
        "sent to the system log by itself",
    ]
    severity.select_by_index(0)
    browser.one("input[type=search]").send_keys("REFUSED")
    assert shown() == ["influxdb2 http://x: connection refused"]
    browser.one("input[type=search]").send_keys(" not there")
    assert "No message matches" in browser.text(".ic-log")
    browser.one("input[type=search]").clear()
    browser.one("input[type=search]").send_keys("n", Keys.BACKSPACE)
    # New lines come last, and the end is in view, unless the user has gone elsewhere.
    server.router.log += "".join(log_line(f"line {number}") for number in range(100))
    browser.poll()
    at_end = "return (box => Math.abs(box.scrollHeight - box.clientHeight - box.scrollTop) < 3)(arguments[0])"
    box = browser.one(".ic-log")
    assert shown()[-1] == "line 99"
    assert browser.script(at_end, box)
    browser.one("#ic-follow").click()
    browser.script("arguments[0].scrollTop = 0", box)
    server.router.log += log_line("one more")
    browser.poll()
    assert shown()[-1] == "one more"
    assert not browser.script(at_end, box)


# --- translations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["de", "af"])
def test_the_pages_are_translated(browser: Browser, server: Server, language: str) -> None:
    server.router.language = language
    server.router.translations = po_translations(APP / "po" / language / "inverter-capture.po")
    server.router.status = status("small", "three-phase")
    inverter = server.router.status["inverters"][0]
    inverter["values"] |= {"inverter_faults": 1 << 34, "inverter_warnings": 1 << 1}
    inverter["texts"] |= {"inverter_faults": "F35 no grid", "inverter_warnings": "W02 fan"}
    server.router.log = log_line("hello")
    for page in ("overview", "settings", "log"):
        browser.open(server, page)
        if page == "overview":
            open_values(browser, ".ic-card:first-child")
            words = {"de": ("Störungen\nF35 kein Netz", "Lüfter"), "af": ("Foute\nF35 geen net", "waaier")}[language]
            assert words[0] in browser.text(".ic-card:first-child .ic-bad")
            assert words[1] in browser.text(".ic-card:first-child tr[data-field=inverter_warnings]")
        assert browser.script("return window.missing") == []
        browser.picture(f"{page}-{language}")
    found = {"dongles": [DONGLE], "settings": {}, "problems": []}
    server.router.plugin |= {"find": Notes(), "progress": lambda _: {"running": False, "seconds": 660, "found": found}}
    browser.open(server, "settings#find")
    browser.wait("document.querySelectorAll('#modal .ic-facts').length == 1", "the report")
    clock = {"de": "Uhr des Wechselrichters geht 2 Stunden vor", "af": "Omsetter se horlosie 2 uur voor"}[language]
    assert browser.text("#modal .ic-facts").splitlines()[-1] == clock
    assert browser.script("return window.missing") == []
    browser.picture(f"found-{language}")


# --- settings -----------------------------------------------------------------------------------------------------


def add_server(browser: Browser, type: str) -> None:
    """Open the form of a new section."""
    browser.one(f".cbi-section[data-type={type}] button[data-action=add]").click()
    browser.wait("document.body.classList.contains('modal-active')", "the form")


def field(browser: Browser, name: str, inside: str = "body") -> Any:
    """The element that holds a setting's value."""
    (found,) = browser.all(f"{inside} [data-name={name}] :is(input, select, textarea)")
    return found


def test_every_setting_has_its_field_with_help_default_and_mask(browser: Browser, server: Server) -> None:
    browser.open(server, "settings")
    browser.script("document.querySelectorAll('details').forEach(each => each.open = true)")
    for section in SECTIONS.values():
        inside = f".cbi-section[data-type={section.name}]"
        if section.repeated:
            add_server(browser, section.name)
            browser.script("document.querySelectorAll('details').forEach(each => each.open = true)")
            inside = "#modal"
            browser.picture(f"settings-{section.name}")
        extra = {"enabled"} if section.repeated or section.name == "pcap" else set()
        names = {str(each.get_attribute("data-name")) for each in browser.all(f"{inside} .cbi-value")}
        assert {name for name in names if not name.startswith("_")} == set(section.settings) | extra
        for name, spec in section.settings.items():
            element = field(browser, name, inside)
            assert spec.help in browser.text(f"{inside} [data-name={name}] .cbi-value-description")
            assert (element.get_attribute("type") == "password") is spec.secret
        if section.repeated:
            for name in {"host", "url"} & section.settings.keys():
                field(browser, name, inside).send_keys("10.0.0.1")
            browser.button("Save", "#modal").click()
    browser.picture("settings")


def test_from_nothing_to_a_broker_in_four_clicks(browser: Browser, server: Server) -> None:
    server.router.state |= {"enabled": False, "running": False, "backends": 0}
    server.router.sections.append({".type": "mqtt", ".name": "mqtt", "enabled": "0", "url": "mqtt://192.168.1.10"})
    browser.open(server)
    browser.button("Add a server").click()
    browser.wait("document.querySelector('#modal [data-name=url] input')", "the form")
    browser.ready("the settings")
    address = field(browser, "url", "#modal")
    address.clear()
    address.send_keys("mqtt://10.0.0.1")
    browser.wait("document.querySelector('#modal [data-name=enabled] input:checked')", "the broker enabled")
    browser.button("Save", "#modal").click()
    browser.button("Save & Apply").click()
    browser.wait("document.querySelectorAll('.spinning').length == 0", "the router's answer")
    assert server.router.applied == 1
    assert server.router.section("service")["enabled"] == "1"
    broker = server.router.section("mqtt")
    assert broker["url"] == "mqtt://10.0.0.1"
    assert broker.get("enabled", "1") == "1"
    browser.all("header a")[0].click()
    browser.wait("document.querySelector('.ic-service')", "the overview")
    browser.ready("the overview")


def test_a_server_is_added_saved_and_applied(browser: Browser, server: Server) -> None:
    browser.open(server, "settings")
    # It stays, although LuCI draws the page anew when the form of a server closes.
    browser.one(".cbi-section[data-type=pcap] [data-name=enabled] input").click()
    add_server(browser, "influxdb2")
    for name, value in {"host": "http://10.0.0.1:8086", "org": "home", "bucket": "b", "token": "secret"}.items():
        field(browser, name, "#modal").send_keys(value)
    browser.button("Save", "#modal").click()
    add_server(browser, "influxdb2")
    field(browser, "host", "#modal").send_keys("http://10.0.0.2:8086")
    browser.button("Save", "#modal").click()
    assert server.router.applied == 0
    assert [section[".name"] for section in server.router.sections][4:] == []
    browser.one("tr[data-section=influxdb2_2] button[data-action=up]").click()
    browser.button("Save & Apply").click()
    browser.wait("document.querySelectorAll('.spinning').length == 0", "the router's answer")
    assert server.router.applied == 1
    assert server.router.section("service")["enabled"] == "1"
    servers = [section for section in server.router.sections if section[".type"] == "influxdb2"]
    assert [section[".name"] for section in servers] == ["influxdb2_2", "influxdb2"]
    # What is as the schema has it is not written.
    assert servers[1] == {
        ".type": "influxdb2", ".name": "influxdb2", "host": "http://10.0.0.1:8086", "org": "home", "bucket": "b",
        "token": "secret",
    }  # fmt: skip
    browser.one("tr[data-section=influxdb2] button[data-action=remove]").click()
    browser.button("Save", ".cbi-page-actions").click()
    browser.wait("document.querySelectorAll('.spinning').length == 0", "the router's answer")
    assert [section[".name"] for section in server.router.sections if section[".type"] == "influxdb2"] == [
        "influxdb2_2"
    ]


def test_wrong_settings_are_shown_by_section_and_option_before_they_are_saved(browser: Browser, server: Server) -> None:
    problem = {
        "section": "influxdb2",
        "name": "influxdb2",
        "setting": "host",
        "value": "ftp://x",
        "message": "unknown scheme",
        "remedy": "begin with http:// or https://",
    }
    missing = {"section": "influxdb2", "name": "influxdb2", "setting": "token", "message": "missing", "remedy": "uci"}
    asked: list[Any] = []

    def check(arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append(arguments["settings"])
        return {"problems": [problem, missing], "right": False}

    server.router.plugin["check"] = check
    server.router.section("service")["enabled"] = "1"
    browser.open(server, "settings")
    add_server(browser, "influxdb2")
    field(browser, "host", "#modal").send_keys("ftp://x")
    field(browser, "org", "#modal").send_keys("it's")
    browser.button("Save", "#modal").click()
    browser.button("Save & Apply").click()
    browser.wait("document.querySelectorAll('.ic-panel').length == 1", "the messages")
    panel = browser.text(".ic-panel")
    assert "InfluxDB » influxdb2 » Server ftp://x: unknown scheme: begin with http:// or https://" in panel
    assert "InfluxDB » influxdb2 » API token: missing (API token with write permission)" in panel
    sent = read_export(asked[0], "the settings")
    assert sent[-1] == UciSection("influxdb2", "influxdb2", 0, {"host": ["ftp://x"], "org": ["it's"]})
    assert [section.type for section in sent[:-1]] == ["service", "pcap", "metrics", "log"]
    assert (server.router.applied, server.router.sections[4:]) == (0, [])
    browser.picture("settings-wrong")
    browser.button("Save anyway").click()
    wait_for(lambda: len(server.router.sections) == 5 and "host" in server.router.sections[4], "the settings")
    assert server.router.section("influxdb2")["host"] == "ftp://x"
    browser.wait("document.querySelectorAll('.ic-panel button, .spinning').length == 0", "the end of the saving")


class Notes(list[Any]):
    """What a router was asked; called, it notes what and answers that all is well."""

    def __call__(self, what: Any) -> dict[str, Any]:
        self.append(what)
        return {"problems": []}


DONGLE = {
    "host": "192.168.1.50", "dongles": ["2101123456"], "inverters": {"2205164738": "single-phase"}, "reports": 2,
    "lengths": {"292": "known", "300": "unknown"}, "interval": 300, "ahead": 7200,
}  # fmt: skip
HEARD = {"packets": 1234, "reports": 1, "candidates": ["192.168.1.50"]}


def test_find_fills_the_form(browser: Browser, server: Server) -> None:
    found = {"device": "br-lan", "filter": "host 192.168.1.50 and tcp port 10000", "timezone": "Europe/Berlin"}
    report = {"dongles": [DONGLE], "settings": found, "problems": []}
    asked = Notes()
    present: dict[str, Any] = {"running": True, "seconds": 660, "found": HEARD}

    def cancel(_: dict[str, Any]) -> dict[str, Any]:
        present.update({"running": False, "found": report})
        return asked("cancel")

    server.router.plugin |= {"find": asked, "progress": lambda _: present, "cancel": cancel}
    browser.open(server, "settings#find")
    browser.wait("/of 660 seconds/.test(document.getElementById('modal').textContent)", "the progress")
    assert "packets: 1234, reports: 1 · possible dongles: 192.168.1.50" in browser.text("#modal")
    browser.picture("find-progress")
    assert asked == [{"device": "br-lan"}]
    browser.button("Finish now", "#modal").click()
    browser.wait("document.querySelectorAll('#modal .ic-facts').length == 1", "the report")
    assert "cancel" in asked
    assert browser.text("#modal .ic-facts").splitlines() == [
        "Dongle 192.168.1.50 · 2101123456",
        "Inverter 2205164738 (single-phase)",
        "Reports 2 · one every 5 minutes · not all can be decoded yet",
        "Inverter's clock 2 hours fast · Europe/Berlin",
    ]
    browser.picture("find-found")
    browser.button("Use these settings", "#modal").click()
    browser.script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert {name: field(browser, name).get_attribute("value") for name in found} == found


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([{"dongles": [], "settings": {}, "problems": ["x"]}], "Choose the bridge of the dongle's network"),
        ([HEARD, {"dongles": [], "settings": {}, "problems": ["x"]}], "A dongle was heard at 192.168.1.50, but"),
        ([{"problems": ["there is no such device"]}], "there is no such device"),
        ([HEARD], "It ended too early"),
    ],
    ids=["nothing", "no report", "no device", "killed"],
)
def test_a_search_that_finds_no_dongle(
    browser: Browser, server: Server, found: list[dict[str, Any]], words: str
) -> None:
    told = [{"running": True, "found": each} for each in found[:-1]] + [{"running": False, "found": found[-1]}]
    server.router.plugin |= {"find": Notes(), "cancel": Notes(), "progress": lambda _: {"seconds": 660} | told.pop(0)}
    browser.open(server, "settings#find")
    browser.wait("document.querySelectorAll('#modal .ic-bad').length == 1", "the end")
    assert browser.text("#modal .ic-bad").startswith(words)
    assert "No dongle was found." in browser.text("#modal")
    assert [button.text for button in browser.all("#modal button")] == ["Close"]


@pytest.mark.parametrize("works", [True, False], ids=["works", "fails"])
def test_the_values_in_the_form_are_tried(browser: Browser, server: Server, works: bool) -> None:
    asked = Notes()
    refused = {"section": "mqtt", "setting": "url", "message": "not authorised", "remedy": "check the user"}
    missing = {"section": "mqtt", "setting": "username", "message": "missing", "remedy": "uci set x"}
    wrong = [] if works else [refused, missing]
    server.router.plugin |= {
        "test": asked,
        "progress": lambda _: {"running": False, "seconds": 660, "found": wrong},
    }
    browser.open(server, "settings")
    add_server(browser, "mqtt")
    field(browser, "url", "#modal").send_keys("mqtt://10.0.0.9")
    field(browser, "password", "#modal").send_keys("secret")
    browser.button("Test", "#modal").click()
    browser.wait("document.querySelector('.ic-result .ic-good, .ic-result .ic-bad')", "the answer")
    said = ["Broker: not authorised: check the user", "User name: missing (User name for the broker)"]
    assert browser.text("#modal .ic-result").splitlines() == (["It works."] if works else said)
    capture, broker = read_export(asked[0]["settings"], "the settings")
    assert (capture.type, capture.options) == ("pcap", {"device": ["any"]})
    assert broker.type == "mqtt"
    assert broker.options | {"url": ["mqtt://10.0.0.9"], "password": ["secret"]} == broker.options
    assert not server.router.sections[4:]
    browser.picture(f"test-{'works' if works else 'fails'}")


# --- the page itself ----------------------------------------------------------------------------------------------


def test_the_pages_take_no_token_and_no_html() -> None:
    scripts = {path.name: path.read_text() for path in APP.rglob("*.js")}
    for name, text in scripts.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|rawhtml|eval\(", text), name
        assert not re.search(r"https?://(?!ADDRESS)", re.sub(r"(help|example): [^\n]*", "", text).replace(
            "http://www.w3.org/2000/svg", "")), name  # fmt: skip
