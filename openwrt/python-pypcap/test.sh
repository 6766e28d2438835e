#!/bin/sh
# Tests the installed package: test.sh PACKAGE VERSION

[ "$1" = python3-pypcap ] || exit 0

python3 - <<'PYTHON'
import os
from struct import pack

import pcap

ports = pcap.bpf(b"tcp port 51100")  # of IP packets, without a link layer
for port, wanted in ((51100, True), (51101, False)):
    packet = bytes.fromhex("450000280000000040060000 0a000001 0a000002") + pack("!2H16x", 49218, port)
    assert ports.filter(packet) == wanted, port

file = f"/tmp/python3-pypcap-test-{os.getpid()}.pcap"
with open(file, "wb") as capture:
    capture.write(pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
    capture.write(pack("=IIII", 1, 0, len(packet), len(packet)) + packet)
assert [content for _, content in pcap.pcap(file)] == [packet]
os.unlink(file)
PYTHON
