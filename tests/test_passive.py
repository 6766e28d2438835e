"""Nothing is ever sent: both ends of the wire see what they would see without the program."""

from __future__ import annotations

import ast
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import dpkt
import pytest

import inverter_capture
from inverter_capture.capture.file import FileCapture
from tests.network import BRIDGE, Host, Network, wait_for
from tests.programs import PORT, PROGRAM, Json, Program, cloud, send, service, write_config

PACKAGE = Path(inverter_capture.__file__).parent
FIRST_PORT = 40000
MAIN_PORT = 40001
"""The dongle's own."""


class Seen(NamedTuple):
    """A packet, as far as it is the same each time."""

    source_mac: str
    destination_mac: str
    source: str
    destination: str
    source_port: int
    destination_port: int
    flags: int
    sequence: int
    payload: bytes


@contextmanager
def watching(network: Network, where: Host, path: Path) -> Iterator[None]:
    """Writes all packets of a host to a file."""
    words = ["tcpdump", "-i", "eth0", "-w", str(path), "-U", "--immediate-mode", "-s", "0"]
    with Program(words, where=where, stdout=subprocess.DEVNULL, reading=False) as watcher:
        watcher.wait_until_said("listening on")
        yield
        # Everything there was has been written when this packet, which the host sends to itself alone, is in the file.
        size = path.stat().st_size
        mark = f"import socket; s = socket.socket(17, 3); s.bind(('eth0', 0)); s.send({MARK!r})"
        network.run(where, ["python3", "-c", mark])
        wait_for(lambda: MARK in path.read_bytes(), f"mark behind {size} bytes")
        assert watcher.stop(signal.SIGINT).code == 0


MARK = bytes(6) + bytes(6) + b"\x88\xb5" + b"the end of what is watched".ljust(46, b"\0")


def packets_in(path: Path) -> list[bytes]:
    """Without the marks, which both hosts can see."""
    packets = []
    with FileCapture(str(path), "") as capture:
        while not capture.ended:
            packets += capture.wait()
    return [packet.data for packet in packets if packet.data != MARK]


def look(packet: bytes) -> Seen:
    """Raises when it is not a TCP segment."""
    ethernet = dpkt.ethernet.Ethernet(packet)
    ip = ethernet.data
    assert isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6), packet.hex()
    assert isinstance(ip.data, dpkt.tcp.TCP), packet.hex()
    source, destination = (dpkt.utils.inet_to_str(address) for address in (ip.src, ip.dst))
    source_mac, destination_mac = (dpkt.utils.mac_to_str(address) for address in (ethernet.src, ethernet.dst))
    tcp = ip.data
    ports = tcp.sport, tcp.dport
    return Seen(source_mac, destination_mac, source, destination, *ports, tcp.flags, tcp.seq, bytes(tcp.data))


def dialogue(network: Network, folder: Path, *, captured: bool) -> list[list[Seen]]:
    """Connections over IPv4 and IPv6 with restarts of the network around them. Returns what each host has seen."""
    folder.mkdir()
    hosts = (network.dongle, network.server)
    configs = [
        write_config(folder / "bridge.toml", BRIDGE),
        write_config(folder / "any.toml", "any"),
        write_config(folder / "filter.toml", BRIDGE, filter=f"host {network.dongle.ipv4}"),
    ]
    first = ["--readings", "1", "--source-port", str(FIRST_PORT)]
    more = ["--readings", "4", "--pace", "0.01", "--control", "--source-port", str(MAIN_PORT)]
    with ExitStack() as stack:
        stack.enter_context(cloud(network, network.server.ipv4, network.server.ipv6))
        for host in hosts:
            stack.enter_context(watching(network, host, folder / host.port))
        programs = []
        if captured:
            programs = [stack.enter_context(service(config, network.router)) for config in configs]
            words = [*PROGRAM, "discover", BRIDGE, "--seconds", "600"]
            programs.append(stack.enter_context(Program(words, where=network.router)))
        sent_v4: list[Json] = []
        sent: list[Json] = []

        def check_readings() -> None:
            for program, config in zip(programs, configs, strict=False):
                wanted = sent_v4 if "filter" in config.name else sent
                assert program.wait_for_readings(len(wanted)) == wanted

        # Who sends is known from a first frame on, and is let through from then on.
        sent += send(network, *first)
        sent_v4 += sent
        sent += send(network, *first, "--start", "2024-06-25T05:00", server=network.server.ipv6)
        check_readings()
        sent_v4 += send(network, *more, "--start", "2024-06-26T05:00")
        sent += sent_v4[1:]
        on_bridge = [program for program in programs if program.said(f"capturing on {BRIDGE}")]
        for count in (1, 2):
            if count == 1:
                network.set_link(network.router, BRIDGE, up=False)
            else:
                network.delete_bridge()
            for program in on_bridge:
                program.wait_until_said("; waiting for it", count)
            if count == 1:
                network.set_link(network.router, BRIDGE, up=True)
            else:
                network.create_bridge()
            for program in on_bridge:
                program.wait_until_said("capturing again", count)
        sent += send(network, *more, "--start", "2024-06-27T05:00", "--reset", server=network.server.ipv6)
        check_readings()
        for program in programs:
            assert program.stop(signal.SIGINT).code == 0
    return [[look(packet) for packet in packets_in(folder / host.port)] for host in hosts]


