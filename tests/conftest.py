"""What all tests share: the protocol's description, the one real packet, a network, and hypothesis' settings."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from inverter_capture.protocol.packets import Packet
from tests.network import Network

SHARED = Path(__file__).resolve().parents[2] / "shared"

# Machines are slow in their own ways: no deadlines. In CI the same examples each time.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "default")


@pytest.fixture
def network() -> Iterator[Network]:
    """A network for one test."""
    with Network() as made:
        yield made


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository. A clone may have none; CI must."""
    if not SHARED.is_dir():
        reason = (
            "there is no folder `shared` beside this repository, with the protocol's description and the real capture"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED


@pytest.fixture(scope="session")
def real_packet(shared: Path) -> Packet:
    """The one packet of the real capture, read byte by byte."""
    data = (shared / "captures" / "inteless-292-2022-11-05.pcap").read_bytes()
    magic, link_type = struct.unpack_from("<I", data)[0], struct.unpack_from("<I", data, 20)[0]
    seconds, microseconds, kept, length = struct.unpack_from("<IIII", data, 24)
    assert (magic, link_type, kept, 40 + kept) == (0xA1B2C3D4, 1, length, len(data))
    return Packet(seconds * 1_000_000_000 + microseconds * 1000, link_type, data[40:])


@pytest.fixture(scope="session")
def real_frame(real_packet: Packet) -> bytes:
    """The frame in it: what stands behind 14 bytes of Ethernet, 20 of IP and 20 of TCP."""
    return real_packet.data[54:]
