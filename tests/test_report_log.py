"""What the log says about frames: each piece of news once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from inverter_capture.protocol.admission import NEW_MAX, SENDER_SECONDS, Admission
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.packets import Flow, Packet
from inverter_capture.protocol.packets_to_readings import Decoder
from inverter_capture.protocol.reports import Report
from inverter_capture.service import report_log
from inverter_capture.service.report_log import (
    DEFAULT_INTERVAL_SECONDS,
    MISSED_REPORTS,
    QUIET_SECONDS_MIN,
    UNKNOWN_MAX,
    ReportLog,
)
from tests import wire
from tests.dongle.messages import entries_of, poll_map
from tests.dongle.reports import encode, encode_values
from tests.wire import SECOND

QUIET_SECONDS = MISSED_REPORTS * DEFAULT_INTERVAL_SECONDS
"""As long as no interval is known."""

NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
MINUTE, HOUR, DAY = 60, 3600, 24 * 3600
SERIAL = "2205164738"
ZONE = ZoneInfo("Africa/Johannesburg")


class House:
    """A decoder and its log, and dongles whose packets pass them. Times are in seconds since the epoch."""

    def __init__(
        self, caplog: pytest.LogCaptureFixture, *, live: bool = True, started: int = NOW, serials: Sequence[str] = ()
    ) -> None:
        self._caplog = caplog
        self._admission = Admission(serials, live=live)
        self._decoder = Decoder(ZONE, live=live, admit=self._admit)
        self.report_log = ReportLog(self._decoder, started * SECOND, live=live)
        self._port = 50000

    def _admit(self, report: Report, flow: Flow, time: int) -> bool:
        verdict = self._admission.judge(report.serial, flow.source, time)
        self.report_log.judged(verdict, report, flow, time)
        return verdict.admitted

    def frame(
        self,
        captured: int,
        age: int = 4,
        *,
        serial: str = SERIAL,
        host: str = "192.168.8.202",
        ahead: int = 0,
        data: bytes = b"",
        **values: float,
    ) -> list[str]:
        """A frame of a certain age is captured; its clock may go wrong. Returns the lines that are logged."""
        clock = datetime.fromtimestamp(captured - age + ahead, ZONE).replace(tzinfo=None)
        return self.send(captured, data or encode_values(serial, clock, values), host)

    def send(self, captured: int, data: bytes, host: str = "192.168.8.202") -> list[str]:
        """A dongle connects, and what it says is captured."""
        self._port += 1
        client = wire.Endpoint(host, self._port)
        connection = wire.Connection(client, wire.Endpoint("203.0.113.10", 51100, wire.MAC_B))
        connection.packet(captured * SECOND, client, 999, flags=wire.SYN)
        connection.packet(captured * SECOND, client, 1000, data, wire.PSH | wire.ACK)
        for record in connection.records:
            self.receive(record)
        return self.news()

    def receive(self, *records: wire.Record) -> None:
        """These packets are read at once."""
        for event in self._decoder.receive(*(Packet(r.time, wire.LINK_ETHERNET, r.data) for r in records)):
            self.report_log.observe(event)

    def advance(self, now: int) -> list[str]:
        """Time passes."""
        self.report_log.advance(now * SECOND)
        return self.news()

    def news(self) -> list[str]:
        """What has been logged since the last question."""
        lines = [f"{record.levelname.lower()}: {record.getMessage()}" for record in self._caplog.records]
        self._caplog.clear()
        return lines


@pytest.fixture
def house(caplog: pytest.LogCaptureFixture) -> House:
    """One that has begun, with a dongle that is known."""
    caplog.set_level(logging.INFO)
    made = House(caplog)
    assert made.frame(NOW) == [
        f"info: inverter {SERIAL}: 292-byte reports from 192.168.8.202 to 203.0.113.10 port 51100"
    ]
    return made


@pytest.fixture(autouse=True)
def system_in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The system's time zone."""
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# --- who sends ----------------------------------------------------------------------------------------------------


def test_who_sends_frames_is_said_once(house: House) -> None:
    assert house.frame(NOW + 300) == []
    assert house.frame(NOW + 301, serial="E47R2K0193", host="192.168.8.203") != []
    assert house.frame(NOW + 600, serial="E47R2K0193", host="192.168.8.203") == []
    assert house.frame(NOW + 900) == []