def in_the_end(packets: list[Seen]) -> dict[tuple[str, int], tuple[bytes, bool, bool]]:
    """For each of the dongle's connections what it said, and whether with SYN and FIN.

    Acknowledgements and resets come as they like, and with them what the server says last.
    """
    found = {}
    for flow in sorted({(packet.destination, packet.source_port) for packet in packets if packet[5] == PORT}):
        own = [packet for packet in packets if (packet.destination, packet.source_port) == flow]
        first = min(packet.sequence for packet in own if packet.flags & dpkt.tcp.TH_SYN)
        said = {packet.sequence - first: packet.payload for packet in own if packet.payload}
        syns, fins = (any(packet.flags & flag for packet in own) for flag in (dpkt.tcp.TH_SYN, dpkt.tcp.TH_FIN))
        found[flow] = b"".join(said[place] for place in sorted(said)), syns, fins
    return found


def test_both_ends_see_nothing_but_each_other(tmp_path: Path) -> None:
    found = {}
    for name in ("with", "without"):
        with Network() as network:
            seen = dialogue(network, tmp_path / name, captured=name == "with")
            macs = {network.dongle.mac, network.server.mac}
            addresses = {host_address for host in (network.dongle, network.server) for host_address in host[3:]}
            for packets in seen:
                assert len(packets) > 40
                for packet in packets:
                    assert {packet.source_mac, packet.destination_mac} == macs, packet
                    assert {packet.source, packet.destination} < addresses, packet
                    ports = {packet.source_port, packet.destination_port}
                    assert ports in ({FIRST_PORT, PORT}, {MAIN_PORT, PORT}), packet
                    # Each host's packets are its own: nobody speaks in another's name.
                    dongle_s = packet.source in (network.dongle.ipv4, network.dongle.ipv6)
                    assert packet.source_mac == (network.dongle if dongle_s else network.server).mac, packet
            # What one end has sent the other has got, and nothing else.
            assert Counter(seen[0]) == Counter(seen[1])
            found[name] = in_the_end(seen[0])
    assert found["with"] == found["without"]
    assert len(found["with"]) == 4


def test_its_sockets_are_for_listening_only(tmp_path: Path) -> None:
    with Network() as network, cloud(network):
        config = write_config(tmp_path / "c.toml", BRIDGE)
        words = [*PROGRAM, "discover", BRIDGE, "--seconds", "600"]
        with service(config, network.router) as running, Program(words, where=network.router) as discovering:
            send(network, "--readings", "1")
            running.wait_for_readings(1)
            discovering.wait_until_said("capturing on")
            for program in (running, discovering):
                sockets = [name for name in program.descriptors().values() if name.startswith("socket:")]
                table = {
                    kind: (Path(f"/proc/{program.pid}/net") / kind).read_text()
                    for kind in ("packet", "netlink", "tcp", "tcp6", "udp", "udp6", "raw", "raw6", "unix")
                }
                kinds = sorted(
                    kind
                    for name in sockets
                    for kind, text in table.items()
                    if f" {name[8:-1]} " in text.replace("\n", " ")
                )
                assert kinds == ["netlink", "packet"]
                assert len(sockets) == 2


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_sends_packets(path: Path) -> None:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
    assert not names & {"sendpacket", "inject", "AF_PACKET", "PF_PACKET"}
    # Nor asks a name server about an address that was captured.
    assert not names & {"gethostbyaddr", "getnameinfo", "getfqdn"}
    if path.parent.name == "capture":
        assert not {name for name in names if name.startswith("send")}
