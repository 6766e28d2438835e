"""The service on a live device: a dongle talks to its server across a bridge, and every reading is captured."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest

from inverter_capture.capture import device
from inverter_capture.capture.device import LiveCapture, takes_large_filters
from inverter_capture.capture.dongle_filter import ENDPOINTS_MAX, DongleFilter, Endpoint
from inverter_capture.capture.libpcap import CaptureError
from inverter_capture.protocol import link_layers
from inverter_capture.protocol.admission import NEW_MAX
from tests import wire
from tests.dongle.inverter import Inverter, Report
from tests.dongle.profiles import SMALL
from tests.dongle.reports import encode_values
from tests.network import BRIDGE, Host, Network, wait_for
from tests.programs import (
    PORT,
    PROGRAM,
    Json,
    Program,
    Talker,
    cloud,
    send,
    service,
    services,
    start_dongle,
    wait_until_begun,
    write_config,
)

NOTICED_SECONDS = 5
"""How soon a change of the device must be noticed, and how soon the capture must go on after its return."""
STOP_SECONDS = 4  # procd kills the service after five

WAITING = "; waiting for it"


def reports(count: int) -> list[Report]:
    """Consecutive reports of one inverter."""
    start = datetime(2024, 6, 20, 22, tzinfo=UTC)
    inverter = Inverter(SMALL, start)
    return [inverter.report(start + number * timedelta(minutes=5)) for number in range(count)]


# --- every reading, once -------------------------------------------------------------------------------------------


HABITS = {
    "one write each": "--readings 6",
    "302 bytes, and other messages": "--readings 6 --profile large --control",
    "split anywhere": "--readings 5 --split random --pause 0.002",
    "split after a byte": "--readings 4 --split 1,1,290",
    "merged": "--readings 18 --merge 9",
    "split and merged": "--readings 9 --merge 4 --split 100,400,7",
    "new connections": "--readings 6 --reconnect 2 --source-port 40000",
    "the same port again": "--readings 2 --source-port 40000",
    "aborted connections": "--readings 6 --reconnect 3 --reset",
    "offline for a while": "--readings 16 --offline 2:14 --merge 1",
    "a backlog in one write": "--readings 20 --offline 1:19 --merge 19",
}


@pytest.mark.parametrize("offloads", [True, False], ids=["offloads", "as on a wire"])
@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_every_reading_comes_out_exactly_once(tmp_path: Path, ipv6: bool, offloads: bool) -> None:
    with Network(offloads=offloads) as network, ExitStack() as stack:
        server = network.server.ipv6 if ipv6 else network.server.ipv4
        dongle = network.dongle.ipv6 if ipv6 else network.dongle.ipv4
        configs = [
            write_config(tmp_path / "bridge.toml", BRIDGE),
            write_config(tmp_path / "filter.toml", BRIDGE, filter=f"host {dongle} and tcp port {PORT}"),
            write_config(tmp_path / "any.toml", "any"),
        ]
        stack.enter_context(cloud(network, server))
        programs = stack.enter_context(services(configs, network.router))
        sent: list[Json] = []
        for day, (name, options) in enumerate(list(HABITS.items())[:: 3 if ipv6 else 1], 1):
            start = ["--start", f"2024-06-{day:02}T05:00", "--pace", "0.005"]
            sent += send(network, *start, *options.split(), server=server)
            for program in programs:
                assert program.wait_for_readings(len(sent)) == sent, name
        for program in programs:
            assert program.stop().code == 0
            assert program.readings == sent
            assert program.said("warning:") == 0, program.log


def test_behind_a_vlan_tag_and_on_a_vlan_device(network: Network, tmp_path: Path) -> None:
    network.add_vlan(network.dongle, 5)
    address = network.add_vlan(network.server, 5)
    split = ["--readings", "5", "--split", "random", "--pause", "0.002", "--pace", "0.01"]
    tagged = f"vlan 5 and tcp dst port {PORT}"
    with ExitStack() as stack:
        stack.enter_context(cloud(network, address))
        places: list[tuple[Host | str, str, str]] = [
            (network.router, BRIDGE, ""),
            (network.router, BRIDGE, tagged),
            (network.router, "any", ""),
            (network.server, "eth0.5", ""),
        ]
        programs = [
            stack.enter_context(service(write_config(tmp_path / f"{number}.toml", device, filter=wanted), where))
            for number, (where, device, wanted) in enumerate(places)
        ]
        sent = send(network, "--readings", "1", "--start", "2024-06-19T05:00", server=address)
        for program in programs:
            program.wait_for_readings(1)
        sent += send(network, *split, server=address)
        for program in programs:
            assert program.wait_for_readings(len(sent)) == sent


# --- packets made by hand -----------------------------------------------------------------------------------------

CLOUD = wire.Endpoint("203.0.113.10", PORT, wire.MAC_B)


def dongle_at(number: int) -> wire.Endpoint:
    return wire.Endpoint(f"192.168.8.{number}", 50586)


def wrapped_in(wrap: Callable[[bytes], bytes], client: wire.Endpoint, frame: bytes) -> bytes:
    """A frame in one packet."""
    connection = wire.Connection(client, CLOUD, wrap=lambda packet, _sender, _receiver: wrap(packet))
    connection.packet(0, client, 1000, frame, wire.PSH | wire.ACK)
    return connection.records[0].data


def test_what_stands_behind_other_headers_is_found(network: Network, tmp_path: Path) -> None:
    vlan, outer = (wire.ETHERTYPE_VLAN, 5), (wire.ETHERTYPE_QINQ, 100)
    pppoe = wire.ETHERTYPE_PPPOE
    wraps: list[Callable[[bytes], bytes]] = [
        wire.ethernet,
        lambda packet: wire.ethernet(packet, trailer=b"trailer"),
        lambda packet: wire.ethernet(packet, tags=(vlan,)),
    ]
    if takes_large_filters():
        wraps += [
            lambda packet: wire.ethernet(packet, tags=(outer, vlan)),
            lambda packet: wire.ethernet(wire.pppoe(packet), ethertype=pppoe),
            lambda packet: wire.ethernet(wire.pppoe(packet), ethertype=pppoe, tags=(vlan,)),
        ]
    frames = reports(len(wraps))
    packets = [
        wrapped_in(wrap, dongle_at(number), report.message())
        for number, (wrap, report) in enumerate(zip(wraps, frames, strict=False), 100)
    ]
    with (
        service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program,
        Talker(network, "eth0") as talker,
    ):
        for count, (packet, report) in enumerate(zip(packets, frames, strict=False), 1):
            talker.say(packet)
            assert program.wait_for_readings(count)[-1] == report.expected()


def test_what_waits_for_a_lost_segment_is_delivered_at_the_end(network: Network, tmp_path: Path) -> None:
    client = dongle_at(202)
    connection = wire.Connection(client, CLOUD)
    first, lost, last = reports(3)
    connection.packet(0, client, 1000, first.message(), wire.PSH | wire.ACK)
    connection.packet(0, client, 1000 + len(first.message()) + len(lost.message()), last.message(), wire.PSH | wire.ACK)
    with (
        service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program,
        Talker(network, "eth0") as talker,
    ):
        for record in connection.records:
            talker.say(record.data)
        program.wait_for_readings(1)
        time.sleep(0.3)
        assert len(program.out) == 1
        assert program.stop().code == 0
        assert program.readings == [first.expected(), last.expected()]


def test_news_of_frames_is_in_the_log(network: Network, tmp_path: Path) -> None:
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    unknown = bytearray(encode_values(SMALL.serial, now, {})) + bytes(20)
    unknown[9:11] = (len(unknown) - 11).to_bytes(2, "big")
    nepal = encode_values(SMALL.serial, now + timedelta(hours=5, minutes=45), {"battery_soc": 200})
    tomorrow = encode_values(SMALL.serial, now + timedelta(hours=26), {})
    config = write_config(tmp_path / "c.toml", BRIDGE, timezone="UTC")
    with cloud(network), service(config, network.router) as program, Talker(network) as talker:
        for frame in (bytes(unknown), nepal, tomorrow, encode_values(SMALL.serial, now, {})):
            talker.say(frame)
            talker.say(frame[:42] + bytes([frame[42] ^ 1]) + frame[43:])
        readings = program.wait_for_readings(4)
        assert ["battery_soc" in reading["values"] for reading in readings] == [False, False, True, True]
        assert program.stop().code == 0
        warnings = [line for line in program.log if line.startswith("warning: ")]
        texts = ["reports of 312 bytes", "battery_soc", 'timezone = "Asia/Kathmandu"', "more than a day ahead"]
        assert len(warnings) == len(texts)
        assert all(text in line for text, line in zip(texts, warnings, strict=True)), warnings
        assert summary(program)["reports of unknown length"] == 2


def test_reports_of_an_unknown_dongle_may_be_cut_anywhere(network: Network, tmp_path: Path) -> None:
    for number, sizes in enumerate(("1,45,100", "1,1,1,1,1,1,1,1,1,1", "random")):
        with cloud(network), service(write_config(tmp_path / f"{number}.toml", BRIDGE), network.router) as program:
            sent = send(network, "--split", sizes, "--pause", "0", "--readings", "3", "--reconnect", "1")
            assert program.wait_for_readings(len(sent)) == sent
            assert program.stop().code == 0
            assert program.readings == sent


def test_on_another_port_only_the_first_report_may_be_lost(network: Network, tmp_path: Path) -> None:
    client, server = dongle_at(210), CLOUD._replace(port=6666)
    connection = wire.Connection(client, server)
    first, *others = (report.message() for report in reports(8))
    with (
        service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program,
        Talker(network, "eth0") as talker,
    ):
        connection.packet(0, client, 1000, first, wire.PSH | wire.ACK)
        sockets = packet_sockets(program)
        talker.say(connection.records[0].data)
        program.wait_for_readings(1)
        sequence = 1000 + len(first)
        wait_for_new_filter(program, sockets)
        for frame in others:
            for part in (frame[:1], frame[1:9], frame[9:]):
                connection.packet(0, client, sequence, part, wire.PSH | wire.ACK)
                talker.say(connection.records[-1].data)
                sequence += len(part)
        assert program.wait_for_readings(8) == [report.expected() for report in reports(8)]


# --- exchanging the filter ----------------------------------------------------------------------------------------

EXCHANGES = """
import sys, time
from inverter_capture.capture import device
from inverter_capture.capture.dongle_filter import DongleFilter, Endpoint

