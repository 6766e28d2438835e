"""What `discover` says about dongles."""

from __future__ import annotations

import shlex
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from inverter_capture.commands import discover_report
from inverter_capture.commands.discover_report import INTERVALS_MAX, SERIALS_MAX, SURVEYED_MAX, Survey
from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.messages import Message
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Event, Heard, MapHeard, Unknown
from inverter_capture.protocol.poll_maps import parse_poll_map
from inverter_capture.protocol.readings import ReportReader
from inverter_capture.protocol.reports import Report
from tests.dongle import messages
from tests.dongle.reports import encode_values
from tests.test_readings import system_zone
from tests.wire import SECOND, packed_address

SERIAL = "1235687108"
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())


def flow(source: str = "192.168.0.202", destination: str = "47.242.67.221", port: int = 51100) -> Flow:
    return Flow(packed_address(source), 50586, packed_address(destination), port)


def report_event(
    captured: int,
    *,
    serial: str = SERIAL,
    zone: str = "UTC",
    age: int = 4,
    length: int = 292,
    sender: Flow | None = None,
    learnt: bool = False,
) -> Decoded:
    """A report of an inverter whose clock is right in its zone, read in the system's."""
    clock = datetime.fromtimestamp(captured - age, ZoneInfo(zone)).replace(tzinfo=None)
    report = Report(serial, clock, encode_values(serial, clock, {}, length), LAYOUTS[length], learnt)
    return Decoded(captured * SECOND, sender or flow(), report, ReportReader().read(report, captured * SECOND))


def heard(data: bytes, sender: Flow | None = None) -> Event:
    """A message of another kind."""
    message = Message(data)
    poll_map = parse_poll_map(message)
    if poll_map is not None:
        return MapHeard(NOW * SECOND, (sender or flow()).reversed(), poll_map, message)
    return Heard(NOW * SECOND, sender or flow(), message)


def survey_of(*events: Event, device: str = "br-lan", file: bool = False) -> Survey:
    survey = Survey(device, file=file)
    survey.add(events)
    return survey


def row(report: str, name: str) -> str:
    """What the report says under this name."""
    (found,) = (line for line in report.splitlines() if line.startswith(f"  {name} "))
    return found[12:]


def section(report: str) -> dict[str, Any]:
    """The [pcap] section to paste, as TOML reads it."""
    found: dict[str, Any] = tomllib.loads(report[report.index("\n[pcap]\n") :])["pcap"]
    return found


def test_nothing_yet() -> None:
    survey = Survey("br-lan", file=False)
    assert not survey.found
    assert survey.status == "no report yet"


def test_one_dongle() -> None:
    with system_zone("UTC"):
        survey = survey_of(*(report_event(NOW + 300 * number) for number in range(4)))
    assert survey.found
    assert survey.status == "4 reports from 192.168.0.202"
    report = survey.report()
    assert report.startswith("192.168.0.202 is a dongle\n")
    assert row(report, "inverter").startswith(SERIAL)
    assert row(report, "server") == "47.242.67.221 port 51100"
    assert row(report, "reports") == "4 reports of 292 bytes (known layout), one every 5 min"
    assert row(report, "clock") == "2026-06-01 12:14:56, right in this system's time zone"
    assert section(report) == {"device": "br-lan", "filter": "host 192.168.0.202 and tcp port 51100"}


def test_one_report() -> None:
    survey = survey_of(report_event(NOW), device="day.pcap", file=True)
    assert survey.status == "1 report from 192.168.0.202"
    assert row(survey.report(), "reports") == "1 report of 292 bytes (known layout)"
    assert section(survey.report())["file"] is True


@pytest.mark.parametrize("device", ['we"ird', "back\\slash", "ümläut.pcap", "a b"])
def test_any_name_of_a_device_can_be_pasted(device: str) -> None:
    assert section(survey_of(report_event(NOW), device=device, file=True).report())["device"] == device


def test_several_senders_servers_and_lengths() -> None:
    with system_zone("UTC"):
        survey = survey_of(
            report_event(NOW),
            report_event(NOW + 30, serial="2211229876", sender=flow("2001:db8::202", "2001:db8:1::dd")),
            report_event(NOW + 300, length=302, sender=flow(destination="47.242.67.220")),
            report_event(NOW + 600, serial="AB12cd34EF"),
        )
    report = survey.report()
    first, _, second = report.partition("2001:db8::202 is a dongle\n")
    assert [text[:10] for text in row(first, "inverter").split(", ")] == ["1235687108", "AB12cd34EF"]
    assert row(first, "server") == "47.242.67.220, 47.242.67.221 port 51100"
    assert row(first, "reports") == (
        "3 reports of 292 bytes (known layout) and 302 bytes (known layout), one every 5 min"
    )
    assert row(second, "inverter").startswith("2211229876")
    assert survey.status == "4 reports from 192.168.0.202, 2001:db8::202"
    assert section(report)["filter"] == (
        "(host 192.168.0.202 and tcp port 51100) or (host 2001:db8::202 and tcp port 51100)"
    )


def test_how_often() -> None:
    # A burst of a backlog says nothing; one lost report does not change the middle.
    times = [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 305, NOW + 910, NOW + 1212, NOW + 1515]
    assert row(survey_of(*map(report_event, times)).report(), "reports").endswith(", one every 5 min 3 s")
    times = [NOW + 69 * number for number in range(5)]
    assert row(survey_of(*map(report_event, times)).report(), "reports").endswith(", one every 1 min 9 s")


def test_memory_for_intervals_is_bounded() -> None:
    survey = survey_of(*(report_event(NOW + 100 * number) for number in range(INTERVALS_MAX + 10)))
    (dongle,) = survey._dongles.values()
    assert len(dongle._intervals) == INTERVALS_MAX


