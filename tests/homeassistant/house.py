"""An inverter, and what Home Assistant shows of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from tests.dongle.house import SOUTH_AFRICA
from tests.dongle.inverter import Inverter
from tests.dongle.profiles import Profile
from tests.dongle.reports import encode_values, length_of
from tests.homeassistant.client import Json
from tests.homeassistant.instance import HomeAssistant
from tests.network import wait_for
from tests.programs import Talker

PATIENCE_SECONDS = 60
"""For what should take a second, and takes longer on a busy machine."""
UNAVAILABLE, UNKNOWN = "unavailable", "unknown"


class Entity(NamedTuple):
    """One of ours, as Home Assistant's registry has it."""

    id: str
    enabled: bool
    category: str | None
    name: str


class House:
    """One inverter, whose dongle sends what it is told to, and its device in Home Assistant."""

    def __init__(self, profile: Profile, talker: Talker, home: HomeAssistant) -> None:
        self.serial = profile.serial
        self.moment = datetime.now(UTC)
        """Of the newest reading, which holds these values."""
        # It has been running for a while, so that its battery management system is heard.
        inverter = Inverter(profile, self.moment - timedelta(hours=1))
        self.values: dict[str, int | float] = inverter.report(self.moment).values
        self.entities: dict[str, Entity] = {}
        """By what follows the serial number in their ids, as `look` has found them."""
        self.counted_at = 0.0
        """When the last counter changed, in seconds since the epoch."""
        self._length = length_of(profile.ranges)
        self._talker = talker
        self._home = home

    def send(self, minutes_ago: float = 0, **changes: float) -> None:
        """Send a reading that was made so long ago, changed from the one before."""
        self.values |= changes
        self.moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=minutes_ago)
        clock = self.moment.astimezone(SOUTH_AFRICA).replace(tzinfo=None)
        self._talker.say(encode_values(self.serial, clock, self.values, self._length))

    def report(self, minutes_ago: float = 0, **changes: float) -> dict[str, Json]:
        """The same, and wait for it. Returns the states."""
        self.send(minutes_ago, **changes)
        self.wait_for_reading()
        return self.states()

    @property
    def device(self) -> Json | None:
        """As the registry has it; None when it is not there."""
        with self._home.converse() as page:
            found = page.ask("config/device_registry/list")
        return next((device for device in found if device["serial_number"] == self.serial), None)

    def look(self) -> dict[str, Entity]:
        """The entities that there are now."""
        device = self.device
        if device:
            with self._home.converse() as page:
                found = page.ask("config/entity_registry/list")
            self.entities = {
                entry["unique_id"].partition(f"{self.serial}_")[2]: Entity(
                    entry["entity_id"], entry["disabled_by"] is None, entry["entity_category"], entry["original_name"]
                )
                for entry in found
                if entry["device_id"] == device["id"]
            }
        return self.entities

    def enable(self, key: str) -> float:
        """Switch an entity on, as soon as it is there. Returns seconds until all are loaded anew."""
        self.wait(lambda: key in self.look(), key)
        with self._home.converse() as page:
            done = page.ask("config/entity_registry/update", entity_id=self.entities[key].id, disabled_by=None)
        self.look()
        return float(done.get("reload_delay", 0))

    def states(self) -> dict[str, Json]:
        """Of the entities, by the same."""
        states = self._home.states()
        return {key: states[entity.id] for key, entity in self.entities.items() if entity.id in states}

    def measured(self) -> dict[str, str]:
        """What the inverter has measured, and of when that is."""
        return {
            key: state["state"]
            for key, state in self.states().items()
            if self.entities[key].category is None or key == "last_reading"
        }

    def texts(self, category: str | None) -> set[str]:
        """The states of the entities of a category."""
        return {state["state"] for key, state in self.states().items() if self.entities[key].category == category}

    def last_reading(self) -> datetime | None:
        """The time that Home Assistant shows; None when it shows none."""
        state = self.states().get("last_reading", {"state": UNKNOWN})["state"]
        return None if state in (UNAVAILABLE, UNKNOWN) else datetime.fromisoformat(state)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until something is so."""

        def come_true() -> object:
            # Whoever asks without a pause keeps it from its work.
            time.sleep(0.1)
            return condition()

        try:
            wait_for(come_true, f"{what} in Home Assistant", PATIENCE_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; there are: {self.measured()}") from error

    def wait_for_reading(self) -> None:
        """Until the newest reading is shown."""
        self.wait(
            lambda: self.last_reading() == self.moment and UNAVAILABLE not in self.texts(None),
            f"reading of {self.moment}",
        )