device.EXCHANGE_SECONDS = 0.05
count = int(sys.argv[1])
filter = DongleFilter()
seen, copies, exchanges = set(), 0, 0
with device.LiveCapture("br-lan", filter) as capture:
    print("ready", flush=True)
    until = time.monotonic() + 30
    while len(seen) < count and time.monotonic() < until:
        handle = capture._handle
        for packet in capture.wait(0.2):
            number = int.from_bytes(packet.data[54:58], "big")
            copies += number in seen
            seen.add(number)
        exchanges += capture._handle is not handle
        filter.add(Endpoint(exchanges.to_bytes(4, "big"), 6666))
        capture.refilter()
    capture.close()
    print(len(seen), copies, exchanges, capture.dropped, flush=True)
"""

BURST = """
import socket, sys, time
device = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
device.bind(("eth0", 0))
packet = bytearray.fromhex(sys.argv[1])
for number in range(int(sys.argv[2])):
    packet[54:58] = number.to_bytes(4, "big")
    device.send(packet)
    time.sleep(0.0015)
"""


def test_no_segment_is_lost_while_the_filter_is_exchanged(network: Network) -> None:
    count = 4000
    connection = wire.Connection(dongle_at(211), CLOUD)
    connection.packet(0, connection.client, 1000, bytes(100))
    words = [sys.executable, "-c", EXCHANGES, str(count)]
    with Program(words, where=network.router) as program:
        program.wait_for(lambda: program.out, "capture")
        network.run(network.dongle, [sys.executable, "-c", BURST, connection.records[0].data.hex(), str(count)])
        program.wait_for(lambda: len(program.out) > 1, "result", 90)
        seen, copies, exchanges, dropped = map(int, program.out[1].split())
        assert exchanges > 30
        # On a busy machine the kernel drops packets, and counts them.
        assert seen >= count - dropped, (seen, copies, exchanges, dropped)


def test_every_reading_comes_once_while_others_make_the_filter_change(network: Network, tmp_path: Path) -> None:
    client, server = dongle_at(210), CLOUD._replace(port=6666)
    connection = wire.Connection(client, server)
    sent = reports(40)
    sequence = 1000
    with (
        service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program,
        Talker(network, "eth0") as talker,
    ):
        sockets = packet_sockets(program)
        for number, report in enumerate(sent):
            message = report.message()
            for part in [message] if number == 0 else [message[:1], message[1:40], message[40:]]:
                connection.packet(0, client, sequence, part, wire.PSH | wire.ACK)
                talker.say(connection.records[-1].data)
                sequence += len(part)
            if number == 0:
                program.wait_for_readings(1)
                wait_for_new_filter(program, sockets)
            # Somebody else's report, to a port of its own each time.
            forged = encode_values(f"FORGED{number:04}", datetime(2024, 6, 21), {})
            other = wire.Connection(dongle_at(100 + number), CLOUD._replace(port=7000 + number))
            other.packet(0, other.client, 1000, forged, wire.PSH | wire.ACK)
            talker.say(other.records[0].data)
            time.sleep(0.1)
        # Of the others no more than a few are believed at once.
        program.wait_for_readings(len(sent) + NEW_MAX - 1)
        time.sleep(1.2)
        assert program.said("name yours in [pcap] serials") == 1
        assert program.stop().code == 0
        assert [each for each in program.readings if each["serial"] == SMALL.serial] == [
            report.expected() for report in sent
        ]
        assert len(program.readings) == len(sent) + NEW_MAX - 1


def test_the_filter_is_exchanged_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    handle_of = device._open

    def count(name: str, **options: Any) -> Any:
        opened.append(time.monotonic())
        return handle_of(name, **options)

    monkeypatch.setattr(device, "_open", count)
    monkeypatch.setattr(device, "EXCHANGE_SECONDS", 0.3)
    with LiveCapture("lo", DongleFilter()) as capture:
        while len(opened) < 5:
            capture.refilter()
            capture.wait(0.01)
    # The one with which it began, one at once, and three after it, each 0.3 seconds later.
    assert opened[4] - opened[1] > 0.7


# --- a device that fails ------------------------------------------------------------------------------------------


class Failing:
    """A stand-in for a handle of pypcap that can be opened and then only fails."""

    opened = 0

    def __init__(self, name: str, **_options: Any) -> None:
        Failing.opened += 1
        self._reader, self._writer = os.pipe()
        os.write(self._writer, b"x")

    def fileno(self) -> int:
        return self._reader

    def datalink(self) -> int:
        return link_layers.ETHERNET

    def setnonblock(self) -> None:
        pass

    setfilter = setnonblock

    def dispatch(self, _count: int, _callback: object) -> int:
        return -1

    def geterr(self) -> str:
        return "made to fail"

    def stats(self) -> tuple[int, int, int]:
        return 0, 0, 0

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


def test_a_device_that_fails_at_once_is_opened_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(device, "_open", Failing)
    monkeypatch.setattr(Failing, "setfilter", lambda *_: None)
    monkeypatch.setattr(Failing, "setnonblock", lambda *_: None)
    monkeypatch.setattr(device, "REOPEN_SECONDS", 0.2)
    began = time.monotonic()
    with LiveCapture("lo", "tcp") as capture:
        while Failing.opened < 4:
            capture.wait(0.05)
    # Each but the first after a pause.
    assert time.monotonic() - began > 0.5
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "capturing on lo",
        '[pcap] device = "lo"',
    ]


def test_a_packet_that_comes_before_the_device_is_found_gone_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes after the last look for packets, and before the look at the device."""
    with LiveCapture("lo", "udp port 9") as capture, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:

        def state(_device: str) -> tuple[int, str]:
            sender.sendto(b"the last", ("127.0.0.1", 9))
            return 0, "the device is down"

        monkeypatch.setattr(device, "_device_state", state)
        capture._retry_at = 0.0
        assert b"the last" in capture.wait(0)[0].data
        assert not capture.capturing


