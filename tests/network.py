"""A small network of Linux network namespaces for live tests: a dongle, a server, and a router whose bridge joins them.

    with Network() as network:
        server = f"{network.server.ipv4}:51100"
        network.popen(network.server, [sys.executable, "-m", "tests.dongle.server", "--listen", server])
        network.popen(network.router, [sys.executable, "-m", "inverter_capture", "run", ...])
        network.run(network.dongle, [sys.executable, "-m", "tests.dongle.client", "--server", server])

        dongle              router               server
        eth0 --- lan-dongle | br-lan | lan-server --- eth0

It needs root, `ip`, and for `offloads` `ethtool`. The machine's own namespace is not touched: devices are made
where they belong. The kernels in it say nothing on their own: no ARP, neighbour discovery, router solicitation or
multicast report. All neighbours are known from the start, so every packet is one that a program sent.

Namespaces carry the process's number in their names, and are deleted at the end, whatever happened; what a killed
process left behind is deleted by the next.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

BRIDGE = "br-lan"
DEVICE = "eth0"
"""Of every host."""

ROUTER_IPV4 = "192.168.8.1"
DONGLE_NUMBER = 202
SERVER_NUMBER = 10

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""Of the project: where `python -m tests.something` works."""

CLONE_NEWNET = 0x40000000
"""Of sched.h."""

_serial_numbers = itertools.count(1)

# Written in every namespace before any device of it is up.
QUIET = {
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv6/conf/default/autoconf": 0,
    "net/ipv6/conf/default/router_solicitations": 0,
    "net/ipv6/conf/default/addr_gen_mode": 1,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/keep_addr_on_down": 1,
    "net/ipv6/conf/all/keep_addr_on_down": 1,
}
NO_IPV6 = {"net/ipv6/conf/default/disable_ipv6": 1, "net/ipv6/conf/all/disable_ipv6": 1}
# Where a bridge's packets pass through the firewall, which here has no rules.
NO_BRIDGE_FIREWALL = {f"net/bridge/bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables", "arptables")}


class NetworkError(Exception):
    """A part of the network could not be set up; the message has the command and what it said."""


class Host(NamedTuple):
    """A machine on the bridge, in a network namespace of its own."""

    namespace: str
    port: str
    """The bridge's port to it, a device of the router."""
    mac: str
    ipv4: str
    ipv6: str


