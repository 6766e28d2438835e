"""Connections of dongles as packets, each with exactly the readings that must come of it.

Each scenario is a function of a seed, and SCENARIOS has them all by name, so that a test is

    scenario = SCENARIOS[name](seed)
    assert decoded(scenario.packets) == scenario.expected

with inverters' clocks in UTC, the packets in order on Ethernet (but for those that say otherwise), and what a decoder
has left at the end of the capture. Registers hold chance: see `random_words`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests import wire
from tests.dongle.chance import Dice
from tests.dongle.inverter import EPOCH
from tests.dongle.messages import (
    RECORDED_MAP,
    Entry,
    Ranges,
    answer,
    answer_to,
    ask_for_poll_map,
    control,
    entries_of,
    greeting,
    login,
    message,
    poll_map,
    ranges_of,
    redirect,
)
from tests.dongle.profiles import THREE_PHASE_MAP
from tests.dongle.reports import RANGES, encode, length_of, registers_in
from tests.dongle.traffic import other_traffic
from tests.wire import ACK, MILLISECOND, PSH, SECOND, Connection, Endpoint, Record

START = int(datetime(2026, 9, 17, 7, tzinfo=UTC).timestamp()) * SECOND
CLOUD = Endpoint("203.0.113.10", 51100, wire.MAC_B, 48)
OTHER_CLOUD = Endpoint("203.0.113.11", 51100, wire.MAC_B, 48)
INTERVAL = 69 * SECOND
OUTSIDE = "198.51.100.20"
"""The router's own address, from which translated packets come."""


SINGLE_PHASE_WORDS = {0: 3, 59: 2, 79: 5000, 150: 2387, 151: 0, 152: 2387, 153: 2387, 182: 1210, 183: 5330}
"""Device type, state, grid frequency and voltages, battery temperature and voltage, as a single-phase inverter has
them: reports that hold others are not believed."""
THREE_PHASE_FROM, THREE_PHASE_TYPE = 500, 5


class Expected(NamedTuple):
    """One reading."""

    serial: str
    time: int
    """Seconds since the epoch, UTC."""
    words: Mapping[int, int]
    """By register. Of one that a report holds twice, both are the same."""


class Scenario(NamedTuple):
    """What passes, and what must come of it, in the order in which reports are complete."""

    packets: list[Record]
    expected: list[Expected]