# --- a device that comes and goes ---------------------------------------------------------------------------------


def seconds_until_said(program: Program, text: str, count: int) -> float:
    began = time.monotonic()
    program.wait_until_said(text, count)
    return time.monotonic() - began


def test_a_device_may_come_late_and_go_and_come_back(network: Network, tmp_path: Path) -> None:
    network.delete_bridge()
    with cloud(network), ExitStack() as stack:
        configs = [
            write_config(tmp_path / "found.toml", BRIDGE),
            write_config(tmp_path / "filter.toml", BRIDGE, filter=f"host {network.dongle.ipv4}"),
        ]
        programs = stack.enter_context(services(configs, network.router))
        frames = reports(8)
        expected: list[Json] = []

        def wait_until_said(text: str, count: int) -> None:
            for program in programs:
                assert seconds_until_said(program, text, count) < NOTICED_SECONDS

        def check_readings() -> None:
            for program in programs:
                assert program.wait_for_readings(len(expected)) == expected

        wait_until_said(WAITING, 1)
        network.create_bridge()
        wait_until_said("capturing on", 1)
        with Talker(network) as talker:
            talker.say(frames[0].message())
            expected.append(frames[0].expected())
            check_readings()

            # The first half of a frame, which must not be forgotten.
            talker.say(frames[1].message()[:150])
            network.set_link(network.router, BRIDGE, up=False)
            wait_until_said(WAITING, 2)
            network.set_link(network.router, BRIDGE, up=True)
            wait_until_said("capturing again", 1)
            talker.say(frames[1].message()[150:])
            expected.append(frames[1].expected())
            check_readings()

            talker.say(frames[2].message()[:150])
            network.delete_bridge()
            wait_until_said(WAITING, 3)
            network.create_bridge()
            wait_until_said("capturing again", 2)
            talker.say(frames[2].message()[150:] + frames[3].message())
            expected += [frames[2].expected(), frames[3].expected()]
            check_readings()

            # All at once, seen only when it is over.
            for program in programs:
                os.kill(program.pid, signal.SIGSTOP)
            network.delete_bridge()
            network.create_bridge()
            for program in programs:
                os.kill(program.pid, signal.SIGCONT)
            wait_until_said("capturing again", 3)
            talker.say(frames[4].message())
            expected.append(frames[4].expected())
            check_readings()

            for program in programs:
                os.kill(program.pid, signal.SIGSTOP)
            network.set_link(network.router, BRIDGE, up=False)
            network.set_link(network.router, BRIDGE, up=True)
            for program in programs:
                os.kill(program.pid, signal.SIGCONT)
            wait_until_said("capturing again", 4)
            talker.say(frames[5].message())
            expected.append(frames[5].expected())
            check_readings()
        for program in programs:
            assert program.stop().code == 0
            assert program.readings == expected
            lines = [line for line in program.log if BRIDGE in line]
            gone = f'warning: [pcap] device = "{BRIDGE}": '
            again = f"info: capturing again on {BRIDGE}"
            assert lines[0].startswith(f"{gone}there is no such device (there are: lo, lan-dongle, lan-server)")
            assert lines[1] == f"info: capturing on {BRIDGE}"
            assert lines[2] == f"{gone}the device is down{WAITING}"
            assert lines[3] == again
            assert lines[4].startswith(gone)
            assert lines[5] == again
            # The last two times it was back before anything could be seen of it.
            assert lines[6:] == [again, again]