def test_a_second_sender_is_said_once_and_another_address_when_it_has_taken_over(house: House) -> None:
    other = "192.168.8.77"
    (line,) = house.frame(NOW + 300, host=other)
    assert line.startswith(f"warning: inverter {SERIAL}: ")
    assert other in line
    for number in range(2, 20):
        assert house.frame(NOW + number * 300) == []
        assert house.frame(NOW + number * 300 + 100, host=other) == []
    last = NOW + 19 * 300
    (line,) = house.frame(last + SENDER_SECONDS, host=other)
    assert f"292-byte reports from {other} to" in line
    assert len(house.frame(last + SENDER_SECONDS + 300)) == 1


def test_made_up_serials_fill_neither_memory_nor_log(house: House) -> None:
    day = [house.frame(NOW + number * 20, serial=f"F{number:09}") for number in range(DAY // 20)]
    lines = [line for lines in day for line in lines]
    assert sum("-byte reports from" in line for line in lines) <= NEW_MAX + 4 * 24
    refused = [line for line in lines if "[pcap] serials" in line]
    assert 20 <= len(refused) <= 24
    assert "reports were refused" in refused[-1]
    assert house.report_log._serials.keys() | house.report_log._kinds.keys() <= house.report_log._serials.keys()
    assert len(house.report_log._serials) <= INVERTERS_MAX
    # The one that was there before is still known.
    assert house.frame(NOW + DAY - 1) == []


def test_what_others_can_provoke_is_said_once_a_minute(house: House) -> None:
    """Every length, value and clock that anybody can make up, each second of an hour, from a known inverter."""
    lines: list[str] = []
    for second in range(3600):
        lines += house.frame(NOW + second, data=unknown(400 + second, second))
        lines += house.frame(NOW + second, ahead=(second % 40 - 20) * 15 * MINUTE, battery_soc=100 + second % 100)
        lines += house.frame(NOW + second, host=f"10.0.{second // 256}.{second % 256}")
    kinds: dict[str, int] = {}
    for line in lines:
        kind = " ".join(line.split()[3:6])
        kinds[kind] = kinds.get(kind, 0) + 1
    assert max(kinds.values()) <= 60, kinds
    assert len(lines) < 130
    assert len(house.report_log._unknown) <= UNKNOWN_MAX


def test_inverters_that_are_not_named_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    house = House(caplog, serials=[SERIAL])
    assert len(house.frame(NOW)) == 1
    (line,) = house.frame(NOW + 1, serial="E47R2K0193")
    assert line.startswith("warning: inverter E47R2K0193: ")
    assert "[pcap] serials" in line
    said = [house.frame(NOW + 60 * number, serial=f"F{number % 200:09}") for number in range(1, 400)]
    assert sum(map(len, said)) == INVERTERS_MAX - 1
    assert house.frame(NOW + 60 * 400, serial="E47R2K0193") == []


# --- lengths ------------------------------------------------------------------------------------------------------


def unknown(length: int, number: int, serial: str = SERIAL) -> bytes:
    frame = bytearray(encode_values(serial, datetime(2026, 6, 1, 14, number % 60), {}))
    frame[9:11] = (length - 11).to_bytes(2, "big")
    return bytes(frame).ljust(length, b"\1")


def test_unknown_lengths_are_reported_once_a_day(house: House) -> None:
    (line,) = house.frame(NOW, data=unknown(318, 0))
    assert line.startswith(f"warning: inverter {SERIAL}: reports of 318 bytes")
    assert "(1 so far)" in line
    assert "`inverter-capture decode --raw --anonymise CAPTURE`" in line
    for number in range(1, 20):
        assert house.frame(NOW + number * HOUR, data=unknown(318, number)) == []
    # Each length, and each inverter, by itself.
    assert "reports of 310 bytes" in house.frame(NOW + 20 * HOUR, data=unknown(310, 20))[0]
    lines = house.frame(NOW + 21 * HOUR, data=unknown(318, 21, "E47R2K0193"))
    assert "E47R2K0193: reports of 318 bytes" in lines[-1]
    assert house.frame(NOW + DAY - 1, data=unknown(318, 22)) == []
    (line,) = house.frame(NOW + DAY, data=unknown(318, 23))
    assert "reports of 318 bytes" in line
    assert "(24 so far)" in line
    assert house.frame(NOW + DAY + HOUR, data=unknown(318, 24)) == []


# --- values -------------------------------------------------------------------------------------------------------


def test_implausible_values_are_said_once_for_each_field(house: House) -> None:
    (line,) = house.frame(NOW + 300, battery_soc=173)
    start = f"warning: inverter {SERIAL}: values out of range are left out (logged once): "
    assert line == f"{start}battery_soc"
    assert house.frame(NOW + 600, battery_soc=180) == []
    (line,) = house.frame(NOW + 900, battery_soc=180, grid_frequency=300.0, battery_temperature=200.0)
    assert line == f"{start}battery_temperature, grid_frequency"
    assert house.frame(NOW + 1200, grid_frequency=300.0) == []


# --- clocks -------------------------------------------------------------------------------------------------------


def test_a_wrong_time_zone_is_said_once_with_one_that_fits(house: House) -> None:
    # The inverter is in Nepal, its clock ahead of what is configured: no frame that was kept can look like that.
    nepal = 3 * HOUR + 45 * MINUTE
    (line,) = house.frame(NOW + 300, ahead=nepal)
    assert line == (
        f"warning: inverter {SERIAL}: its clock is 3 h 45 min ahead of this system's in the configured time zone; "
        'set [pcap] timezone = "Asia/Kathmandu"'
    )
    for number in range(2, 10):
        assert house.frame(NOW + number * 300, ahead=nepal) == []
    # Another inverter has its own clock.
    lines = house.frame(NOW + 3600, ahead=-2 * HOUR, serial="E47R2K0193")
    assert len(lines) == 1
    (line,) = house.frame(NOW + 3900, ahead=-2 * HOUR, serial="E47R2K0193")
    assert "E47R2K0193: its clock is 2 h behind" in line
    assert 'set [pcap] timezone = "local"' in line


def test_a_backlog_is_no_evidence(house: House) -> None:
    # Two hours offline; then all of it within seconds, and the newest frame is a live one.
    for number in range(24, 0, -1):
        assert house.frame(NOW + 3 * HOUR + 24 - number, age=4 + number * 300) == []
    assert house.frame(NOW + 3 * HOUR + 30) == []
    # One kept frame now and then, each a whole quarter of an hour old or two.
    for number in range(1, 10):
        assert house.frame(NOW + 4 * HOUR + number * 300, age=4 + 15 * MINUTE * number) == []


def test_a_clock_that_is_merely_wrong_is_no_time_zone(house: House) -> None:
    for number in range(1, 10):
        assert house.frame(NOW + number * 300, ahead=7 * MINUTE) == []
    # As wrong as clocks are.
    for number in range(10, 20):
        assert house.frame(NOW + number * 300, ahead=100) == []


def test_a_file_says_nothing_about_clocks_or_silence(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    house = House(caplog, live=False)
    assert len(house.frame(NOW)) == 1
    for number in range(1, 10):
        assert house.frame(NOW + number * 300, ahead=4 * HOUR) == []
    assert house.report_log.deadline is None
    assert house.advance(NOW + DAY) == []


def test_frames_from_the_future_are_said_once(house: House) -> None:
    moment = datetime.fromtimestamp(NOW + 300 - 4, ZONE).replace(tzinfo=None) + timedelta(days=3)
    (line,) = house.frame(NOW + 300, ahead=3 * DAY)
    assert line == (
        f"warning: inverter {SERIAL}: its report says {moment}, more than a day ahead of this system's clock; such "
        "reports are left out: set the inverter's clock, or this system's"
    )
    assert house.frame(NOW + 600, ahead=3 * DAY) == []
    assert house.frame(NOW + 900) == []


def test_a_router_that_has_not_got_the_time_compares_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    start = 1_000_000
    house = House(caplog, started=start)
    assert len(house.frame(start + 10, ahead=NOW)) == 1
    assert house.frame(start + 310, ahead=NOW) == []


def test_the_lines_of_a_batch_name_the_right_inverter_and_reason(house: House) -> None:
    """All reports of a batch are decoded before the first one is logged."""
    other, third, fourth = "E47R2K0193", "0000000003", "0000000004"
    ranges = (0, 20), (59, 104)
    clock = datetime.fromtimestamp(NOW + 300, ZONE).replace(tzinfo=None)
    client, server = wire.Endpoint("192.168.8.202", 40000), wire.Endpoint("203.0.113.10", 51100, wire.MAC_B)
    connection = wire.Connection(client, server)
    time = connection.open((NOW + 300) * SECOND)
    time = connection.reply(time, poll_map(entries_of(ranges)))
    for data in (
        encode_values(SERIAL, clock, {"battery_soc": 50}),
        encode_values(other, clock, {"battery_soc": 150}),
        encode_values(SERIAL, clock + timedelta(days=3), {}),
        encode(third, clock, {0: 5}, ranges),
        encode(fourth, clock, {0: 5}, ranges),
    ):
        time = connection.send(time, data)
    house.receive(*connection.records)
    warnings = [line.removeprefix("warning: inverter ") for line in house.news() if line.startswith("warning: ")]
    assert [warning.split(", ")[0].split(" in its")[0] for warning in warnings] == [
        f"{other}: values out of range are left out (logged once): battery_soc",
        f"{SERIAL}: its report says {clock + timedelta(days=3)}",
        f"{third}: the values",
    ]


# --- silence ------------------------------------------------------------------------------------------------------


def test_silence_is_said_once_and_so_is_its_end(house: House) -> None:
    assert house.report_log.deadline == (NOW + QUIET_SECONDS) * SECOND
    assert house.advance(NOW + QUIET_SECONDS - 1) == []
    (line,) = house.advance(NOW + QUIET_SECONDS)
    assert line.startswith("warning: no report for 30 minutes: ")
    assert "[pcap] device" in line
    assert house.report_log.deadline is None
    assert house.advance(NOW + 5 * QUIET_SECONDS) == []
    assert house.frame(NOW + 2 * HOUR) == ["info: reports arrive again, after 120 minutes without"]
    assert house.frame(NOW + 2 * HOUR + 300) == []
    # The middle interval counts, so the long silence is none.
    quiet_from = NOW + 2 * HOUR + 300
    assert house.report_log.deadline == (quiet_from + QUIET_SECONDS) * SECOND
    assert len(house.advance(quiet_from + QUIET_SECONDS)) == 1


def test_every_frame_ends_silence_whatever_it_is(house: House) -> None:
    for number, length in enumerate((310, 318)):
        assert len(house.frame(NOW + (number + 1) * 300, data=unknown(length, number))) == 1
    assert house.advance(NOW + 2 * 300 + QUIET_SECONDS - 1) == []
    assert len(house.advance(NOW + 2 * 300 + QUIET_SECONDS)) == 1


@pytest.mark.parametrize(("interval", "minutes"), [(69, 10), (300, 30), (900, 90)])
def test_silence_is_measured_by_the_interval_between_reports(house: House, interval: int, minutes: int) -> None:
    # With a backlog in between, whose reports say nothing about the interval.
    times = [NOW + number * interval for number in range(1, 12)]
    for time in sorted([*times, *(times[3] + number for number in range(1, 6))]):
        assert house.frame(time) == []
    assert house.advance(times[-1] + 60 * minutes - 1) == []
    (line,) = house.advance(times[-1] + 60 * minutes)
    assert f"no report for {minutes} minutes" in line


def test_silence_from_the_beginning_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    house = House(caplog)
    assert house.advance(NOW + QUIET_SECONDS - 1) == []
    assert len(house.advance(NOW + QUIET_SECONDS)) == 1


@pytest.mark.parametrize("step", [57 * 365 * DAY, 2 * HOUR, -2 * HOUR, -50 * 365 * DAY])
def test_setting_the_clock_is_no_silence(caplog: pytest.LogCaptureFixture, step: int) -> None:
    # As routers without a battery do it, soon after they have started.
    house = House(caplog)
    assert house.advance(NOW + 20 + step) == []
    assert house.report_log.deadline == (NOW + 20 + step + QUIET_SECONDS) * SECOND
    assert house.advance(NOW + 20 + step + QUIET_SECONDS - 1) == []
    assert len(house.advance(NOW + 20 + step + QUIET_SECONDS)) == 1


def test_the_numbers_that_the_log_names() -> None:
    assert QUIET_SECONDS == 30 * MINUTE
    assert QUIET_SECONDS_MIN == 10 * MINUTE
    assert report_log.DAY_SECONDS == DAY
