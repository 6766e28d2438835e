"""Inverters' clocks against the capture's, and the time zones that would fit."""

from __future__ import annotations

import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from inverter_capture.config import timezone
from inverter_capture.config.timezone import distance_text, fitting_zones, named_zone, offset_text, remedy
from inverter_capture.protocol.clock import (
    BACKLOG_SECONDS,
    CLOCK_TOLERANCE_SECONDS,
    QUARTER_HOUR,
    ClockError,
    ClockWatch,
    FileClocks,
    off_by_quarters,
)
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.reports import Report
from tests.test_readings import system_zone
from tests.wire import SECOND

SERIAL = "1235687108"
WRONG = CLOCK_TOLERANCE_SECONDS
NOW = int(datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp())
HOUR = 3600


class Inverter:
    """Sends frames whose clock is wrong by so many seconds, read in UTC."""

    def __init__(self, watch: ClockWatch, off: int, serial: str = SERIAL) -> None:
        self.watch = watch
        self.off = off
        self.serial = serial

    def send(self, captured: int, age: int = 4) -> ClockError | None:
        """A frame made `age` seconds before it is captured."""
        moment = captured - age + self.off
        clock = datetime.fromtimestamp(moment, UTC).replace(tzinfo=None)
        return self.watch.check(
            Report(self.serial, clock, b""),
            Reading.of(self.serial, moment * SECOND, {}),
            captured * SECOND + SECOND // 2,
        )


def file_error(*offs: int) -> ClockError | None:
    """What is wrong with a file of reports whose clocks are wrong by so many seconds."""
    clocks = FileClocks()
    for number, off in enumerate(offs):
        captured = NOW + 300 * number
        clock = datetime.fromtimestamp(captured + off, UTC).replace(tzinfo=None)
        reading = Reading.of(SERIAL, (captured + off) * SECOND, {})
        clocks.add(Report(SERIAL, clock, b""), reading, captured * SECOND)
    return clocks.error


def test_the_clocks_in_a_file() -> None:
    assert file_error() is None
    assert file_error(7200) == ClockError(7200, 7200, NOW)
    assert file_error(*[-6300 + WRONG] * 20) == ClockError(-6300, -6300, NOW + 300 * 19)
    # Summer and winter.
    assert file_error(*[7200] * 10, *[3600] * 10) == ClockError(3600, 3600, NOW + 300 * 19)
    # One that is right, many that are not off by quarter hours, and such as are both.
    assert file_error(*[7200] * 20, 0) is None
    assert file_error(*[7200] * 10, *[7200 + 400] * 10) is None
    assert file_error(400) is None


@pytest.mark.parametrize("off", [0, 60, -60, 110, -110])
def test_a_right_clock(off: int) -> None:
    inverter = Inverter(ClockWatch(), off)
    assert [inverter.send(NOW + 300 * number) for number in range(20)] == [None] * 20


@pytest.mark.parametrize("off", [200, 400, -300, 7200 + 300, -7200 - 450, 86400 + 150])
def test_a_clock_that_is_wrong_by_itself(off: int) -> None:
    # No time zone mends that.
    inverter = Inverter(ClockWatch(), off)
    assert [inverter.send(NOW + 300 * number) for number in range(20)] == [None] * 20


@pytest.mark.parametrize("ahead", [1, 4, 8, 22, 23, 56])
@pytest.mark.parametrize("wrong", [0, 60, -60])
def test_a_clock_that_is_ahead(ahead: int, wrong: int) -> None:
    # Nothing sends frames from the future: one is enough.
    error = Inverter(ClockWatch(), ahead * QUARTER_HOUR + wrong).send(NOW)
    assert error == ClockError(ahead * QUARTER_HOUR, ahead * QUARTER_HOUR, NOW)


@pytest.mark.parametrize("behind", [1, 4, 8, 16, 38])
def test_a_clock_that_is_behind(behind: int) -> None:
    # It may be an old frame. The second one, five minutes later and as old, is no old one.
    inverter = Inverter(ClockWatch(), -behind * QUARTER_HOUR)
    assert inverter.send(NOW) is None
    expected = (-behind * QUARTER_HOUR, -behind * QUARTER_HOUR)
    for number in range(1, 5):
        error = inverter.send(NOW + 300 * number)
        assert error is not None
        assert (error.ahead, error.utc_offset, error.moment) == (*expected, NOW + 300 * number)


@pytest.mark.parametrize("every", [0, 1, 5])
def test_a_backlog_is_no_evidence(every: int) -> None:
    # Frames of a whole day, one for each five minutes, sent one after the other; then a live one.
    inverter = Inverter(ClockWatch(), 0)
    found = [inverter.send(NOW + every * number, age=86400 - 300 * number + every * number) for number in range(288)]
    assert found == [None] * 288
    assert inverter.send(NOW + 2000) is None