class Network:
    """The network; a context manager, or `open` and `close`."""

    def __init__(self, *, ipv6: bool = True, offloads: bool = True) -> None:
        """With `offloads` the devices are as the kernel makes them: captured checksums are not filled in, and large
        writes are one packet. Without, packets look as they do on a wire."""
        self._ipv6 = ipv6
        self._offloads = offloads
        self._prefix = f"ic-{os.getpid()}-{start_time(os.getpid())}-{next(_serial_numbers)}-"
        self._namespaces: list[str] = []
        self._processes: list[subprocess.Popen[Any]] = []
        self.hosts: list[Host] = []
        self.router = self._prefix + "router"

    # --- life ---

    def open(self) -> None:
        """Sets everything up; cleans up again if that fails."""
        remove_leftovers()
        atexit.register(self.close)
        try:
            self._add_namespace(self.router, {**QUIET, **NO_IPV6, **NO_BRIDGE_FIREWALL})
            self.create_bridge()
            self.dongle = self.add_host("dongle", DONGLE_NUMBER)
            self.server = self.add_host("server", SERVER_NUMBER)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends every process started here and deletes the namespaces with all that is in them. Can be called again."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._processes.clear()
        for name in self._namespaces:
            delete_namespace(name)
        self._namespaces.clear()
        self.hosts.clear()
        atexit.unregister(self.close)

    def __enter__(self) -> Network:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # --- programs ---

    def popen(self, where: Host | str, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Starts a program on a host or on `router`, with Popen's options and text streams. Signals go to it directly.

        It is killed at the end if it is still running.
        """
        process = subprocess.Popen(in_namespace(where, words), text=True, **options)
        self._processes.append(process)
        return process

    def run(self, where: Host | str, words: Sequence[str], timeout: float = 60) -> str:
        """Runs a program there to its end and returns what it printed. NetworkError if it fails.

        Here and in `popen` the working directory is that of the tests, so `-m tests.dongle.client` works when they are
        run from the project's root.
        """
        return run_program(in_namespace(where, words), timeout=timeout)

    # --- devices ---

    def add_host(self, label: str, number: int) -> Host:
        """Another machine, 192.168.8.<number> and fd00:8::<number>, on a bridge port called lan-<label>."""
        host = Host(
            namespace=self._prefix + label,
            port=f"lan-{label}",
            mac=f"02:00:00:00:08:{number:02x}",
            ipv4=f"192.168.8.{number}",
            ipv6=f"fd00:8::{number}",
        )
        self._add_namespace(host.namespace, QUIET if self._ipv6 else QUIET | NO_IPV6)
        ip(
            self.router,
            f"link add {host.port} type veth peer name {DEVICE} address {host.mac} netns {host.namespace}",
            f"link set {host.port} master {BRIDGE}",
        )
        if not self._offloads:
            turn_offloads_off(self.router, host.port)
            turn_offloads_off(host.namespace, DEVICE)
        ip(self.router, f"link set {host.port} up")
        # Without ARP a device also joins no multicast groups, and so reports none.
        lines = [f"link set {DEVICE} arp off", f"address add {host.ipv4}/24 dev {DEVICE}"]
        if self._ipv6:
            lines.append(f"address add {host.ipv6}/64 dev {DEVICE} nodad")
        ip(host.namespace, *lines, f"link set {DEVICE} up")
        self.hosts.append(host)
        for each in self.hosts:
            self._introduce(each)
        return host

    def set_link(self, where: Host | str, device: str, *, up: bool) -> None:
        """Sets a device up or down: `network.set_link(network.router, "br-lan", up=False)`."""
        ip(namespace_of(where), f"link set {device} {'up' if up else 'down'}")
        if up and isinstance(where, Host):
            # The kernel forgets all neighbours of a device that goes down.
            self._introduce(where)

    def delete_bridge(self) -> None:
        """Deletes the bridge, as a restart of the router's network does. Its ports stay, without it."""
        ip(self.router, f"link delete {BRIDGE}")

    def create_bridge(self) -> None:
        """Makes the bridge, and puts all ports there are into it."""
        ip(
            self.router,
            f"link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0",
            *(f"link set {host.port} master {BRIDGE}" for host in self.hosts),
            f"address add {ROUTER_IPV4}/24 dev {BRIDGE}",
            f"link set {BRIDGE} up",
        )

    def add_vlan(self, host: Host, number: int) -> str:
        """Gives a host a device eth0.<number>, whose packets carry that VLAN's tag on the bridge.

        Its address is 192.168.<number>.<the host's last number>, so `number` is 1 to 254, but not 8. Returns the
        address. The tag is put on and taken off by a small program, `tests.vlan`: not every kernel knows VLAN
        devices.
        """
        device = f"{DEVICE}.{number}"
        words = [sys.executable, "-m", "tests.vlan", DEVICE, device, str(number)]
        process = self.popen(host, words, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise NetworkError(f"{' '.join(words)}: did not start")
        address = vlan_address(host, number)
        others = [other for other in self.hosts if other != host]
        ip(
            host.namespace,
            f"link set {device} address {host.mac} arp off",
            f"address add {address}/24 dev {device}",
            f"link set {device} up",
            *(neighbour(device, vlan_address(other, number), other.mac) for other in others),
        )
        return address

    def put_between(self, host: Host, words: Sequence[str]) -> subprocess.Popen[str]:
        """Starts a program that all packets between a host and its port must pass through: in a namespace of its own,
        with the devices `near`, to the host, and `far`, to the bridge. Only without offloads."""
        name = f"{host.namespace}-line"
        self._add_namespace(name, QUIET | NO_IPV6)
        ip(
            self.router,
            f"link set {host.port} netns {name} name near",
            f"link add {host.port} type veth peer name far netns {name}",
            f"link set {host.port} master {BRIDGE}",
            f"link set {host.port} up",
        )
        ip(name, "link set near up", "link set far up")
        for namespace, device in ((self.router, host.port), (name, "near"), (name, "far")):
            turn_offloads_off(namespace, device)
        return self.popen(name, words)

    # --- inside ---

    def _add_namespace(self, name: str, settings: dict[str, int]) -> None:
        # Noted first: an interrupted command may have made it all the same.
        self._namespaces.append(name)
        run_program(["ip", "netns", "add", name])
        lines = [f"[ ! -e /proc/sys/{key} ] || echo {value} > /proc/sys/{key}" for key, value in settings.items()]
        run_program(in_namespace(name, ["sh", "-ec", "\n".join(lines)]))
        ip(name, "link set lo up")

    def _introduce(self, host: Host) -> None:
        """Tells a host where all others are."""
        others = [other for other in self.hosts if other != host]
        lines = [neighbour(DEVICE, other.ipv4, other.mac) for other in others]
        if self._ipv6:
            lines += [neighbour(DEVICE, other.ipv6, other.mac) for other in others]
        ip(host.namespace, *lines)


# Python 3.12 has os.setns and os.unshare.
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread, and all that it starts, is in this network namespace for a while."""
    with open("/proc/thread-self/ns/net", "rb") as before, open(f"/run/netns/{name}", "rb") as there:
        _check(_libc.setns(there.fileno(), CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(before.fileno(), CLONE_NEWNET))


def leave_for_own_namespace() -> None:
    """This thread, and all that it starts, is in a new network namespace from now on, with nothing but loopback."""
    _check(_libc.unshare(CLONE_NEWNET))
    run_program(["ip", "link", "set", "lo", "up"])


def _check(result: int) -> None:
    if result:
        raise NetworkError(f"no network namespace: {os.strerror(ctypes.get_errno())}")


def namespace_of(where: Host | str) -> str:
    """The name of a host's namespace."""
    return where.namespace if isinstance(where, Host) else where


def in_namespace(where: Host | str, words: Sequence[str]) -> list[str]:
    """The command line that runs a program there. `ip` is replaced by the program, and so has its process number."""
    return ["ip", "netns", "exec", namespace_of(where), *words]


def vlan_address(host: Host, number: int) -> str:
    """A host's address in a VLAN."""
    return f"192.168.{number}.{host.ipv4.rpartition('.')[2]}"


def neighbour(device: str, address: str, mac: str) -> str:
    """A line for `ip`: the place of an address is known for good."""
    return f"neighbour replace {address} lladdr {mac} nud permanent dev {device}"


def ip(namespace: str, *lines: str) -> None:
    """Runs lines of `ip` commands in a namespace, up to the first that fails."""
    run_program(["ip", "-n", namespace, "-batch", "-"], text="".join(line + "\n" for line in lines))


def turn_offloads_off(namespace: str, device: str) -> None:
    """Packets of this device are whole and of wire size."""
    words = f"ethtool -K {device} tx off rx off tso off gso off gro off".split()
    run_program(in_namespace(namespace, words))


def run_program(words: Sequence[str], timeout: float = 60, text: str = "") -> str:
    """What it printed. NetworkError if it is missing or fails."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except OSError as error:
        raise NetworkError(f"{words[0]}: {error.strerror}") from error
    if done.returncode:
        raise NetworkError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


# --- cleaning up ---


def remove_leftovers() -> None:
    """Deletes the namespaces of test processes that are no more."""
    for line in run_program(["ip", "netns", "list"]).splitlines():
        match = re.match(r"(ic-(\d+)-(\d+)-\S+)", line)
        if match and start_time(int(match[2])) != int(match[3]):
            delete_namespace(match[1])


def start_time(process: int) -> int:
    """When a process was started, in clock ticks since the machine's start; -1 if there is none. Numbers are used
    again, times not."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:
            # The second field is the program's name in brackets, which may hold spaces and brackets itself.
            return int(file.read().rpartition(")")[2].split()[19])
    except FileNotFoundError:
        return -1


def delete_namespace(name: str) -> None:
    """Kills what runs in it, and deletes it with its devices. Does nothing if it does not exist."""
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for word in listed.stdout.split():
        try:
            os.kill(int(word), signal.SIGKILL)
        except ProcessLookupError:
            continue
    subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Waits until a function returns something true; TimeoutError, which says what was waited for, if it does not."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {seconds:g} s")
        time.sleep(0.02)
