"""What all tests share: the real captures, a network, and hypothesis' settings."""

from __future__ import annotations

import os
import re
import signal
import struct
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from inverter_capture.protocol.packets import Packet
from inverter_capture.protocol.times import SECOND
from tests.network import Network, leave_for_own_namespace
from tests.programs import Dongle

# A shell that starts the tests in the background has SIGINT ignored, in all that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)

CAPTURES = Path(__file__).parent / "captures"

NOT_PERMITTED = re.compile("permitted|Permission denied|no permission to capture")

# Machines are slow in their own ways: no deadlines. In CI the same examples each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first: when tests run side by side, it ends with the others."""
    items.sort(key=lambda item: item.path.name != "test_long.py")


@pytest.fixture(scope="session", autouse=True)
def own_loopback() -> None:
    """Other tests on this machine, with their dongles and servers, are on another loopback device."""
    if os.geteuid() == 0:
        leave_for_own_namespace()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Without root, a test that fails because something is not permitted is skipped, with that as the reason."""
    report = yield
    # pytest-xdist cannot send what was printed when halves of characters are in it.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    if os.geteuid() and report.failed and (reason := NOT_PERMITTED.search(report.longreprtext)):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: needs root: {reason[0]}")
    return report


@pytest.fixture
def network() -> Iterator[Network]:
    """A network for one test."""
    if os.geteuid():
        pytest.skip("needs root: network namespaces")
    with Network() as made:
        yield made


@pytest.fixture
def dongle() -> Iterator[Dongle]:
    made = Dongle()
    yield made
    made.close()


def read_capture(path: Path) -> list[Packet]:
    """The packets of a capture file of Ethernet with microseconds, read byte by byte."""
    data = path.read_bytes()
    assert struct.unpack_from("<I16xI", data) == (0xA1B2C3D4, 1)
    packets = []
    at = 24
    while at < len(data):
        seconds, microseconds, kept, length = struct.unpack_from("<IIII", data, at)
        assert kept == length
        packets.append(Packet(seconds * SECOND + microseconds * 1000, 1, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    assert at == len(data)
    return packets


@pytest.fixture(scope="session")
def real_packet() -> Packet:
    """The one packet of the real capture of 2022."""
    (packet,) = read_capture(CAPTURES / "inteless-292-2022-11-05.pcap")
    return packet


@pytest.fixture(scope="session")
def real_report(real_packet: Packet) -> bytes:
    """Its TCP payload, a report: after 14 bytes of Ethernet, 20 of IP and 20 of TCP."""
    return real_packet.data[54:]


@pytest.fixture(scope="session")
def real_connection() -> list[Packet]:
    """The connection of 2026: a login, the poll map and two reports, with their answers."""
    return read_capture(CAPTURES / "inteless-306-2026-09-17.pcap")