def test_a_backlog_with_a_wrong_zone() -> None:
    inverter = Inverter(ClockWatch(), -2 * HOUR)
    assert [inverter.send(NOW + number, age=6 * HOUR - 300 * number) for number in range(72)] == [None] * 72
    found = [inverter.send(NOW + 100 + 300 * number) for number in range(3)]
    assert found[0] is None
    assert all(error is not None and error.ahead == -2 * HOUR for error in found[2:])


def test_frames_that_follow_each_other_closely_prove_nothing() -> None:
    inverter = Inverter(ClockWatch(), -2 * HOUR)
    assert [inverter.send(NOW + number) for number in range(0, BACKLOG_SECONDS, 5)] == [None] * 12
    assert inverter.send(NOW + BACKLOG_SECONDS) is not None


def test_a_right_frame_clears_the_suspicion() -> None:
    inverter = Inverter(ClockWatch(), 0)
    assert inverter.send(NOW, age=HOUR) is None
    assert inverter.send(NOW + 100) is None
    assert inverter.send(NOW + 200, age=HOUR) is None


def test_old_frames_of_different_ages_prove_nothing() -> None:
    inverter = Inverter(ClockWatch(), 0)
    assert [inverter.send(NOW + 100 * number, age=(number + 1) * HOUR) for number in range(10)] == [None] * 10


def test_each_inverter_has_its_own_clock() -> None:
    watch = ClockWatch()
    right, wrong = Inverter(watch, 0), Inverter(watch, -HOUR, "2211229876")
    for number in range(4):
        assert right.send(NOW + 300 * number) is None
        assert (wrong.send(NOW + 300 * number + 1) is None) == (number == 0)


@pytest.mark.parametrize(
    ("seconds", "quarters"),
    [
        (0, 0), (WRONG, 0), (450, 0), (900, 1), (900 + WRONG, 1), (901 + WRONG, 0),
        (900 - WRONG, 1), (899 - WRONG, 0), (-900, -1), (-7200, -8), (7200, 8), (20700, 23),
    ],
)  # fmt: skip
def test_off_by_quarters(seconds: int, quarters: int) -> None:
    assert off_by_quarters(Reading.of(SERIAL, (NOW + seconds) * SECOND, {}), NOW * SECOND) == quarters


# --- zones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "zone"),
    [
        (0, "Atlantic/Azores"), (1, "Europe/London"), (2, "Africa/Johannesburg"), (3, "Europe/Athens"),
        (5.75, "Asia/Kathmandu"),
        (-4, "America/New_York"), (-2.5, "America/St_Johns"), (10.5, "Australia/Lord_Howe"), (12.75, "Pacific/Chatham"),
        (14, "Pacific/Kiritimati"),
    ],
)  # fmt: skip
def test_fitting_zones_in_june(hours: float, zone: str) -> None:
    with system_zone("UTC"):
        zones = fitting_zones(int(hours * HOUR), NOW)
    assert zone in zones
    assert ("local" in zones) == (hours == 0)
    for name in zones:
        if name != "local":
            offset = datetime.fromtimestamp(NOW, ZoneInfo(name)).utcoffset()
            assert offset == timedelta(hours=hours)


def test_the_season_counts() -> None:
    january = int(datetime(2026, 1, 15, 12, tzinfo=UTC).timestamp())
    assert "Europe/Berlin" in fitting_zones(2 * HOUR, NOW)
    assert "Europe/Berlin" not in fitting_zones(2 * HOUR, january)
    assert "Europe/Berlin" in fitting_zones(HOUR, january)


@pytest.mark.parametrize("name", ["Africa/Johannesburg", "Asia/Kathmandu", "SAST-2"])
def test_the_system_zone_is_named_first(name: str) -> None:
    with system_zone(name):
        offset = datetime.fromtimestamp(NOW).astimezone().utcoffset()
        assert offset is not None
        assert fitting_zones(int(offset.total_seconds()), NOW)[0] == "local"
        assert "local" not in fitting_zones(4 * HOUR, NOW)


def test_every_offset_in_use_has_a_zone() -> None:
    names = zoneinfo.available_timezones() - {"localtime", "Factory"}
    assert len(names) > 300
    for moment in (datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 7, 15, tzinfo=UTC)):
        offsets = {moment.astimezone(ZoneInfo(name)).utcoffset() for name in names}
        for offset in offsets:
            assert offset is not None
            seconds = int(offset.total_seconds())
            # Nobody lives at sea.
            zones = fitting_zones(seconds, int(moment.timestamp()))
            assert [zone for zone in zones if not zone.startswith("Etc/")] or seconds == -12 * HOUR, offset