def test_other_changes_of_the_network_are_no_news(network: Network, tmp_path: Path) -> None:
    with (
        service(write_config(tmp_path / "missing.toml", "br-guest"), network.router) as waiting,
        service(write_config(tmp_path / "there.toml", BRIDGE), network.router) as capturing,
        cloud(network),
    ):
        for _ in range(3):
            host = network.add_host(f"h{_}", 60 + _)
            network.set_link(network.router, host.port, up=False)
        network.run(network.router, ["ip", "link", "add", "br-guest", "type", "bridge"])
        network.run(network.router, ["ip", "link", "delete", "br-guest"])
        sent = send(network, "--readings", "2", "--pace", "0.01")
        capturing.wait_for_readings(2)
        assert capturing.readings == sent
        assert len(waiting.log) == 1
        assert capturing.said(BRIDGE) == 1
        assert waiting.stop().code == capturing.stop().code == 0


def test_what_was_captured_just_before_the_device_went_is_not_lost(network: Network, tmp_path: Path) -> None:
    with cloud(network), Talker(network) as talker:
        for attempt, report in enumerate(reports(4)):
            with service(write_config(tmp_path / "one.toml", BRIDGE), network.router) as program:
                # It is stopped, and so sees all of it at once when it goes on.
                os.kill(program.pid, signal.SIGSTOP)
                talker.say(report.message())
                if attempt % 2:
                    network.set_link(network.router, BRIDGE, up=False)
                else:
                    network.delete_bridge()
                os.kill(program.pid, signal.SIGCONT)
                program.wait_until_said(WAITING)
                assert program.wait_for_readings(1) == [report.expected()]
            if attempt % 2:
                network.set_link(network.router, BRIDGE, up=True)
            else:
                network.create_bridge()


