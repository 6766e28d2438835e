"""What `discover` says about who sends frames."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from inverter_capture.protocol.frames import Frame, UnknownFrame

from inverter_capture.commands.discover_report import INTERVALS_MAX, Survey
from inverter_capture.protocol.packets import Flow
from inverter_capture.protocol.packets_to_readings import Decoded, Unknown
from inverter_capture.protocol.readings import FrameReader
from tests.dongle.frames import encode
from tests.test_readings import system_zone
from tests.wire import SECOND, packed_address

SERIAL = "1235687108"
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())


def flow(source: str = "192.168.0.202", destination: str = "47.242.67.221", port: int = 51100) -> Flow:
    return Flow(packed_address(source), 50586, packed_address(destination), port)


def frame_event(
    captured: int,
    *,
    serial: str = SERIAL,
    zone: str = "UTC",
    age: int = 4,
    length: int = 292,
    sender: Flow | None = None,
) -> Decoded:
    """A frame of an inverter whose clock is right in its zone, read in the system's."""
    clock = datetime.fromtimestamp(captured - age, ZoneInfo(zone)).replace(tzinfo=None)
    frame = Frame(serial, clock, encode(serial, clock, {}, length))
    return Decoded(captured * SECOND, sender or flow(), frame, FrameReader().read(frame, captured * SECOND))


def survey_of(*events: Decoded | Unknown, device: str = "br-lan", file: bool = False) -> Survey:
    survey = Survey(device, file=file)
    for event in events:
        survey.add(event)
    return survey


def row(report: str, name: str) -> str:
    """What the report says under this name."""
    (found,) = (line for line in report.splitlines() if line.startswith(f"  {name} "))
    return found[10:]


def section(report: str) -> dict[str, Any]:
    """The [pcap] section to paste, as TOML reads it."""
    found: dict[str, Any] = tomllib.loads(report[report.index("\n[pcap]\n") :])["pcap"]
    return found


def test_nothing_yet() -> None:
    survey = Survey("br-lan", file=False)
    assert not survey.found
    assert survey.status == "no frame yet"


def test_one_dongle() -> None:
    with system_zone("UTC"):
        survey = survey_of(*(frame_event(NOW + 300 * number) for number in range(4)))
    assert survey.found
    assert survey.status == "4 frames from 192.168.0.202"
    report = survey.report()
    assert report.startswith("192.168.0.202 sends frames\n")
    assert row(report, "serial") == SERIAL
    assert row(report, "server") == "47.242.67.221 port 51100"
    assert row(report, "frames") == "4 frames of 292 bytes, one every 5 min"
    assert row(report, "clock") == "2026-06-01 12:14:56, right in this system's time zone"
    assert section(report) == {"device": "br-lan", "filter": "src host 192.168.0.202 and tcp dst port 51100"}


def test_one_frame() -> None:
    survey = survey_of(frame_event(NOW), device="day.pcap", file=True)
    assert survey.status == "1 frame from 192.168.0.202"
    assert row(survey.report(), "frames") == "1 frame of 292 bytes"
    assert section(survey.report())["file"] is True


@pytest.mark.parametrize("device", ['we"ird', "back\\slash", "ümläut.pcap", "a b"])
def test_any_name_of_a_device_can_be_pasted(device: str) -> None:
    assert section(survey_of(frame_event(NOW), device=device, file=True).report())["device"] == device


def test_several_senders_servers_and_lengths() -> None:
    with system_zone("UTC"):
        survey = survey_of(
            frame_event(NOW),
            frame_event(NOW + 30, serial="2211229876", sender=flow("2001:db8::202", "2001:db8:1::dd")),
            frame_event(NOW + 300, length=302, sender=flow(destination="47.242.67.220")),
            frame_event(NOW + 600, serial="AB12cd34EF"),
        )
    report = survey.report()
    first, _, second = report.partition("2001:db8::202 sends frames\n")
    assert row(first, "serial") == "1235687108, AB12cd34EF"
    assert row(first, "server") == "47.242.67.220, 47.242.67.221 port 51100"
    assert row(first, "frames") == "3 frames of 292 bytes and 302 bytes, one every 5 min"
    assert row(second, "serial") == "2211229876"
    assert survey.status == "4 frames from 192.168.0.202, 2001:db8::202"
    assert section(report)["filter"] == (
        "(src host 192.168.0.202 and tcp dst port 51100) or (src host 2001:db8::202 and tcp dst port 51100)"
    )


def test_how_often() -> None:
    # A burst of a backlog says nothing; one lost frame does not change the middle.
    times = [NOW, NOW + 1, NOW + 2, NOW + 3, NOW + 305, NOW + 910, NOW + 1212, NOW + 1515]
    assert row(survey_of(*map(frame_event, times)).report(), "frames") == "8 frames of 292 bytes, one every 5 min 3 s"
    times = [NOW + 60 * number for number in range(5)]
    assert row(survey_of(*map(frame_event, times)).report(), "frames").endswith(", one every 1 min")


def test_memory_for_intervals_is_bounded() -> None:
    survey = survey_of(*(frame_event(NOW + 100 * number) for number in range(INTERVALS_MAX + 10)))
    (sender,) = survey._senders.values()
    assert len(sender._intervals) == INTERVALS_MAX


def test_unknown_lengths() -> None:
    unknown = Unknown(NOW * SECOND, flow(), UnknownFrame(SERIAL, bytes(350)))
    survey = survey_of(unknown)
    assert survey.found
    assert row(survey.report(), "frames") == "1 frame of 350 bytes (unknown: not decoded)"
    assert row(survey.report(), "clock") == "unknown"
    assert row(survey.report(), "serial") == SERIAL


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
        report = survey_of(*(frame_event(NOW + 300 * number, zone=inverter) for number in range(3))).report()
    assert said in row(report, "clock")
    assert f'set [pcap] timezone = "{timezone}"' in row(report, "clock")
    assert section(report)["timezone"] == timezone


def test_one_old_frame_decides_nothing() -> None:
    with system_zone("UTC"):
        report = survey_of(frame_event(NOW, age=2 * 3600)).report()
        assert "capture longer" in row(report, "clock")
        assert "timezone" not in section(report)
        report = survey_of(frame_event(NOW, age=2 * 3600 + 400)).report()
        assert row(report, "clock").endswith(
            "set the inverter's clock, unless the frame is an old one that the dongle had kept"
        )
        assert "timezone" not in section(report)


def test_a_backlog_before_live_frames() -> None:
    with system_zone("UTC"):
        backlog = [frame_event(NOW + number, age=3600 - 300 * number) for number in range(12)]
        report = survey_of(*backlog, frame_event(NOW + 300), frame_event(NOW + 600)).report()
    assert row(report, "clock") == "2026-06-01 12:09:56, right in this system's time zone"
    assert "timezone" not in section(report)


def test_the_newest_frame_is_shown_whatever_the_order() -> None:
    with system_zone("UTC"):
        report = survey_of(frame_event(NOW), frame_event(NOW + 1, age=7200)).report()
    assert row(report, "clock").startswith("2026-06-01 11:59:56, right")


def test_a_clock_that_is_simply_wrong() -> None:
    with system_zone("UTC"):
        report = survey_of(frame_event(NOW, age=-400), frame_event(NOW + 300, age=-400)).report()
    assert row(report, "clock").startswith(
        "2026-06-01 12:11:40, 6 min ahead of this system's clock: set the inverter's clock"
    )


def test_a_frame_from_the_future_that_was_not_believed() -> None:
    event = frame_event(NOW)._replace(reading=None)
    assert row(survey_of(event).report(), "clock") == "unknown"