class Story:
    """What happens, one thing after the other; all dongles share its time and its packets."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed, 50)
        self.time = START
        self.packets: list[Record] = []
        self.expected: list[Expected] = []

    def end(self) -> Scenario:
        """All of it."""
        return Scenario(self.packets, self.expected)

    def random_map(self, *, avoid: Iterable[int] = (292, 302, 306)) -> tuple[Entry, ...]:
        """Some ranges of registers, also with other flags, that make a report of none of these lengths."""
        while True:
            entries = []
            first = self.dice.whole(0, 30)
            for _ in range(self.dice.whole(1, 12)):
                count = self.dice.whole(1, 40)
                entries.append(Entry(first, count, self.dice.one_of(((0, 0), (0, 0), (0, 1), (1, 0), (2, 0)))))
                first += count + self.dice.whole(0, 60)
            ranges = ranges_of(entries)
            if ranges and length_of(ranges) not in avoid:
                return tuple(entries)


class Dongle:
    """One dongle of a story, in one connection after the other."""

    def __init__(
        self,
        story: Story,
        *,
        place: int = 1,
        entries: tuple[Entry, ...] = RECORDED_MAP,
        ranges: Ranges | None = None,
        address: str = "",
        server: Endpoint = CLOUD,
    ) -> None:
        """`place` makes dongles of one story differ. `entries` is what its server asks for, and `ranges` what it
        reports, when that is not the same."""
        self.story = story
        self.serial = f"2611{story.dice.whole(0, 99_999):05}{place}"
        self.dongle_serial = f"E{place:011}"
        self.address = address or f"192.168.8.{200 + place}"
        self.port = story.dice.whole(20_000, 60_000)
        self.server = server
        self.entries = entries
        self.ranges = ranges or ranges_of(entries)
        # So that it wraps around soon in some stories.
        self.number = story.dice.one_of((0, 4, 250))
        self.line = self.connect()

    def connect(
        self,
        *,
        handshake: bool = True,
        sequence: int | None = None,
        wrap: Callable[[bytes, Endpoint, Endpoint], bytes] | None = None,
    ) -> Connection:
        """A new connection from another port. Without `handshake` the capture begins later."""
        story = self.story
        self.port += 1
        self.line = Connection(
            Endpoint(self.address, self.port, wire.MAC_A, 255),
            self.server,
            sequence=story.dice.whole(0, 2**32 - 1) if sequence is None else sequence,
            server_sequence=story.dice.whole(0, 2**32 - 1),
            delay=20 * MILLISECOND,
            wrap=wrap,
        )
        self.line.records = story.packets
        if handshake:
            story.time = self.line.open(story.time)
        else:
            self.line.sequence += 1
        return self.line

    def next_number(self) -> int:
        """Of this dongle's next message."""
        self.number += 1
        return self.number - 1

    def say(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        """The dongle sends this."""
        self.story.time = self.line.send(self.story.time + MILLISECOND, data, sizes)

    def hear(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        """The server sends this."""
        self.story.time = self.line.reply(self.story.time + MILLISECOND, data, sizes)

    def greet(self) -> None:
        """All that a connection begins with, the poll map too."""
        messages = greeting(self.dongle_serial, self.number)
        self.number += len(messages)
        for each in messages:
            self.say(each)
            clock = (EPOCH + timedelta(seconds=self.story.time // SECOND)).replace(tzinfo=None)
            self.hear(answer_to(each, clock, self.entries))

    def request_map(self, entries: tuple[Entry, ...]) -> bytes:
        """The dongle asks for the poll map. Returns the server's answer, which is not sent yet."""
        number = self.next_number()
        self.say(ask_for_poll_map(number))
        return poll_map(entries, number=number)

    def ask(self, entries: tuple[Entry, ...], sizes: Iterable[int] = ()) -> None:
        """The dongle asks for the poll map, and reports as it says."""
        self.hear(self.request_map(entries), sizes)
        self.entries, self.ranges = entries, ranges_of(entries)

    def make_report(self, *, expected: bool = True, age: int = 3) -> bytes:
        """The next report, a minute later, whose registers were read `age` seconds ago."""
        story = self.story
        story.time += INTERVAL
        seconds = story.time // SECOND - age
        words = random_words(story.dice, self.ranges)
        if expected:
            story.expected.append(Expected(self.serial, seconds, words))
        clock = (EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None)
        return encode(self.serial, clock, words, self.ranges, number=self.next_number())

    def report(self, count: int = 1, *, expected: bool = True, sizes: Iterable[int] = ()) -> None:
        """So many reports, each with its answer."""
        for _ in range(count):
            data = self.make_report(expected=expected)
            self.say(data, sizes)
            self.hear(answer(data))


def random_words(dice: Dice, ranges: Ranges) -> dict[int, int]:
    """Chance, without a byte 0xA5, but for the registers that tell the kind of inverter."""
    registers = registers_in(ranges)
    words = {register: dice.whole(0, 0x7F7F) & 0x7F7F for register in registers}
    if max(registers) >= THREE_PHASE_FROM:
        told = {0: THREE_PHASE_TYPE}
    else:
        told = SINGLE_PHASE_WORDS
    return words | {register: word for register, word in told.items() if register in words}


def _greeted(seed: int, entries: tuple[Entry, ...] = (), *, address: str = "", server: Endpoint = CLOUD) -> Dongle:
    """The dongle of a new story, which has logged in and has this map, or a random one."""
    story = Story(seed)
    dongle = Dongle(story, entries=entries or story.random_map(), address=address, server=server)
    dongle.greet()
    return dongle


# --- connections ----------------------------------------------------------------------------------------------------


def whole_connection(seed: int) -> Scenario:
    """All of it, as on record, with short messages between the reports."""
    story = Story(seed)
    dongle = Dongle(story)
    dongle.greet()
    for _ in range(4):
        dongle.say(control(dongle.next_number()))
        dongle.report()
    story.time = dongle.line.close(story.time)
    return story.end()


def known_lengths_without_a_map(seed: int) -> Scenario:
    """Three dongles whose poll maps the capture has missed."""
    story = Story(seed)
    dongles = [Dongle(story, place=place, ranges=ranges) for place, ranges in enumerate(RANGES.values(), 1)]
    for _ in range(2):
        for dongle in dongles:
            dongle.report()
    return story.end()


def mid_connection(seed: int) -> Scenario:
    """The capture begins within a report, and has seen neither handshake nor map."""
    story = Story(seed)
    dongle = Dongle(story)
    story.packets.clear()
    first = dongle.make_report(expected=False)
    dongle.say(first[story.dice.whole(1, len(first) - 1) :])
    dongle.hear(answer(first))
    dongle.report(3)
    return story.end()


def reordered_first_segments(seed: int) -> Scenario:
    """The first report of a new connection is in two segments, of which the second is seen first."""
    story = Story(seed)
    dongle = Dongle(story)
    _say_reordered(dongle, dongle.make_report())
    dongle.report(2)
    return story.end()


def reordered_first_segments_of_a_capture(seed: int) -> Scenario:
    """The same, and the capture has not seen the handshake."""
    story = Story(seed)
    dongle = Dongle(story)
    story.packets.clear()
    _say_reordered(dongle, dongle.make_report())
    dongle.report(2)
    return story.end()


def _say_reordered(dongle: Dongle, data: bytes) -> None:
    story = dongle.story
    middle = story.dice.whole(1, len(data) - 1)
    story.time = dongle.line.send_out_of_order(story.time, data, middle)
    dongle.hear(answer(data))


def short_message_and_report_in_one_segment(seed: int) -> Scenario:
    """From the first segment on, which therefore does not begin with a report."""
    story = Story(seed)
    dongle = Dongle(story)
    for _ in range(3):
        data = dongle.make_report()
        dongle.say(control(dongle.next_number()) + data)
        dongle.hear(answer(data))
    return story.end()


def report_and_short_message_in_one_segment(seed: int) -> Scenario:
    """The message after a report begins in the report's last segment, and ends in the next."""
    story = Story(seed)
    dongle = Dongle(story)
    for _ in range(3):
        data = dongle.make_report() + control(dongle.next_number())
        dongle.say(data, (len(data) - story.dice.whole(1, 12),))
    return story.end()


def sequence_numbers_wrap(seed: int) -> Scenario:
    """At once: with the SYN, or within the first report."""
    story = Story(seed)
    dongle = Dongle(story)
    story.packets.clear()
    dongle.connect(sequence=2**32 - story.dice.one_of((1, 2, 3, 100, 307)))
    dongle.report(3, sizes=(100, 100))
    return story.end()


def sequence_numbers_wrap_in_mid_connection(seed: int) -> Scenario:
    """The same, and the capture has not seen the handshake."""
    story = Story(seed)
    dongle = Dongle(story)
    story.packets.clear()
    dongle.connect(handshake=False, sequence=2**32 - story.dice.one_of((1, 2, 3, 100, 307)))
    dongle.report(3, sizes=(100, 100))
    return story.end()


def byte_by_byte(seed: int) -> Scenario:
    """Poll map and reports in segments of one byte."""
    story = Story(seed)
    entries = story.random_map()
    dongle = Dongle(story, entries=entries)
    dongle.ask(entries, (1,) * 2000)
    dongle.report(2, sizes=(1,) * 2000)
    return story.end()


def kept_readings(seed: int) -> Scenario:
    """Hours old, back to back in full segments, with new ones before and after."""
    story = Story(seed)
    dongle = Dongle(story)
    dongle.greet()
    dongle.report()
    kept = [dongle.make_report(age=5 * 3600) for _ in range(12)]
    dongle.say(b"".join(kept))
    dongle.hear(b"".join(map(answer, kept)))
    dongle.report(2)
    return story.end()


def retransmissions(seed: int) -> Scenario:
    """Map and reports come again, whole, in part and overlapping."""
    story = Story(seed)
    entries = story.random_map()
    dongle = Dongle(story, entries=entries)
    dongle.greet()
    for _ in range(3):
        data = dongle.make_report()
        middle = story.dice.whole(1, len(data) - 1)
        dongle.say(data, (middle,))
        dongle.line.repeat(story.time, data)
        dongle.line.repeat(story.time + 50 * MILLISECOND, data[middle // 2 :])
        story.time += 100 * MILLISECOND
        dongle.line.keep_alive(story.time)
    return story.end()


def redirected(seed: int) -> Scenario:
    """The first server sends the dongle to another one."""
    story = Story(seed)
    dongle = Dongle(story, server=OTHER_CLOUD)
    number = dongle.next_number()
    dongle.say(login(dongle.dongle_serial, number=number))
    dongle.hear(redirect("ukiot.sunsynk.net", 51100, number))
    story.time = dongle.line.close(story.time)
    dongle.server = CLOUD
    dongle.connect()
    dongle.greet()
    dongle.report(2)
    return story.end()


def resets(seed: int) -> Scenario:
    """Each connection ends with RST, and the next begins on the same port."""
    story = Story(seed)
    dongle = Dongle(story)
    for _ in range(3):
        dongle.greet()
        dongle.report()
        dongle.line.reset(story.time)
        story.time += SECOND
        dongle.port -= 1
        dongle.connect()
    return story.end()


def on_another_port(seed: int) -> Scenario:
    """A server that does not listen at 51100."""
    dongle = _greeted(seed, server=CLOUD._replace(port=6666))
    dongle.report(3)
    return dongle.story.end()


def among_other_traffic(seed: int) -> Scenario:
    """Of other hosts, some of whose bytes look a little like a report."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report(50)
    packets = sorted([*other_traffic(START, seed), *story.packets], key=lambda record: record.time)
    return Scenario(packets, story.expected)


def in_pppoe(seed: int) -> Scenario:
    """All packets are in a PPPoE session on a VLAN."""
    story = Story(seed)
    dongle = Dongle(story, entries=story.random_map())
    story.packets.clear()
    dongle.connect(wrap=_in_pppoe)
    dongle.greet()
    dongle.report(2)
    return story.end()


def _in_pppoe(packet: bytes, sender: Endpoint, receiver: Endpoint) -> bytes:
    tags = [(wire.ETHERTYPE_VLAN, 7)]
    return wire.ethernet(wire.pppoe(packet), tags=tags, ethertype=wire.ETHERTYPE_PPPOE)


def ipv6(seed: int) -> Scenario:
    """Both ends have IPv6 addresses."""
    dongle = _greeted(seed, address="fd00:8::202", server=Endpoint("2001:db8::10", 51100))
    dongle.report(2)
    return dongle.story.end()


# --- what is lost ---------------------------------------------------------------------------------------------------


def truncated_report(seed: int) -> Scenario:
    """A dongle sends 306-byte reports without their tails: what is left has a known length, and is no report."""
    story = Story(seed)
    dongle = Dongle(story)
    for length in (302, 292, story.dice.whole(12, 305)):
        dongle.say(dongle.make_report(expected=False)[:length])
        dongle.report()
    dongle.say(dongle.make_report(expected=False)[:302])
    story.time = dongle.line.close(story.time)
    return story.end()


def lost_tail(seed: int) -> Scenario:
    """The capture has missed the tail of a 306-byte report."""
    story = Story(seed)
    dongle = Dongle(story)
    for length in (302, 292, story.dice.whole(12, 305)):
        data = dongle.make_report(expected=False)
        dongle.say(data[:length])
        dongle.line.lose(data[length:])
        dongle.report(2)
    return story.end()


def lost_map(seed: int) -> Scenario:
    """The capture has missed a piece of the map: reports of a length that nobody knows are no readings."""
    story = Story(seed)
    entries = story.random_map()
    dongle = Dongle(story, entries=entries)
    data = dongle.request_map(entries)
    dongle.hear(data[:15])
    dongle.line.server_sequence += 5
    dongle.hear(data[20:])
    dongle.report(2, expected=False)
    return story.end()


# --- poll maps ------------------------------------------------------------------------------------------------------


def split_map(seed: int) -> Scenario:
    """The map is in several segments."""
    story = Story(seed)
    dongle = Dongle(story)
    entries = story.random_map()
    size = len(poll_map(entries))
    dongle.ask(entries, (story.dice.whole(1, 12), story.dice.whole(1, size - 14)))
    dongle.report(2)
    return story.end()


def reordered_map(seed: int) -> Scenario:
    """The map is in two segments, of which the second is seen first."""
    story = Story(seed)
    entries = story.random_map()
    dongle = Dongle(story, entries=entries)
    data = dongle.request_map(entries)
    middle = story.dice.whole(1, len(data) - 1)
    line = dongle.line
    line.packet(story.time, line.server, line.server_sequence + middle, data[middle:], PSH | ACK)
    line.packet(story.time + MILLISECOND, line.server, line.server_sequence, data[:middle], PSH | ACK)
    line.server_sequence += len(data)
    dongle.report(2)
    return story.end()


def map_of_an_unknown_length(seed: int) -> Scenario:
    """Reports that no table knows are readings from the map on, and not before."""
    story = Story(seed)
    dongle = Dongle(story, entries=story.random_map())
    dongle.report(2, expected=False)
    dongle.ask(dongle.entries)
    dongle.report(3)
    return story.end()


def map_of_a_three_phase_inverter(seed: int) -> Scenario:
    """Registers from 500 up."""
    dongle = _greeted(seed, THREE_PHASE_MAP)
    dongle.report(3)
    return dongle.story.end()


def map_replaced_in_mid_connection(seed: int) -> Scenario:
    """By one of another length, and then by one of the same length with the ranges in another order."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report(2)
    dongle.ask(story.random_map(avoid=(292, 302, 306, length_of(dongle.ranges))))
    dongle.report(2)
    dongle.ask((*dongle.entries[1:], dongle.entries[0]))
    dongle.report(2)
    return story.end()


def reports_while_the_map_changes(seed: int) -> Scenario:
    """The dongle still reports by the old map: between question and answer, and once after the answer, where it is no
    longer certain what the report holds."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report()
    number = dongle.next_number()
    dongle.say(ask_for_poll_map(number))
    dongle.report()
    entries = story.random_map(avoid=(292, 302, 306, length_of(dongle.ranges)))
    dongle.hear(poll_map(entries, number=number))
    dongle.report(expected=False)
    dongle.ranges = ranges_of(entries)
    dongle.report(2)
    return story.end()


def map_replaced_at_reconnection(seed: int) -> Scenario:
    """The new connection has another map."""
    story = Story(seed)
    dongle = Dongle(story, entries=story.random_map())
    for _ in range(3):
        dongle.ask(dongle.entries)
        dongle.report(2)
        story.time = dongle.line.close(story.time)
        dongle.entries = story.random_map()
        dongle.connect()
    return story.end()


def map_survives_a_reconnection(seed: int) -> Scenario:
    """The map of the second connection is not in the capture; nor is that of a third, from another address."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report(2)
    story.time = dongle.line.close(story.time)
    dongle.connect()
    dongle.report(2)
    story.time = dongle.line.close(story.time)
    dongle.address = "192.168.8.77"
    dongle.connect()
    dongle.report(2)
    return story.end()


def map_against_a_known_layout(seed: int) -> Scenario:
    """A map whose reports have 306 bytes, and other registers than those that are known: the map wins."""
    story = Story(seed)
    first = story.dice.whole(400, 900)
    dongle = Dongle(story, entries=entries_of(((first, first + 99), (59, 89))))
    dongle.greet()
    dongle.report(2)
    return story.end()


def map_in_the_wrong_direction(seed: int) -> Scenario:
    """The dongle sends a map, with its own direction or with the server's: nobody is to believe it."""
    story = Story(seed)
    entries = story.random_map()
    dongle = Dongle(story, entries=entries)
    dongle.say(poll_map(entries, number=dongle.next_number(), from_dongle=True))
    dongle.report(2, expected=False)
    dongle.say(poll_map(entries, number=dongle.next_number()))
    dongle.report(2, expected=False)
    return story.end()


def map_of_a_stranger(seed: int) -> Scenario:
    """Another host sends the dongle a map in a connection of its own, in which the dongle says nothing."""
    story = Story(seed)
    forged = story.random_map()
    dongle = Dongle(story)
    dongle.report()
    stranger = Connection(Endpoint("192.168.8.66", 51100), dongle.line.client._replace(port=7))
    stranger.records = story.packets
    story.time = stranger.send(story.time + SECOND, poll_map(forged))
    dongle.report()
    dongle.connect()
    dongle.report()
    dongle.ranges = ranges_of(forged)
    dongle.connect()
    dongle.report(expected=False)
    return story.end()


def empty_map(seed: int) -> Scenario:
    """A map without entries: reports go on as before."""
    return _useless_map(seed, poll_map(()))


def map_without_a_report(seed: int) -> Scenario:
    """All entries have another first flag."""
    return _useless_map(seed, poll_map((Entry(59, 66, (1, 0)), Entry(150, 50, (2, 0)))))


def map_beyond_the_last_register(seed: int) -> Scenario:
    """An entry that runs past 65535."""
    return _useless_map(seed, poll_map((Entry(59, 66), Entry(65530, 8))))


def map_of_too_many_registers(seed: int) -> Scenario:
    """255 entries of 255 registers: no report could be so long."""
    return _useless_map(seed, poll_map(tuple(Entry(255 * number, 255) for number in range(255))))


def map_with_a_wrong_count(seed: int) -> Scenario:
    """It says 255 entries, and has two; or it says one."""
    return _useless_map(seed, poll_map((Entry(59, 66), Entry(65530, 8)), said=Dice(seed, 51).one_of((1, 255))))


def map_with_an_empty_range(seed: int) -> Scenario:
    """An entry of no registers."""
    return _useless_map(seed, poll_map((Entry(59, 66), Entry(150, 0))))


def map_that_is_an_answer_only(seed: int) -> Scenario:
    """An answer without a body."""
    return _useless_map(seed, message(0x0B, from_dongle=False, status=1, signal=0))


def _useless_map(seed: int, data: bytes) -> Scenario:
    """The map that came before counts on, in this connection and in the next."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report()
    dongle.say(ask_for_poll_map(dongle.next_number()))
    dongle.hear(data)
    dongle.report(2)
    story.time = dongle.line.close(story.time)
    dongle.connect()
    dongle.say(ask_for_poll_map(dongle.next_number()))
    dongle.hear(data)
    dongle.report()
    return story.end()


def map_of_255_entries(seed: int) -> Scenario:
    """The most that a map can have, of one register each."""
    story = Story(seed)
    first, step = story.dice.whole(0, 500), story.dice.whole(1, 200)
    dongle = Dongle(story, entries=tuple(Entry(first + step * number, 1) for number in range(255)))
    dongle.greet()
    dongle.report(2)
    return story.end()


def map_with_ranges_that_overlap(seed: int) -> Scenario:
    """A report holds some registers twice."""
    dongle = _greeted(seed, (Entry(59, 20), Entry(70, 20), Entry(59, 3), Entry(65535, 1), Entry(0, 1)))
    dongle.report(2)
    return dongle.story.end()


# --- several dongles, and several places of capture -----------------------------------------------------------------


def two_dongles(seed: int) -> Scenario:
    """At once, with different maps, one of which is replaced, to the same server."""
    story = Story(seed)
    one = Dongle(story, place=1, entries=story.random_map())
    two = Dongle(story, place=2, entries=story.random_map(avoid=(292, 302, 306, length_of(one.ranges))))
    for dongle in (one, two):
        dongle.greet()
    for _ in range(2):
        one.report()
        two.report()
    one.ask(story.random_map(avoid=(292, 302, 306, length_of(two.ranges))))
    for _ in range(2):
        two.report()
        one.report()
    return story.end()


def two_dongles_with_maps_of_one_length(seed: int) -> Scenario:
    """The same number of registers, and other ones."""
    story = Story(seed)
    count = story.dice.whole(10, 100)
    one = Dongle(story, place=1, entries=(Entry(59, count),))
    two = Dongle(story, place=2, entries=(Entry(500, count),))
    for dongle in (one, two):
        dongle.greet()
    for _ in range(2):
        one.report()
        two.report()
    return story.end()


def packets_twice(seed: int) -> Scenario:
    """Captured on a bridge and on its port."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report(3)
    packets = [Record(time + copy, data) for time, data in story.packets for copy in (0, 1000)]
    return Scenario(packets, story.expected)


def packets_before_and_after_address_translation(seed: int) -> Scenario:
    """Captured on all interfaces of the router: the second copy has the router's own address and another port."""
    dongle = _greeted(seed)
    story = dongle.story
    dongle.report(3)
    packets = []
    for time, data in story.packets:
        packets.append(Record(time, data))
        packets.append(Record(time + 1000, translate(data, dongle.address, OUTSIDE, 1024)))
    return Scenario(packets, story.expected)


def translate(data: bytes, inside: str, outside: str, port: int) -> bytes:
    """An Ethernet packet of IPv4 and TCP after address translation; from the server, as it is before."""
    length, identification, ttl = *struct.unpack_from(">HH", data, 16), data[22]
    packet = data[14 : 14 + length]
    source, destination = (".".join(map(str, packet[place : place + 4])) for place in (12, 16))
    source_port, destination_port, sequence, acknowledgement, offset, flags, window = struct.unpack_from(
        ">HHIIBBH", packet, 20
    )
    if source == inside:
        source, source_port = outside, port
    if destination == inside:
        destination, destination_port = outside, port
    end = 20 + (offset >> 4) * 4
    segment = wire.tcp(
        *(source, source_port, destination, destination_port, sequence, packet[end:]),
        acknowledgement=acknowledgement,
        flags=flags,
        window=window,
        options=packet[40:end],
    )
    return wire.ethernet(wire.ipv4(source, destination, segment, identification=identification, ttl=ttl - 1))


SCENARIOS: dict[str, Callable[[int], Scenario]] = {
    make.__name__: make
    for make in (
        *(whole_connection, known_lengths_without_a_map, mid_connection),
        *(reordered_first_segments, reordered_first_segments_of_a_capture),
        *(short_message_and_report_in_one_segment, report_and_short_message_in_one_segment),
        *(sequence_numbers_wrap, sequence_numbers_wrap_in_mid_connection, byte_by_byte, kept_readings),
        *(retransmissions, redirected, resets, on_another_port, among_other_traffic, in_pppoe, ipv6),
        *(truncated_report, lost_tail, lost_map),
        *(split_map, reordered_map, map_of_an_unknown_length, map_of_a_three_phase_inverter),
        *(map_replaced_in_mid_connection, reports_while_the_map_changes, map_replaced_at_reconnection),
        *(map_survives_a_reconnection,),
        *(map_against_a_known_layout, map_in_the_wrong_direction, map_of_a_stranger),
        *(empty_map, map_without_a_report, map_beyond_the_last_register, map_of_too_many_registers),
        *(map_with_a_wrong_count, map_with_an_empty_range, map_that_is_an_answer_only),
        *(map_of_255_entries, map_with_ranges_that_overlap),
        *(two_dongles, two_dongles_with_maps_of_one_length),
        *(packets_twice, packets_before_and_after_address_translation),
    )
}
"""By their names."""