def test_a_backlog_may_come_while_the_program_is_busy(network: Network, tmp_path: Path) -> None:
    with cloud(network), service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program:
        sent = send(network, "--readings", "1", "--start", "2024-06-19T05:00")
        program.wait_for_readings(1)
        # Nothing runs until all of it is there.
        os.kill(program.pid, signal.SIGSTOP)
        sent += send(network, "--readings", "50", "--pace", "0")
        os.kill(program.pid, signal.SIGCONT)
        assert program.wait_for_readings(51) == sent


def test_packets_that_the_kernel_drops_are_told_while_the_service_runs(network: Network, tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    connection = wire.Connection(dongle_at(211), CLOUD)
    connection.packet(0, connection.client, 1000, bytes(100))
    burst = [sys.executable, "-c", BURST, connection.records[0].data.hex(), "800"]

    def dropped() -> int:
        return int(json.loads(file.read_text())["dropped_packets"])

    config = write_config(tmp_path / "c.toml", BRIDGE, filter="tcp")
    with Program([*service_words(config), "--status", str(file)], where=network.router) as program:
        program.wait_for(file.exists, "status file")
        assert dropped() == 0
        for _ in range(2):
            before = dropped()
            os.kill(program.pid, signal.SIGSTOP)
            network.run(network.dongle, burst)
            os.kill(program.pid, signal.SIGCONT)
            program.wait_for(lambda before=before: dropped() > before, "count of dropped packets")  # type: ignore[misc]
        # The second time within an hour.
        program.wait_until_said("the kernel dropped")
        assert program.said("the kernel dropped") == 1
        total = dropped()
        assert program.stop().code == 0
        assert program.said(f"{total} packets were dropped by the kernel") == 1


MAKE_TUNNEL = """
import fcntl, signal, struct
tunnel = open("/dev/net/tun", "r+b", buffering=0)
fcntl.ioctl(tunnel, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))
print("made", flush=True)
signal.pause()
"""


def test_a_device_that_cannot_be_used_says_so_once_and_is_tried_again(network: Network, tmp_path: Path) -> None:
    # A filter for Ethernet headers is wrong where there are none, but that shows only once the device is there.
    config = write_config(tmp_path / "tunnel.toml", "tun0", filter="vlan 5")
    with service(config, network.router) as program:
        with Program([sys.executable, "-c", MAKE_TUNNEL], where=network.router) as maker:
            maker.wait_for(lambda: maker.out, "tun0")
            network.set_link(network.router, "tun0", up=True)
            program.wait_until_said("trying again")
            network.set_link(network.router, "lan-server", up=False)
            network.set_link(network.router, "lan-server", up=True)
        assert program.stop().code == 0
        assert [line.partition(" = ")[0] for line in program.log[:-1]] == [
            "warning: [pcap] device",
            "warning: [pcap] filter",
        ]
        assert '"vlan 5": ' in program.log[1]


# --- other traffic ------------------------------------------------------------------------------------------------

FLOOD = """
import random, socket, sys, time
source = random.Random(1)
# Like frames at the beginning, and then not: bytes by chance, and a serial number without a possible time.
kinds = [source.randbytes(1400), b"\\xa5" + source.randbytes(1399)]
kinds += [b"\\xa5" + b"\\x06" * 10 + b"1235687108" + bytes(300)]
kinds += [b"\\xa5\\x97\\x00\\x10\\x42" + source.randbytes(286) + b"\\x15"]
connection = socket.create_connection((sys.argv[1], 5001))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
# What may well be the beginning of a frame, and then is not.
connection.sendall(b"\\xa5\\x06\\x01")
time.sleep(0.3)
connection.sendall(bytes(5000))
time.sleep(0.3)
print("flooding", flush=True)
while True:
    for kind in kinds:
        connection.sendall(kind)
    time.sleep(0.0003)
"""

SINK = """
import socket, sys
listener = socket.create_server((sys.argv[1], 5001))
print("listening", flush=True)
connection, _ = listener.accept()
while connection.recv(1 << 20):
    pass
"""


class Flood:
    """Another device's busy traffic over the bridge."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._stack = ExitStack()

    def __enter__(self) -> Flood:
        phone = self._network.add_host("phone", 50)
        address = self._network.server.ipv4
        sink = Program([sys.executable, "-c", SINK, address], where=self._network.server)
        self._stack.enter_context(sink)
        sink.wait_for(lambda: sink.out, "listener")
        flood = Program([sys.executable, "-c", FLOOD, address], where=phone)
        self._stack.enter_context(flood)
        flood.wait_for(lambda: flood.out, "flood")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def packets(self) -> int:
        """How many have entered the bridge from there."""
        words = ["cat", "/sys/class/net/lan-phone/statistics/rx_packets"]
        return int(self._network.run(self._network.router, words))


def summary(program: Program) -> dict[str, int]:
    """The numbers in the last line of its log."""
    (line,) = [line for line in program.log if "packets: " in line]
    parts = line.removeprefix("info: ").replace(";", ",").split(", ")
    return {name: int(number) for name, _, number in (part.partition(": ") for part in parts)}


@pytest.mark.parametrize("six", [False, True])
def test_kernels_take_small_filters_for_any_number_of_dongles(network: Network, tmp_path: Path, six: bool) -> None:
    dongles = DongleFilter()
    for number in range(ENDPOINTS_MAX):
        address = wire.packed_address(f"fd00:8:1234:5678:9abc:def0:1234:{number}" if six else f"192.168.8.{number}")
        dongles.add(Endpoint(address, 6666))
    # libpcap warns when the kernel refuses a filter, and runs it itself.
    words = ["tcpdump", "-i", BRIDGE, "-c", "1", dongles.text(link_layers.ETHERNET, live=True, small=True)]
    limit = "/proc/sys/net/core/optmem_max"
    network.run(network.router, ["sh", "-c", f"[ ! -e {limit} ] || echo 10240 > {limit}"])
    with Program(words, where=network.router) as tcpdump:
        tcpdump.wait_until_said("listening on")
        assert tcpdump.said("arning") == 0, tcpdump.log


@pytest.mark.parametrize("optmem", [131072, 10240], ids=["kernel 6.8", "older kernel, 32 bits"])
def test_other_devices_traffic_stays_in_the_kernel(network: Network, tmp_path: Path, optmem: int) -> None:
    # How large a filter may be; too large a one would run in the process, on every packet. An older kernel has only one
    # limit for the whole machine, and a small one.
    limit = "/proc/sys/net/core/optmem_max"
    network.run(network.router, ["sh", "-c", f"[ ! -e {limit} ] || echo {optmem} > {limit}"])
    config = write_config(tmp_path / "busy.toml", BRIDGE)
    with ExitStack() as stack:
        stack.enter_context(cloud(network))
        early = stack.enter_context(service(config, network.router))
        flood = stack.enter_context(Flood(network))
        # Another one is begun in the midst of it.
        late = stack.enter_context(service(config, network.router))
        programs = (early, late)
        for program in programs:
            program.wait_until_asleep(0.2)
        before, asleep = flood.packets(), [program.wakeups() for program in programs]
        wait_for(lambda: flood.packets() - before > 1000, "flood")
        passed = flood.packets() - before
        woken = [program.wakeups() - earlier for program, earlier in zip(programs, asleep, strict=True)]
        sent = send(network, "--readings", "4", "--pace", "0.02")
        for program in programs:
            assert program.wait_for_readings(4) == sent
        for program in programs:
            assert program.stop().code == 0
            assert program.readings == sent
            counts = summary(program)
            # Those captured before the filter was set are among them.
            assert counts["packets"] < 200
            assert counts["readings"] == counts["reports"] == 4
            assert program.said("Warning") == 0, program.log
            assert program.said("capturing") == 1, program.log
    assert max(woken) < passed / 50


def test_an_idle_service_sleeps(network: Network, tmp_path: Path) -> None:
    with ExitStack() as stack:
        configs = [
            write_config(tmp_path / "bridge.toml", BRIDGE),
            write_config(tmp_path / "any.toml", "any"),
            write_config(tmp_path / "filter.toml", BRIDGE, filter="tcp"),
            write_config(tmp_path / "missing.toml", "missing"),
        ]
        programs = stack.enter_context(services(configs, network.router))
        for program in programs:
            program.wait_until_asleep(2)


# --- ending -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_at_once(network: Network, tmp_path: Path, number: signal.Signals) -> None:
    bridge = write_config(tmp_path / "bridge.toml", BRIDGE)
    everything = write_config(tmp_path / "all.toml", BRIDGE, filter="tcp")
    idle_config = write_config(tmp_path / "lo.toml", "lo")
    missing = write_config(tmp_path / "missing.toml", "missing")
    with cloud(network), ExitStack() as stack:

        def start(config: Path, output: int | IO[Any] = subprocess.PIPE) -> Program:
            words = service_words(config)
            return stack.enter_context(Program(words, where=network.router, stdout=output, reading=False))

        full_disk = stack.enter_context(open("/dev/full", "w"))
        idle, waiting, flooded = start(idle_config), start(missing), start(everything)
        blocked, closed, full = start(bridge), start(bridge), start(bridge, full_disk)
        both = stack.enter_context(all_in_one(service_words(bridge), network.router))
        closed.close_output()
        for program in (idle, waiting, flooded, blocked, closed, full):
            wait_until_begun(program)
        both.wait_for(lambda: packet_sockets(both), "capture")
        # More than a pipe holds.
        send(network, "--readings", "120", "--merge", "20", "--pace", "0.005")
        assert closed.wait() == 1, "it ends by itself: nobody can read what it writes"
        full.wait_until_said("No space left on device")
        with Flood(network):
            for program in (flooded, idle, waiting, blocked, full, both):
                stopped = program.stop(number)
                assert stopped.code == 0, program.log
                assert stopped.seconds < STOP_SECONDS, program.log
        assert blocked.said("console: lost: ") == 1
        assert closed.said("standard output is closed") == 1
        assert full.said("No space left on device") == 1


def service_words(config: Path) -> list[str]:
    return [*PROGRAM, "run", str(config)]


def all_in_one(words: list[str], where: Host | str) -> Program:
    """Output and log in one pipe, which nobody reads yet, as in `... 2>&1 | less`."""
    return Program(["sh", "-c", 'exec "$@" 2>&1', "sh", *words], where=where, reading=False)


def packet_sockets(program: Program) -> set[str]:
    """Those that it has. With a new filter there is a new one."""
    lines = Path(f"/proc/{program.pid}/net/packet").read_text().splitlines()[1:]
    inodes = {line.split()[8] for line in lines}
    return {link for link in program.descriptors().values() if link.removeprefix("socket:[").rstrip("]") in inodes}


def wait_for_new_filter(program: Program, sockets: set[str]) -> None:
    """Until it has none of these, but others."""

    def is_exchanged() -> bool:
        now = packet_sockets(program)
        return bool(now) and now.isdisjoint(sockets)

    program.wait_for(is_exchanged, "new filter")


def test_a_blocked_output_does_not_stop_the_capture(network: Network, tmp_path: Path) -> None:
    with cloud(network), service(write_config(tmp_path / "c.toml", BRIDGE), network.router, reading=False) as program:
        sent = send(network, "--readings", "1", "--start", "2024-06-19T05:00")
        time.sleep(0.2)
        sent += send(network, "--readings", "499", "--merge", "10", "--pace", "0")
        program.wait_until_said("dropping the oldest")
        program.read_on()
        program.wait_until_said("delivering again")
        sent += send(network, "--readings", "1", "--start", "2024-07-01T05:00")
        program.wait_for(lambda: program.out and program.readings[-1] == sent[-1], "last reading")
        readings = program.readings
        assert len(sent) > len(readings) > 256
        lost = [number for number, reading in enumerate(sent) if reading not in readings]
        # What was already in the pipe came first; of what waited, the oldest went.
        assert lost == list(range(lost[0], lost[0] + len(lost)))
        assert lost[-1] + 1 + 256 + 1 == len(sent)
        assert [reading for reading in sent if reading in readings] == readings
        assert program.said(f"dropped: {len(lost)}") == 1
        assert program.said("dropping") == 1
        assert program.stop().code == 0
        assert summary(program)["readings"] == len(sent)


def test_a_log_that_nobody_reads_does_not_stop_the_capture(network: Network, tmp_path: Path) -> None:
    config = write_config(tmp_path / "c.toml", BRIDGE, level="debug")
    with cloud(network), all_in_one(service_words(config), network.router) as program:
        program.wait_for(lambda: packet_sockets(program), "capture")
        sent = send(network, "--readings", "1", "--start", "2024-06-19T05:00")
        time.sleep(0.2)
        sent += send(network, "--readings", "599", "--merge", "5", "--pace", "0", "--control", "--pause", "0.001")
        program.read_on()
        last = f'{{"timestamp": {sent[-1]["timestamp"]}, '
        program.wait_for(lambda: any(line.startswith(last) for line in program.out), "last reading")
        assert program.stop().code == 0
        # The kernel would have had to drop some of them if they had not been taken at once.
        assert [line for line in program.out if "readings: 600; " in line]


def test_each_reading_is_there_at_once(network: Network, tmp_path: Path) -> None:
    with cloud(network), service(write_config(tmp_path / "c.toml", BRIDGE), network.router) as program:
        seconds = []
        with start_dongle(network, "--readings", "7", "--pace", "0.5") as dongle:
            for count in range(1, 8):
                dongle.wait_for(lambda count=count: len(dongle.out) >= count, "sent reading")  # type: ignore[misc]
                began = time.monotonic()
                program.wait_for_readings(count)
                seconds.append(time.monotonic() - began)
        # On a busy machine one may be late.
        assert sorted(seconds)[3] < 0.25


# --- the class itself ---------------------------------------------------------------------------------------------


def test_a_file_in_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("lo", "any"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(CaptureError, match="a file of that name"):
            LiveCapture(name, "")


def test_waiting_has_no_limit_and_ends_when_woken() -> None:
    capture = LiveCapture("missing", "")
    try:
        assert not capture.capturing
        for seconds in (None, 1e12, 0):
            capture.wake()
            assert capture.wait(seconds) == []
    finally:
        capture.close()


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with LiveCapture("lo", "tcp") as capture:
            assert capture.capturing
            capture.refilter()
            capture.wait(0)
            assert capture.dropped == 0
        capture.close()
        capture.wake()
        with pytest.raises(CaptureError):
            LiveCapture("lo", "no filter at all")
    assert os.listdir("/proc/self/fd") == before
    assert subprocess.run(["cat", "/proc/self/net/packet"], capture_output=True, check=True).stdout.count(b"\n") >= 1
