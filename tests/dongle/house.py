"""A believable house over days: what its inverter measures and counts at any moment.

The house lives in steps of a minute from its beginning, and is the same whenever it is asked: all chance comes from
its seed. Its checks are those of the real reports: battery and panel volts times amperes are their watts, what is
used was imported or came from the inverter and was not exported, counters only rise.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

from tests.dongle.appliances import Appliances, Load
from tests.dongle.battery import Battery
from tests.dongle.chance import Dice
from tests.dongle.counters import Counter
from tests.dongle.flow import Flow, share, stand_by
from tests.dongle.grid import Grid
from tests.dongle.meters import read_all
from tests.dongle.profiles import Profile
from tests.dongle.troubles import NO_GRID, Troubles
from tests.dongle.weather import Weather

SOUTH_AFRICA = timezone(timedelta(hours=2))
"""Two hours ahead of UTC, all year round."""

MINUTE = timedelta(minutes=1)

STANDBY, SELF_CHECK, NORMAL = 0, 1, 2
STANDBY_MINUTES = 6
SELF_CHECK_MINUTES = 5


class House:
    """One house with one inverter, which is switched on at `start`.

    `start` is an aware datetime. `zone` is the one of the inverter's wall clock, by which its days begin and people
    live; the sun keeps to the zone's offset at the start.
    """

    def __init__(self, profile: Profile, start: datetime, seed: int = 1, zone: tzinfo = SOUTH_AFRICA) -> None:
        self.profile = profile
        self._zone = zone
        self._start = floor_to_minute(start)
        self._now = self._start
        self._sun_offset = self._start.astimezone(zone).utcoffset() or timedelta()
        self._day: date | None = None

        mixed = seed * 100 + profile.number
        self._dice = Dice(mixed, 8)
        self._seed = mixed
        self.weather = Weather(seed)
        self.grid = Grid(seed)
        self.appliances = Appliances(mixed, profile.base_load)
        self.troubles = Troubles(mixed)
        self.battery = Battery(profile.battery_capacity, profile.battery_current, self._dice.between(35, 70))
        self.temperature_dc = 30.0
        self.temperature_ac = 30.0
        self.smart_load_on = False
        self.minute_of_day = 0

        past = profile.history
        self.pv = Counter(past.pv, past.pv // 5, past.pv // 70)
        self.charged = Counter(past.charge)
        self.discharged = Counter(past.discharge)
        self.imported = Counter(past.imported)
        self.exported = Counter(past.exported)
        self.inverted = Counter(past.inverter, past.inverter // 5, past.inverter // 70)
        used = past.imported + past.inverter - past.exported
        self.used = Counter(used, used // 5, used // 70)
        self.flow = self._live_through()

    def at(self, moment: datetime) -> dict[str, int | float]:
        """Every field of the register table that a report of this moment shows, by id, in the table's order.

        Values are rounded as their registers are. A field that is absent, such as the temperature of a sensor that
        is not fitted, has no key. Moments are aware, and may not go back by a minute or more: ValueError.
        """
        minute = floor_to_minute(moment)
        if minute < self._now:
            raise ValueError(
                f"the house has lived until {self._now.isoformat()}, and {moment.isoformat()} is before that"
            )
        while self._now < minute:
            self._now += MINUTE
            self.flow = self._live_through()
        return read_all(self)

    @property
    def state(self) -> int:
        """The number of the inverter's state."""
        age = (self._now - self._start) // MINUTE
        if age < STANDBY_MINUTES:
            return STANDBY
        return SELF_CHECK if age < STANDBY_MINUTES + SELF_CHECK_MINUTES else NORMAL

    @property
    def faults(self) -> int:
        """Fault bits."""
        return NO_GRID if self.grid.lost_at(self.minute_of_day) else 0

    @property
    def warnings(self) -> int:
        """Warning bits."""
        return self.troubles.at(self.minute_of_day)

    def noise(self) -> Dice:
        """Chance for measuring, the same whenever this minute is asked about."""
        return Dice(self._seed, 9, int(self._now.timestamp()) // 60)

    def _live_through(self) -> Flow:
        """The present minute."""
        wall = self._now.astimezone(self._zone)
        self.minute_of_day = wall.hour * 60 + wall.minute
        if wall.date() != self._day:
            self._begin_day(wall.date())
        sun_time = (self._now + self._sun_offset).astimezone(UTC)
        sun_hour = sun_time.hour + sun_time.minute / 60
        self.weather.pass_minute()
        self.grid.pass_minute(self.minute_of_day)
        load = self.appliances.at(self.minute_of_day)
        if not self.profile.has_ct:
            load = Load(load.essential + load.other, 0)
        error = self._dice.whole(-6, 22)
        connected = self.grid.connected
        if self.state == NORMAL:
            available = tuple(
                string.peak * self.weather.sunlight(sun_hour, string.facing) for string in self.profile.strings
            )
            flow = share(
                self.profile, available, load, self._smart_load(), self.battery, connected=connected, error=error
            )
        else:
            flow = stand_by(self.profile, load, connected=connected)
        air = self.weather.temperature(sun_hour)
        self.battery.run(flow.battery, air)
        self._warm_up(flow, air)
        self._count(flow)
        return flow

    def _begin_day(self, day: date) -> None:
        first = self._day is None
        self._day = day
        for part in (self.weather, self.grid, self.appliances, self.troubles):
            part.begin_day(day)
        if not first:
            for counter in (
                self.pv,
                self.charged,
                self.discharged,
                self.imported,
                self.exported,
                self.inverted,
                self.used,
            ):
                counter.begin_day(day)

    def _smart_load(self) -> int:
        """The extra load goes on with a full battery, and off when that is no longer full."""
        limit = 90 if self.smart_load_on else 98
        self.smart_load_on = self.profile.smart_load > 0 and self.battery.charge >= limit
        return self.profile.smart_load if self.smart_load_on else 0

    def _warm_up(self, flow: Flow, air: float) -> None:
        rated = self.profile.inverter_power
        direct = air + 16 + 38 * max(flow.inverter, -flow.battery) / rated
        alternating = air + 14 + 30 * flow.inverter / rated
        self.temperature_dc += 0.05 * (direct - self.temperature_dc)
        self.temperature_ac += 0.05 * (alternating - self.temperature_ac)

    def _count(self, flow: Flow) -> None:
        for watts in flow.pv:
            self.pv.add(watts)
        self.charged.add(max(0, -round(flow.battery)))
        self.discharged.add(max(0, round(flow.battery)))
        self.imported.add(max(0, flow.grid))
        self.exported.add(max(0, -flow.grid))
        self.inverted.add(flow.inverter)
        self.used.add(flow.load)


def floor_to_minute(moment: datetime) -> datetime:
    """The beginning of the minute, in UTC."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
