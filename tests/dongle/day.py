"""One simulated day on a home's router as a capture, and what should be decoded from it.

Two dongles with all their habits, and other machines' traffic in between. The one with the firmware of 2022 reports
every five minutes all day; the one of 2026 is switched on at ten, and reports every 69 seconds until the afternoon.
Everything is fixed: the file is the same, byte by byte, whenever and wherever it is made. The day is 2024-06-21 in a
zone two hours ahead of UTC.
"""

from __future__ import annotations

import functools
import io
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from tests.dongle.chance import Dice
from tests.dongle.inverter import EPOCH, Inverter, Report
from tests.dongle.messages import HEADER_LENGTH, answer, answer_to, control, greeting, login, redirect
from tests.dongle.profiles import LARGE, SMALL, Profile
from tests.dongle.traffic import ROUTER_MAC, other_traffic
from tests.wire import MILLISECOND, SECOND, Connection, Endpoint, Record, write_pcap

START = datetime(2024, 6, 20, 22, tzinfo=UTC)
"""Midnight on the inverters' clocks."""

SEED = 4
REPORTS = 288
"""Of each dongle."""
CLOUD = Endpoint("203.0.113.10", 51100, ROUTER_MAC, 48)
FIRST_CLOUD = Endpoint("203.0.113.9", 51100, ROUTER_MAC, 48)
"""Sends dongles that log in to the other one."""


class Plan(NamedTuple):
    """When a dongle does what is rare. Numbers are of reports, counted from the first."""

    profile: Profile
    address: str
    mac: bytes
    installed: datetime
    first_report: datetime
    interval: timedelta
    jitter: int
    """Seconds, by which reports may come later than the interval says."""
    first_sequence: int
    first_port: int
    closes: frozenset[int]
    """Before this report, with FIN."""
    resets: frozenset[int]
    """Before this report, with RST."""
    restarts: frozenset[int]
    """Before this report the dongle loses power: a new connection on the same port, with nothing said about the old
    one."""
    offline: range
    """These reports are kept and follow later."""
    lost_controls: frozenset[int]
    """The capture has missed the short message before this report."""
    redirected: bool
    """The first connection is to a server that sends the dongle to another one."""
    split_maps: bool
    """Poll maps come in two segments."""


PLANS = (
    Plan(
        profile=SMALL,
        address="192.168.8.202",
        mac=bytes.fromhex("0200000008ca"),
        installed=START - timedelta(days=2),
        first_report=START,
        interval=timedelta(minutes=5),
        jitter=14,
        # Sequence numbers pass 2**32 within the day, in the middle of a report.
        first_sequence=2**32 - 12_300,
        first_port=50586,
        closes=frozenset((64, 230)),
        resets=frozenset((121,)),
        restarts=frozenset((262,)),
        offline=range(156, 168),
        lost_controls=frozenset((93, 201)),
        redirected=False,
        split_maps=False,
    ),
    Plan(
        profile=LARGE,
        address="192.168.8.203",
        mac=bytes.fromhex("0200000008cb"),
        # New: standby and self-check are seen.
        installed=START + timedelta(hours=10),
        first_report=START + timedelta(hours=10),
        interval=timedelta(seconds=69),
        jitter=0,
        first_sequence=3_141_592_653,
        first_port=61003,
        closes=frozenset((140,)),
        resets=frozenset((40, 216)),
        restarts=frozenset((180,)),
        offline=range(0),
        lost_controls=frozenset((111,)),
        redirected=True,
        split_maps=True,
    ),
)


