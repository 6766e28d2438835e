"""One simulated day on a home's router as a capture, and what should be decoded from it.

Two dongles with all their habits, and other machines' traffic in between. Everything is fixed: the file is the
same, byte by byte, whenever and wherever it is made. The day is 2024-06-21 in a zone two hours ahead of UTC.
"""

from __future__ import annotations

import functools
import io
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.dongle.chance import Dice
from tests.dongle.messages import answer, heartbeat, login
from tests.dongle.profiles import LARGE, SMALL, Profile
from tests.dongle.reports import EPOCH, Inverter, Report
from tests.dongle.traffic import ROUTER_MAC, other_traffic
from tests.wire import MILLISECOND, SECOND, Connection, Endpoint, Record, write_pcap

START = datetime(2024, 6, 20, 22, tzinfo=UTC)
"""Midnight on the inverters' clocks."""

SEED = 4
FRAMES = 288
INTERVAL = timedelta(minutes=5)
CLOUD = Endpoint("203.0.113.10", 51100, ROUTER_MAC, 48)


class Plan(NamedTuple):
    """When a dongle does what is rare. Numbers are of frames, counted from midnight."""

    profile: Profile
    address: str
    mac: bytes
    installed: datetime
    first_sequence: int
    first_port: int
    closes: frozenset[int]
    """Before this frame, with FIN."""
    resets: frozenset[int]
    """Before this frame, with RST."""
    restarts: frozenset[int]
    """Before this frame the dongle loses power: a new connection on the same port, with nothing said about the old
    one."""
    offline: range
    """These frames are kept and follow later."""
    lost_heartbeats: frozenset[int]
    """The capture has missed the heartbeat before this frame."""


PLANS = (
    Plan(
        profile=SMALL,
        address="192.168.8.202",
        mac=bytes.fromhex("0200000008ca"),
        installed=START - timedelta(days=2),
        # Sequence numbers pass 2**32 within the day, in the middle of a frame.
        first_sequence=2**32 - 12_300,
        first_port=50586,
        closes=frozenset((64, 230)),
        resets=frozenset((121,)),
        restarts=frozenset((262,)),
        offline=range(156, 168),
        lost_heartbeats=frozenset((93, 201)),
    ),
    Plan(
        profile=LARGE,
        address="192.168.8.203",
        mac=bytes.fromhex("0200000008cb"),
        # New: standby and self-check are seen.
        installed=START,
        first_sequence=3_141_592_653,
        first_port=61003,
        closes=frozenset((140,)),
        resets=frozenset((40, 216)),
        restarts=frozenset((180,)),
        offline=range(0),
        lost_heartbeats=frozenset((111,)),
    ),
)


class Delivery(NamedTuple):
    """A report, and when the last byte of its frame is in the capture."""

    time: int
    report: Report


