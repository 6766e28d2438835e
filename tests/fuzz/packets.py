"""Broken packets for a decoder.

A dongle's connections and its server's answers, in every wrapping, are changed, cut off, mixed, repeated and joined
with hostile segments, fragments and poll maps. Every bound of the decoder must hold after each packet.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from inverter_capture.protocol import streams
from inverter_capture.protocol.inverter_kinds import INVERTERS_MAX
from inverter_capture.protocol.learnt_layouts import LAYOUTS_MAX
from inverter_capture.protocol.messages import MESSAGE_LENGTH_MAX
from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.packets_to_readings import DONGLES_MAX, REPEATS_MAX, Decoder
from tests import wire
from tests.dongle import messages
from tests.dongle.messages import RECORDED_MAP, Entry, pack_clock, ranges_of
from tests.dongle.reports import encode, encode_values
from tests.fuzz import Failure
from tests.strategies import LINK_TYPES, WRAPPINGS, Wrapping
from tests.wire import SECOND

ROUND_PACKETS = 400
"""Packets of one round."""
ROUNDS_OF_A_DECODER = 25

START = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp()) * SECOND
SERIALS = ["1235687108", "2211229876", "AB12cd34EF"]
REPORTS = {
    serial: [
        encode_values(serial, datetime(2026, 6, 1), {"battery_soc": soc}, length)
        for length in (292, 302, 306)
        for soc in (50, 200)
    ]
    for serial in SERIALS
}
"""By serial number. Half of them hold a value that is not plausible."""
HOSTS = [wire.Endpoint("192.168.0.202", 50586), wire.Endpoint("2001:db8::202", 50586)]
SERVERS = [wire.Endpoint("47.242.67.221", 51100, wire.MAC_B), wire.Endpoint("2001:db8:1::dd", 51100, wire.MAC_B)]


class Fuzzer:
    """Makes the packets of one round; the same ones from the same seed."""

    def __init__(self, seed: int, start: int) -> None:
        self._chance = random.Random(seed)
        self._time = start

    def packets(self) -> list[Packet]:
        """A round's packets, in the order in which they come."""
        made: list[Packet] = []
        while len(made) < ROUND_PACKETS:
            made += self._disturb(self._chance.choice([self._connection, self._fragments, self._segments])())
        return made[:ROUND_PACKETS]

    def _connection(self) -> list[Packet]:
        """A connection of a dongle, with good and bad reports and the server's answers, in segments of any size."""
        chance = self._chance
        place = chance.randrange(2)
        wrapping = self._wrapping()
        connection = wire.Connection(
            HOSTS[place]._replace(port=chance.choice([50586, chance.randrange(65536)])),
            SERVERS[place],
            sequence=chance.choice([1000, 2**32 - 500, chance.randrange(2**32)]),
            wrap=lambda packet, _, __: wrapping.wrap(packet),
        )
        now = self._time
        if chance.random() < 0.7:
            now = connection.open(now)
        for _ in range(chance.randrange(1, 6)):
            now = connection.send(now, self._payload(), [chance.randrange(1, 400) for _ in range(chance.randrange(4))])
            if chance.random() < 0.5:
                sizes = [chance.randrange(1, 200) for _ in range(chance.randrange(3))]
                now = connection.reply(now, self._answer(), sizes)
            if chance.random() < 0.2:
                connection.keep_alive(now)
            if chance.random() < 0.2:
                connection.repeat(now, self._payload())
            now += chance.choice([SECOND, 300 * SECOND])
        ending = chance.randrange(3)
        if ending == 0:
            connection.close(now)
        elif ending == 1:
            connection.reset(now)
        return [Packet(record.time, wrapping.link_type, record.data) for record in connection.records]

    def _fragments(self) -> list[Packet]:
        """A segment in fragments that may overlap, be missing, or belong to several datagrams."""
        chance = self._chance
        wrapping = self._wrapping()
        source, destination = HOSTS[0].address, SERVERS[0].address
        whole = wire.tcp(source, 50586, destination, 51100, chance.randrange(2**32), self._payload() or b"x")
        sizes = [8 * chance.randrange(1, 20) for _ in range(chance.randrange(1, chance.choice([4, 100])))]
        while sum(sizes) >= len(whole):
            sizes.pop()
        number = chance.randrange(40)
        made = wire.ipv4_fragments(source, destination, whole, sizes, identification=number)
        for _ in range(chance.randrange(3)):
            offset = 8 * chance.choice([chance.randrange(40), chance.randrange(8192)])
            piece = chance.randbytes(chance.choice([chance.randrange(300), 1400, 9000]))
            more = chance.random() < 0.8
            made.append(wire.ipv4(source, destination, piece, offset=offset, more=more, identification=number))
        if chance.random() < 0.5:
            chance.shuffle(made)
        return [Packet(self._time, wrapping.link_type, wrapping.wrap(fragment)) for fragment in made]

    def _segments(self) -> list[Packet]:
        """Segments of a few flows with sequence numbers, flags and lengths from anywhere."""
        chance = self._chance
        wrapping = self._wrapping()
        made = []
        base = chance.randrange(2**32)
        for _ in range(chance.randrange(1, 60)):
            place = chance.randrange(2)
            source, destination = HOSTS[place].address, SERVERS[place].address
            port = chance.choice([50586, 1, 2, chance.randrange(65536)])
            sequence = base + chance.choice(
                [
                    0,
                    chance.randrange(600),
                    chance.randrange(streams.WINDOW),
                    -chance.randrange(2000),
                    chance.randrange(2**32),
                ]
            )
            flags = chance.choice([wire.ACK] * 12 + [wire.SYN, wire.FIN | wire.ACK, wire.RST, chance.randrange(256)])
            payload = chance.choice([b"", b"\xa5", bytes(chance.randrange(1460)), bytes(60_000), self._payload()])
            segment = wire.tcp(
                source,
                port,
                destination,
                51100,
                sequence,
                payload[:65000],
                flags=flags,
                options=bytes(chance.choice([0, 12])),
            )
            packet = wire.ipv6(source, destination, segment) if place else wire.ipv4(source, destination, segment)
            made.append(Packet(self._time, wrapping.link_type, wrapping.wrap(packet)))
        return made

    def _disturb(self, made: list[Packet]) -> list[Packet]:
        """Lose, repeat, reorder and change packets, and let the clock jump."""
        chance = self._chance
        made = [packet for packet in made if chance.random() < 0.97 for _ in range(chance.choice([1] * 9 + [2]))]
        if chance.random() < 0.3:
            for _ in range(len(made) // 4):
                first, second = chance.randrange(len(made)), chance.randrange(len(made))
                made[first], made[second] = made[second], made[first]
        worst = chance.choice([0, 0, 0.05, 0.5])
        changed = []
        for packet in made:
            self._time += chance.choice([0, 1000, SECOND // 100, SECOND])
            if chance.random() < 0.002:
                self._time += chance.choice([-1, 1]) * chance.choice([20, 4000, 10**7]) * SECOND
            data = self._change(packet.data) if chance.random() < worst else packet.data
            link_type = chance.choice([*LINK_TYPES, 147]) if chance.random() < worst / 10 else packet.link_type
            changed.append(Packet(max(0, self._time), link_type, data))
        return changed

    def _change(self, data: bytes) -> bytes:
        """Some bytes are other ones, missing, or from elsewhere."""
        chance = self._chance
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(changed) + 1)
            kind = chance.randrange(5)
            if kind == 0:
                del changed[at:]
            elif kind == 1 and at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            elif kind == 2:
                # The headers are what is worth breaking.
                at = chance.randrange(min(len(changed), 80) + 1)
                changed[at : at + 1] = bytes([chance.choice([0, 1, 6, 44, 60, 127, 128, 255, chance.randrange(256)])])
            elif kind == 3:
                changed[at:at] = chance.randbytes(chance.randrange(30))
            else:
                other = chance.randrange(len(changed) + 1)
                changed[at:] = changed[other:]
        return bytes(changed)

    def _payload(self) -> bytes:
        """What a dongle may send, and what it never would."""
        chance = self._chance
        serial = chance.choice(SERIALS)
        clock = pack_clock(datetime(2026, 6, 1) + timedelta(seconds=chance.randrange(10**7)))
        report = chance.choice([*REPORTS[serial], self._report_of_any_layout(serial)])
        report = report[:37] + clock + report[43:]
        kind = chance.randrange(9)
        if kind == 0:
            return report[: chance.randrange(len(report))]
        if kind == 1:
            return report[:9] + chance.choice([b"\0\0", b"\xff\xff", chance.randbytes(2)]) + report[11:]
        if kind == 2:
            return messages.control() + report + messages.login()
        if kind == 3:
            return chance.choice([b"\xa5", report[:43], report[:42], report[:11]]) * chance.randrange(1, 60)
        if kind == 4:
            return self._change(report)
        if kind == 5:
            return chance.randbytes(chance.randrange(2000))
        if kind == 6:
            return self._answer()
        return report * chance.randrange(1, 4)

    def _report_of_any_layout(self, serial: str) -> bytes:
        words = {register: self._chance.randrange(1 << 16) for register in (59, 79, 150, 183, 191, 500, 590, 677)}
        ranges = ranges_of(self._map(10))
        return encode(serial, datetime(2026, 6, 1), words, ranges or ((59, 124),))

    def _answer(self) -> bytes:
        """What a server may say, and what it never would."""
        chance = self._chance
        entries = chance.choice([RECORDED_MAP, self._map(chance.choice([3, 20, 255]))])
        said = chance.choice([None, None, 0, chance.randrange(256)])
        poll_map = messages.poll_map(entries, from_dongle=chance.random() < 0.1, said=said)
        kind = chance.randrange(4)
        if kind == 0:
            return self._change(poll_map)
        if kind == 1:
            return messages.answer(chance.choice(REPORTS[SERIALS[0]])) + poll_map
        return poll_map

    def _map(self, count: int) -> tuple[Entry, ...]:
        chance = self._chance
        return tuple(
            Entry(
                chance.choice([59, 150, 500, chance.randrange(1 << 16)]),
                chance.randrange(60),
                (chance.choice([0, 0, 1]), 0),
            )
            for _ in range(chance.randrange(count))
        )

    def _wrapping(self) -> Wrapping:
        return self._chance.choice(list(WRAPPINGS.values()))


def check_bounds(decoder: Decoder) -> None:
    """Raises Failure where the decoder holds more than it may, or counts do not add up."""
    counts = decoder.packets.counts
    flows = decoder.streams._flows.values()
    held = sum(segment.cost for flow in flows for segment in flow.held)
    layouts = decoder._layouts
    for what, holds in {
        "packet counts add up": counts.packets == counts.segments + counts.other + counts.malformed,
        "flows": len(flows) <= streams.FLOWS_MAX,
        "waiting flows": sum(bool(flow.held) and flow.is_open for flow in flows) == len(decoder.streams._waiting),
        "opening flows": sum(not flow.is_open for flow in flows) == len(decoder.streams._opening),
        "bytes of a flow": all(flow.held_bytes <= streams.FLOW_BYTES_MAX for flow in flows),
        "bytes of all flows": held == decoder.streams.held_bytes <= streams.TOTAL_BYTES_MAX,
        "holes": all(len(flow.holes) <= streams.HOLES_MAX for flow in flows),
        "parsers": set(decoder._parsers) == set(decoder._latest) == {flow.stream for flow in flows} - {None},
        "bytes of parsers": all(len(parser._buffer) <= MESSAGE_LENGTH_MAX for parser in decoder._parsers.values()),
        "remembered reports": len(decoder._recent) <= REPEATS_MAX,
        "remembered dongles": len(decoder._dongles) <= DONGLES_MAX,
        "learnt layouts": len(layouts._by_connection) <= LAYOUTS_MAX
        and len(layouts._by_address) <= LAYOUTS_MAX
        and len(layouts._by_serial) <= LAYOUTS_MAX,
        "inverters": len(decoder.readings._detector._inverters) <= INVERTERS_MAX,
    }.items():
        if not holds:
            raise Failure(what)


class Packets:
    """A decoder, for some rounds, then another."""

    def __init__(self, chance: random.Random) -> None:
        self.inputs: list[object] = []
        """Of the last round."""
        self._chance = chance
        self._decoder = Decoder(UTC)
        self._began = START
        self._rounds = 0

    def round(self) -> None:
        """Raises whatever goes wrong."""
        made = Fuzzer(self._chance.randrange(2**63), self._began).packets()
        self._began = made[-1].time
        self.inputs = list(made)
        for packet in made:
            self._decoder.receive(packet)
            check_bounds(self._decoder)
        deadline = self._decoder.deadline
        if deadline is not None and self._chance.random() < 0.5:
            self._decoder.advance(deadline)
            check_bounds(self._decoder)
        self._rounds += 1
        if self._rounds % ROUNDS_OF_A_DECODER == 0:
            self.close()

    def close(self) -> None:
        """What the decoder holds must go."""
        self._decoder.close()
        check_bounds(self._decoder)
        self._decoder = Decoder(UTC)