class Delivery(NamedTuple):
    """A report, and when its last byte is in the capture."""

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
        self._number = 0
        self.records: list[Record] = []
        self.deliveries: list[Delivery] = []
        for number in range(REPORTS):
            self._live_through(number)

    def _live_through(self, number: int) -> None:
        """The time of one report, with a short message before every second one."""
        plan = self._plan
        moment = plan.first_report + number * plan.interval + timedelta(seconds=self._dice.whole(0, plan.jitter))
        report = self._inverter.report(moment)
        # The inverter's clock is some seconds behind the capture's.
        time = nanoseconds(report.moment) + self._dice.whole(2_000, 6_900) * MILLISECOND
        if number in plan.offline:
            # Out of reach of the router: nothing more is seen of this connection.
            self._line = None
            self._waiting.append(report)
            return
        # Two fifths of the interval before the report, or a little earlier.
        earlier = time - plan.interval // timedelta(seconds=5) * 2 * SECOND - self._dice.whole(0, 20_000) * MILLISECOND
        if self._line is not None:
            self._end_if_planned(self._line, number, time - 30 * SECOND)
        if self._line is None:
            self._line = self._begin(time - 20 * SECOND)
        elif number in plan.lost_controls:
            self._line.lose(control(self._next_number()))
        elif number % 2:
            self._line.send(earlier, control(self._next_number()))
        if self._waiting:
            self._send_backlog(self._line, time - 15 * SECOND)
        self._send(self._line, time, report)
        if self._dice.happens(0.1):
            self._line.keep_alive(time + 20 * SECOND)

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1

    def _begin(self, time: int) -> Connection:
        """A new connection, with all that is said at its beginning."""
        if self._plan.redirected and not self.records:
            self._be_redirected(time - 5 * SECOND)
        line = self._connect(CLOUD)
        time = line.open(time) + 10 * MILLISECOND
        messages = greeting(self._plan.profile.dongle_serial, self._number)
        self._number += len(messages)
        for message in messages:
            time = line.send(time, message)
            clock = (EPOCH + timedelta(seconds=time // SECOND)).replace(tzinfo=None)
            sizes = (100,) if self._plan.split_maps else ()
            time = line.reply(time, answer_to(message, clock, self._plan.profile.poll_map), sizes)
        return line

    def _be_redirected(self, time: int) -> None:
        """A connection in which the server only names another one."""
        line = self._connect(FIRST_CLOUD)
        time = line.open(time) + 10 * MILLISECOND
        number = self._next_number()
        time = line.send(time, login(self._plan.profile.dongle_serial, number=number))
        line.close(line.reply(time, redirect("ukiot.sunsynk.net", 51100, number)))

    def _connect(self, server: Endpoint) -> Connection:
        line = Connection(
            Endpoint(self._plan.address, self._port, self._plan.mac, 255),
            server,
            sequence=self._sequence,
            server_sequence=self._dice.whole(0, 2**32 - 1),
            delay=self._dice.whole(150, 260) * MILLISECOND,
            identification=self._dice.whole(0, 65535),
        )
        # Packets are made later, but the list they come in is already known.
        line.records = self.records
        self._port += 1
        self._sequence = self._dice.whole(0, 2**32 - 1)
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
        """Reports back to back, in segments that end anywhere in them."""
        messages = [report.message(self._next_number()) for report in self._waiting]
        done = line.send(time, b"".join(messages))
        end = 0
        for report, message in zip(self._waiting, messages, strict=True):
            end += len(message)
            segment = (end - 1) // line.limit
            self.deliveries.append(Delivery(time + segment * (line.delay + MILLISECOND), report))
        line.reply(done, b"".join(map(answer, messages)))
        self._waiting.clear()

    def _send(self, line: Connection, time: int, report: Report) -> None:
        """One report, in one of the ways of TCP, and its answer."""
        message = report.message(self._next_number())
        way = self._dice.between(0, 1)
        middle = self._dice.whole(1, len(message) - 1)
        done = time
        if way < 0.06:
            line.send(time, message, (middle,))
            done = time + line.delay + MILLISECOND
        elif way < 0.09:
            # Both cuts are within the header.
            line.send(time, message, (1, HEADER_LENGTH - 2))
            done = time + 2 * (line.delay + MILLISECOND)
        elif way < 0.12:
            line.send_out_of_order(time, message, middle)
            done = time + MILLISECOND
        elif way < 0.16:
            # The ACK was lost, and all of it comes again.
            line.send(time, message)
            line.repeat(time + 500 * MILLISECOND, message)
        elif way < 0.19:
            # Two segments, then a repetition that overlaps both.
            line.send(time, message, (middle,))
            line.repeat(time + 600 * MILLISECOND, message[middle // 2 :])
            done = time + line.delay + MILLISECOND
        elif way < 0.22:
            # Another message in the same segment.
            line.send(time, control(self._next_number()) + message)
        else:
            line.send(time, message)
        line.reply(time + 900 * MILLISECOND, answer(message))
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
    """Every reading that the capture holds, as the JSON contract has it, in the order in which reports are complete.

    A decoder may come to a few of them later: those behind a message that the capture has missed.
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