def test_memory_for_forged_dongles_and_inverters_is_bounded() -> None:
    survey = survey_of(*(report_event(NOW, sender=flow(port=number)) for number in range(1, SURVEYED_MAX + 10)))
    assert survey.report().count(" is a dongle\n") == SURVEYED_MAX
    survey = survey_of(*(report_event(NOW, serial=f"FORGED{number:04}") for number in range(SERIALS_MAX + 10)))
    assert row(survey.report(), "inverter").count("FORGED") == SERIALS_MAX


def test_what_else_a_dongle_says_and_hears() -> None:
    ranges = [(59, 124), (150, 199), (312, 319)]
    told = [heard(messages.login()), heard(messages.poll_map(messages.entries_of(ranges)))]
    survey = survey_of(*told)
    # Nobody has reported yet.
    assert not survey.found
    survey.add([report_event(NOW, learnt=True)])
    report = survey.report()
    assert row(report, "dongle") == messages.DONGLE_SERIAL
    assert row(report, "poll map") == "heard"
    assert "learnt" in row(report, "reports")
    assert messages.REGISTER_KEY not in report
    without = survey_of(report_event(NOW)).report()
    assert row(without, "dongle").startswith("serial number unknown")
    assert row(without, "poll map").startswith("not heard")


def test_the_kind_of_inverter_is_shown() -> None:
    event = report_event(NOW)
    assert event.reading is not None
    assert row(survey_of(event).report(), "inverter") == f"{SERIAL} ({event.reading.kind.name})"
    assert row(survey_of(event, event._replace(reading=None)).report(), "inverter").endswith(")")
    assert row(survey_of(event._replace(reading=None)).report(), "inverter") == SERIAL


def test_a_file_cannot_be_captured_longer() -> None:
    with system_zone("UTC"):
        event = report_event(NOW, age=2 * 3600)
        assert "capture longer" not in row(survey_of(event, device="a.pcap", file=True).report(), "clock")


def test_unknown_lengths() -> None:
    unknown = Unknown(NOW * SECOND, flow(), Report(SERIAL, datetime(2026, 6, 1), bytes(350)))
    survey = survey_of(unknown)
    assert survey.found
    assert row(survey.report(), "reports").startswith("1 report of 350 bytes (unknown layout")
    assert row(survey.report(), "clock") == "unknown"
    assert row(survey.report(), "inverter") == SERIAL


@pytest.mark.parametrize(
    ("system", "inverter", "timezone", "said"),
    [
        ("UTC", "Africa/Johannesburg", "Africa/Johannesburg", "2 h ahead of this system's clock"),
        ("UTC", "Asia/Kathmandu", "Asia/Kathmandu", "5 h 45 min ahead of this system's clock"),
        ("Europe/Berlin", "America/St_Johns", "America/St_Johns", "4 h 30 min behind this system's clock"),
        ("Asia/Tokyo", "Africa/Johannesburg", "Africa/Johannesburg", "7 h behind this system's clock"),
    ],
)
def test_another_time_zone(system: str, inverter: str, timezone: str, said: str) -> None:
    with system_zone(system):
        report = survey_of(*(report_event(NOW + 300 * number, zone=inverter) for number in range(3))).report()
    assert said in row(report, "clock")
    assert f'set [pcap] timezone = "{timezone}"' in row(report, "clock")
    assert section(report)["timezone"] == timezone


def test_one_old_report_decides_nothing() -> None:
    with system_zone("UTC"):
        report = survey_of(report_event(NOW, age=2 * 3600)).report()
        assert "capture longer" in row(report, "clock")
        assert "timezone" not in section(report)
        report = survey_of(report_event(NOW, age=2 * 3600 + 400)).report()
        assert row(report, "clock").endswith(
            "set the inverter's clock, unless the report is an old one that the dongle had kept"
        )
        assert "timezone" not in section(report)


def test_a_backlog_before_live_reports() -> None:
    with system_zone("UTC"):
        backlog = [report_event(NOW + number, age=3600 - 300 * number) for number in range(12)]
        report = survey_of(*backlog, report_event(NOW + 300), report_event(NOW + 600)).report()
    assert row(report, "clock") == "2026-06-01 12:09:56, right in this system's time zone"
    assert "timezone" not in section(report)


def test_the_newest_report_is_shown_whatever_the_order() -> None:
    with system_zone("UTC"):
        report = survey_of(report_event(NOW), report_event(NOW + 1, age=7200)).report()
    assert row(report, "clock").startswith("2026-06-01 11:59:56, right")


def test_a_clock_that_is_simply_wrong() -> None:
    with system_zone("UTC"):
        report = survey_of(report_event(NOW, age=-400), report_event(NOW + 300, age=-400)).report()
    assert row(report, "clock").startswith(
        "2026-06-01 12:11:40, 6 min ahead of this system's clock: set the inverter's clock"
    )


def test_a_report_from_the_future_that_was_not_believed() -> None:
    event = report_event(NOW)._replace(reading=None)
    assert row(survey_of(event).report(), "clock") == "unknown"


def test_on_openwrt_the_settings_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discover_report, "OPENWRT_FILE", str(tmp_path))
    for device, file in (("br lan", False), ("/tmp/a.pcap", True)):
        with system_zone("UTC"):
            report = survey_of(report_event(NOW), device=device, file=file).report()
        *commands, commit, reload = report.partition("\n\n")[2].splitlines()
        assert (commit, reload) == ("uci commit inverter-capture", "/etc/init.d/inverter-capture reload")
        words = [shlex.split(command)[2].removeprefix("inverter-capture.@pcap[0].") for command in commands]
        assert words == ([] if file else [f"device={device}"]) + ["filter=host 192.168.0.202 and tcp port 51100"]