@pytest.mark.parametrize("offset", [-12 * HOUR - 900, 14 * HOUR + 900, 7 * 24 * HOUR, 100, 901])
def test_offsets_that_no_zone_has(offset: int) -> None:
    assert fitting_zones(offset, NOW) == []
    assert remedy(ClockError(offset, offset, NOW)) == "no time zone fits: set the inverter's clock, or this system's"


NO_DATA = [(2, "Africa/Johannesburg"), (-4, "America/Puerto_Rico"), (0, "Africa/Accra"), (5.75, "Asia/Kathmandu")]


@pytest.mark.parametrize(("hours", "zone"), NO_DATA)
@pytest.mark.parametrize("missing", [None, ModuleType("zoneinfo")])
def test_a_system_without_time_zone_data(hours: float, zone: str, missing: ModuleType | None) -> None:
    if missing is not None:

        def not_found(name: str) -> ZoneInfo:
            raise zoneinfo.ZoneInfoNotFoundError(name)

        missing.ZoneInfo = SimpleNamespace(no_cache=not_found)  # type: ignore[attr-defined]
    with system_zone("<+0330>-3:30"), patch.dict(sys.modules, {"zoneinfo": missing}):
        assert fitting_zones(int(hours * HOUR), NOW) == [zone]
        assert fitting_zones(3 * HOUR + 1800, NOW) == ["local"]
        assert fitting_zones(-2 * HOUR - 1800, NOW) == []
        words = remedy(ClockError(0, int(hours * HOUR), NOW))
        package = {"Africa": "africa", "Asia": "asia"}.get(zone.partition("/")[0], "all")
        assert words.startswith(f"install its data (on OpenWrt zoneinfo-{package}, elsewhere tzdata), then set ")
        assert zone in words


def test_zones_whose_data_is_not_there_hide_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenWrt has a package for each continent."""
    there = ZoneInfo

    def africa_only(name: str) -> ZoneInfo:
        if not name.startswith("Africa/"):
            raise zoneinfo.ZoneInfoNotFoundError(name)
        return there(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", SimpleNamespace(no_cache=africa_only))
    with system_zone("UTC"):
        assert fitting_zones(2 * HOUR, NOW) == ["Africa/Johannesburg"]
        assert remedy(ClockError(0, 2 * HOUR, NOW)) == 'set [pcap] timezone = "Africa/Johannesburg"'
        assert fitting_zones(9 * HOUR, NOW) == ["Asia/Tokyo"]


def test_steady_zones_have_one_offset() -> None:
    for hours, name in timezone._STEADY_ZONES.items():
        for month in range(1, 13):
            offset = datetime(2026, month, 1, tzinfo=ZoneInfo(name)).utcoffset()
            assert offset == timedelta(hours=hours), name


def test_the_remedy_on_openwrt_is_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "openwrt_release").touch()
    monkeypatch.setattr(timezone, "OPENWRT_FILE", str(tmp_path / "openwrt_release"))
    command = "uci set inverter-capture.@pcap[0].timezone='Asia/Kathmandu'; uci commit inverter-capture; reload_config"
    with system_zone("UTC"):
        assert remedy(ClockError(-600, 20700, NOW)) == command


def test_the_remedy_in_words() -> None:
    with system_zone("UTC"):
        assert remedy(ClockError(2 * HOUR, 2 * HOUR, NOW)) == (
            'set [pcap] timezone = "Africa/Johannesburg", or another zone at UTC+02:00 such as Europe/Berlin'
        )
        assert remedy(ClockError(3 * HOUR, 3 * HOUR, NOW)) == (
            'set [pcap] timezone = "Europe/Athens", or another zone at UTC+03:00 such as Asia/Beirut or Africa/Nairobi'
        )
        assert remedy(ClockError(-600, 20700, NOW)) == 'set [pcap] timezone = "Asia/Kathmandu"'
    with system_zone("Africa/Johannesburg"):
        assert remedy(ClockError(2 * HOUR, 2 * HOUR, NOW)).startswith('set [pcap] timezone = "local", or another')


@pytest.mark.parametrize(
    ("offset", "text"),
    [
        (0, "UTC+00:00"),
        (7200, "UTC+02:00"),
        (20700, "UTC+05:45"),
        (-9000, "UTC-02:30"),
        (-36000, "UTC-10:00"),
        (50400, "UTC+14:00"),
    ],
)
def test_offset_text(offset: int, text: str) -> None:
    assert offset_text(offset) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7200, "2 h ahead of"), (-7200, "2 h behind"), (900, "15 min ahead of"), (-20700, "5 h 45 min behind"),
        (59, "0 min ahead of"),
        (-100_000, "27 h 46 min behind"),
    ],
)  # fmt: skip
def test_distance_text(seconds: int, text: str) -> None:
    assert distance_text(seconds) == text


def test_named_zone() -> None:
    assert named_zone("local") is None
    assert named_zone("Asia/Kathmandu") == ZoneInfo("Asia/Kathmandu")
