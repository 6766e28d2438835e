"""A house with all of it: two inverters, the cloud, the router with the service, and a machine for Home Assistant.

The broker and Home Assistant are on a host of the bridge that the service captures, as in most houses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.dongle.profiles import LARGE, SMALL
from tests.homeassistant.house import House
from tests.homeassistant.instance import HomeAssistant
from tests.mosquitto import Mosquitto
from tests.network import BRIDGE, DEVICE, Network, ip
from tests.programs import ZONE, Program, Stopped, Talker, cloud, service

HOME_NUMBER = 20
"""The last part of the address of Home Assistant's machine."""
PASSWORDS = {"inverter": "of the router", "homeassistant": "of the house"}
"""Of the broker's users."""


class Rig:
    """All parts. `open_rig` makes one."""

    def __init__(self, folder: Path, network: Network, stack: ExitStack) -> None:
        host = network.add_host("home", HOME_NUMBER)
        # It and the router talk to each other, which hosts of this network do not know how to do.
        ip(host.namespace, f"link set {DEVICE} arp on")
        (folder / "home").mkdir()
        self._config = folder / "config.toml"
        self._network = network
        self._program: Program | None = None
        self.broker = stack.enter_context(Mosquitto(folder / "broker", users=PASSWORDS, keep=True, where=host))
        self.home = stack.enter_context(HomeAssistant(folder / "home", host))
        stack.enter_context(cloud(network))
        self.small, self.large = self.houses = tuple(
            House(profile, stack.enter_context(Talker(network)), self.home) for profile in (SMALL, LARGE)
        )

    def set_up_home_assistant(self) -> None:
        """As its owner does: a user, and the MQTT integration."""
        self.home.start()
        self.home.onboard()
        self.home.wait_until_running()
        self.home.add_mqtt(self.broker.address, self.broker.port, "homeassistant", PASSWORDS["homeassistant"])

    def configure(self, stale_after: float = 900) -> None:
        """Write the service's configuration; `stale_after` is in seconds."""
        self._config.write_text(
            f"""[pcap]
device = "{BRIDGE}"
timezone = "{ZONE}"
[[mqtt]]
url = "{self.broker.url}"
username = "inverter"
password = "{PASSWORDS["inverter"]}"
stale_after = {stale_after}
"""
        )

    def start_service(self) -> Program:
        """Start ours."""
        self._program = service(self._config, self._network.router)
        return self._program

    @property
    def program(self) -> Program:
        """Ours."""
        assert self._program is not None
        return self._program

    def stop_service(self) -> Stopped:
        """As a restart of it does."""
        stopped = self.program.stop()
        self.kill_service()
        return stopped

    def kill_service(self) -> None:
        """As a power cut does."""
        if self._program is not None:
            self._program.__exit__(None, None, None)
            self._program = None


@contextmanager
def open_rig(folder: Path) -> Iterator[Rig]:
    """All of it, in which only the broker and the cloud run yet. At the end nothing is left."""
    with Network(ipv6=False) as network, ExitStack() as stack:
        rig = Rig(folder, network, stack)
        stack.callback(rig.kill_service)
        yield rig