class DayOfDongle:
    """The packets of one dongle's day, and its deliveries."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._dice = Dice(SEED, 40, plan.profile.number)
        self._inverter = Inverter(plan.profile, plan.installed, SEED)
        self._port = plan.first_port
        self._sequence = plan.first_sequence
        self._waiting: list[Report] = []
        self._line: Connection | None = None
        self.records: list[Record] = []
        self.deliveries: list[Delivery] = []
        for number in range(FRAMES):
            self._live_through(number)

    def _live_through(self, number: int) -> None:
        """Five minutes, with one frame, and a heartbeat before every second one."""
        plan = self._plan
        moment = START + number * INTERVAL + timedelta(seconds=self._dice.whole(0, 14))
        report = self._inverter.report(moment)
        # The inverter's clock is some seconds behind the capture's.
        time = nanoseconds(report.moment) + self._dice.whole(2_000, 6_900) * MILLISECOND
        if number in plan.offline:
            # Out of reach of the router: nothing more is seen of this connection.
            self._line = None
            self._waiting.append(report)
            return
        earlier = time - 140 * SECOND - self._dice.whole(0, 20_000) * MILLISECOND
        if self._line is not None:
            self._end_if_planned(self._line, number, time - 30 * SECOND)
        if self._line is None:
            self._line = self._begin(time - 20 * SECOND)
        elif number in plan.lost_heartbeats:
            self._line.lose(heartbeat(plan.profile.serial, number))
        elif number % 2:
            self._line.send(earlier, heartbeat(plan.profile.serial, number))
        if self._waiting:
            self._send_backlog(self._line, time - 15 * SECOND)
        self._send(self._line, time, report)
        self._line.reply(time + 700 * MILLISECOND, answer(number))
        if self._dice.happens(0.1):
            self._line.keep_alive(time + 60 * SECOND)

    def _begin(self, time: int) -> Connection:
        """A new connection, with a login."""
        dongle = Endpoint(self._plan.address, self._port, self._plan.mac, 255)
        line = Connection(
            dongle,
            CLOUD,
            sequence=self._sequence,
            server_sequence=self._dice.whole(0, 2**32 - 1),
            delay=self._dice.whole(150, 260) * MILLISECOND,
            identification=self._dice.whole(0, 65535),
        )
        # Packets are made later, but the list they come in is already known.
        line.records = self.records
        self._port += 1
        self._sequence = self._dice.whole(0, 2**32 - 1)
        line.send(line.open(time) + 10 * MILLISECOND, login(self._plan.profile.serial))
        return line

    def _end_if_planned(self, line: Connection, number: int, time: int) -> None:
        if number in self._plan.closes:
            line.close(time)
        elif number in self._plan.resets:
            line.reset(time)
        elif number in self._plan.restarts:
            self._port -= 1
        else:
            return
        self._line = None

    def _send_backlog(self, line: Connection, time: int) -> None:
        """Frames back to back, in segments that end anywhere in them."""
        line.send(time, b"".join(report.frame for report in self._waiting))
        end = 0
        for report in self._waiting:
            end += len(report.frame)
            segment = (end - 1) // line.limit
            self.deliveries.append(Delivery(time + segment * (line.delay + MILLISECOND), report))
        self._waiting.clear()

    def _send(self, line: Connection, time: int, report: Report) -> None:
        """One frame, in one of the ways of TCP."""
        frame = report.frame
        length = len(frame)
        way = self._dice.between(0, 1)
        middle = self._dice.whole(1, length - 1)
        done = time
        if way < 0.06:
            line.send(time, frame, (middle,))
            done = time + line.delay + MILLISECOND
        elif way < 0.09:
            line.send(time, frame, (1, 9))
            done = time + 2 * (line.delay + MILLISECOND)
        elif way < 0.12:
            line.send_out_of_order(time, frame, middle)
            done = time + MILLISECOND
        elif way < 0.16:
            # The ACK was lost, and all of it comes again.
            line.send(time, frame)
            line.repeat(time + 500 * MILLISECOND, frame)
        elif way < 0.19:
            # Two segments, then a repetition that overlaps both.
            line.send(time, frame, (middle,))
            line.repeat(time + 600 * MILLISECOND, frame[middle // 2 :])
            done = time + line.delay + MILLISECOND
        elif way < 0.22:
            # A message that is no frame, in the same segment.
            line.send(time, heartbeat(report.serial, 0) + frame)
        else:
            line.send(time, frame)
        self.deliveries.append(Delivery(done, report))


class Day(NamedTuple):
    """All packets in the order of their times, and all deliveries."""

    records: list[Record]
    deliveries: list[Delivery]


@functools.cache
def make_day() -> Day:
    """The day, made once."""
    dongles = [DayOfDongle(plan) for plan in PLANS]
    records = other_traffic(nanoseconds(START), SEED)
    deliveries = []
    for dongle in dongles:
        records += dongle.records
        deliveries += dongle.deliveries
    records.sort(key=lambda record: record.time)
    deliveries.sort(key=lambda delivery: delivery.time)
    return Day(records, deliveries)


def expected_day() -> list[dict[str, Any]]:
    """Every reading that the capture holds, as the JSON contract has it, in the order in which frames are complete.

    A decoder may come to a few of them later: those behind a heartbeat that the capture has missed.
    """
    return [delivery.report.expected() for delivery in make_day().deliveries]


def day_capture() -> bytes:
    """The capture file, in the classic format."""
    file = io.BytesIO()
    write_pcap(file, make_day().records)
    return file.getvalue()


def nanoseconds(moment: datetime) -> int:
    """Since the epoch."""
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000
