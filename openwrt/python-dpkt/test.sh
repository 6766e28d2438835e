#!/bin/sh
# Tests the installed package: test.sh PACKAGE VERSION

[ "$1" = python3-dpkt ] || exit 0

python3 - "${2%-r*}" <<'PYTHON'
import sys

import dpkt

assert dpkt.__version__ == sys.argv[1]

segment = dpkt.tcp.TCP(sport=49218, dport=51100, data=b"data")
packet = dpkt.ip.IP(src=b"\n\0\0\1", dst=b"\n\0\0\2", p=dpkt.ip.IP_PROTO_TCP, data=segment, len=44)
read = dpkt.ip.IP(bytes(packet))
assert (read.data.sport, read.data.dport, read.data.data) == (49218, 51100, b"data")
PYTHON
