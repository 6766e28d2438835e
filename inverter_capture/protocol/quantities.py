"""The quantities of the register tables: unit, scale, sign, bounds and Home Assistant classes."""

from __future__ import annotations

from typing import NamedTuple


class Quantity(NamedTuple):
    """What is measured, counted or set, and how registers encode it.

    value = joined registers (masked; two's complement when signed) * factor / divisor + bias
    """

    unit: str = ""
    divisor: int = 1
    signed: bool = False
    minimum: int | None = None  # A value below it is not plausible, and is left out
    maximum: int | None = None  # The same of a value above it
    device_class: str = ""  # Home Assistant's
    state_class: str = ""  # Home Assistant's
    factor: int = 1
    bias: int = 0
    mask: int = 0  # The bits of the register that belong to the field; 0: all of them
    absent: int | None = None  # The raw number that stands for no sensor, or no value
    period: str = ""
    """For the guard: the period of a counter, "day", "month" or "year" by the inverter's clock, or "total". Empty: not a
    counter."""
    net: bool = False  # Whether a counter counts both directions, and can also fall
    limit: int | None = None
    """For the guard. Counters: maximum rise per hour. Other fields: maximum change between readings. Larger changes must
    be confirmed by later readings. None: no limit."""
    by_group: int = 0  # If not 0, the limit is this number times the maximum power of the field's group in kW
    doubt: str = ""  # If the scale differs between inverters of a kind: its name in kind_detection.py
    wide: bool = False
    """The second register is a high word, which only newer firmware has. Without it the first register is the number."""

    def times(self, factor: int) -> Quantity:
        """The same quantity with the scale multiplied by `factor`: 10, for inverters that send a tenth of the number."""
        if self.divisor % factor == 0:
            return self._replace(divisor=self.divisor // factor)
        return self._replace(factor=self.factor * factor)


# fmt: off
# What is measured. Voltages and currents are named after the place where they have this scale.
AC_VOLTAGE      = Quantity("V", 10, minimum=0, maximum=500, device_class="voltage", state_class="measurement")
LINE_VOLTAGE    = AC_VOLTAGE._replace(maximum=900)
PV_VOLTAGE      = AC_VOLTAGE._replace(maximum=1000)
HV_PV_VOLTAGE   = AC_VOLTAGE._replace(maximum=1500)
BATTERY_VOLTAGE = AC_VOLTAGE._replace(divisor=100, maximum=100)
HV_VOLTAGE      = AC_VOLTAGE._replace(maximum=1000)
CURRENT         = Quantity("A", 100, signed=True, device_class="current", state_class="measurement")
BATTERY_CURRENT = CURRENT._replace(doubt="battery current")
PV_CURRENT      = Quantity("A", 10, device_class="current", state_class="measurement", limit=200)
BMS_CURRENT     = CURRENT._replace(divisor=1)
LV_BMS_CURRENT  = BMS_CURRENT._replace(doubt="BMS current")
HV_BMS_CURRENT  = CURRENT._replace(divisor=10)
CURRENT_LIMIT   = Quantity("A", device_class="current", state_class="measurement", limit=5000)
BMS_LIMIT       = CURRENT_LIMIT._replace(minimum=0, maximum=2000, limit=None)
LV_BMS_LIMIT    = BMS_LIMIT._replace(doubt="BMS current")
POWER           = Quantity("W", signed=True, device_class="power", state_class="measurement")
GRID_POWER      = POWER._replace(doubt="power")
GRID_POWER_SUM  = POWER._replace(doubt="grid power")
WIDE_POWER      = POWER._replace(wide=True)
HV_POWER        = POWER._replace(factor=10)
PV_POWER        = Quantity("W", device_class="power", state_class="measurement", by_group=1000)
HV_PV_POWER     = PV_POWER._replace(factor=10)
REST_POWER      = Quantity("W", device_class="power", state_class="measurement")
APPARENT_POWER  = Quantity("VA", signed=True, device_class="apparent_power", state_class="measurement")
POWER_FACTOR    = Quantity("%", 10, minimum=0, maximum=100, device_class="power_factor", state_class="measurement")
FREQUENCY       = Quantity("Hz", 100, minimum=0, maximum=70, device_class="frequency", state_class="measurement")
TEMPERATURE     = Quantity("°C", 10, minimum=-40, maximum=150, device_class="temperature", state_class="measurement", bias=-100, absent=0)
SOC             = Quantity("%", minimum=0, maximum=100, device_class="battery", state_class="measurement", limit=30)
SOH             = Quantity("%", minimum=0, maximum=100, state_class="measurement", absent=0xFFFF)
CAPACITY        = Quantity("Ah", state_class="measurement", limit=5000)

# What is counted. Net counters of a month or year are sent without a sign, and wrap around below zero. Net counters that
# start again have no state class: Home Assistant would count their return to zero as consumption.
ENERGY_TOTAL    = Quantity("kWh", 10, minimum=0, maximum=10_000_000, device_class="energy", state_class="total_increasing", period="total", by_group=1)
ENERGY_YEAR     = ENERGY_TOTAL._replace(period="year")
ENERGY_MONTH    = ENERGY_TOTAL._replace(period="month")
ENERGY_TODAY    = ENERGY_TOTAL._replace(period="day", maximum=1000)
NET_TOTAL       = ENERGY_TOTAL._replace(signed=True, minimum=-10_000_000, state_class="total", net=True)
NET_YEAR        = ENERGY_YEAR._replace(state_class="", net=True)
NET_MONTH       = ENERGY_MONTH._replace(state_class="", net=True)
NET_TODAY       = ENERGY_TODAY._replace(signed=True, minimum=-1000, state_class="", net=True)
HV_ENERGY_TOTAL = ENERGY_TOTAL._replace(doubt="energy total")
HV_ENERGY_YEAR  = ENERGY_YEAR._replace(doubt="energy total")
HV_ENERGY_TODAY = ENERGY_TODAY._replace(doubt="energy today", maximum=10_000)
HV_NET_TOTAL    = NET_TOTAL._replace(doubt="energy total")
HV_NET_TODAY    = NET_TODAY._replace(doubt="energy today", minimum=-10_000, maximum=10_000)
REACTIVE_TOTAL  = Quantity("kvarh", 10, signed=True, state_class="total", period="total", net=True, by_group=1)
REACTIVE_TODAY  = REACTIVE_TOTAL._replace(state_class="", period="day")
HOURS_TODAY     = Quantity("h", 10, minimum=0, maximum=24, device_class="duration", state_class="total_increasing", period="day", limit=2)
HOURS_TOTAL     = HOURS_TODAY._replace(maximum=1_000_000, period="total")
SECONDS_TODAY   = HOURS_TODAY._replace(unit="s", divisor=1, maximum=86_400, limit=7200)

# Codes, whose words are in codes.py, and flags.
STATE           = Quantity(device_class="enum")
CONNECTED       = Quantity(device_class="connectivity")
RUNNING         = Quantity(device_class="running", mask=0x000F)
CODE            = Quantity()
BIT_0           = Quantity(mask=0x0001)
BIT_2_CONNECTED = Quantity(device_class="connectivity", mask=0x0004)
BIT_3           = Quantity(mask=0x0008)
BITS_0_1        = Quantity(mask=0x0003)
BITS_8_11       = Quantity(mask=0x0F00)
CLOCK_TIME      = Quantity(minimum=0, maximum=2359)

# What is set. Settings have no state class: nobody needs their statistics.
SET_VOLTAGE     = Quantity("V", 10, device_class="voltage")
SET_AC_VOLTAGE  = SET_VOLTAGE._replace(minimum=0, maximum=500)
SET_LV_VOLTAGE  = SET_VOLTAGE._replace(divisor=100, minimum=0, maximum=100)
SET_HV_VOLTAGE  = SET_VOLTAGE._replace(minimum=0, maximum=1000)
SET_CURRENT     = Quantity("A", minimum=0, maximum=1000, device_class="current")
GRID_CURRENT    = Quantity("A", 10, device_class="current")
RATED_POWER     = Quantity("W", 10, minimum=500, maximum=20_000, device_class="power")
LV_RATED_POWER  = RATED_POWER._replace(minimum=1000, maximum=30_000)
HV_RATED_POWER  = RATED_POWER._replace(minimum=1000, maximum=100_000)
SET_POWER       = Quantity("W", minimum=0, maximum=20_000, device_class="power")
LV_SET_POWER    = SET_POWER._replace(maximum=32_000)
HV_SET_POWER    = SET_POWER._replace(maximum=128_000, factor=10)
PEAK_POWER      = SET_POWER._replace(maximum=22_000)
LV_PEAK_POWER   = SET_POWER._replace(maximum=100_000)
HV_PEAK_POWER   = SET_POWER._replace(maximum=100_000, factor=10)
LEAST_PV_POWER  = SET_POWER._replace(maximum=8000)
LV_ZERO_EXPORT  = SET_POWER._replace(signed=True, minimum=-500, maximum=5000)
HV_ZERO_EXPORT  = SET_POWER._replace(signed=True, minimum=-500, maximum=10_000, factor=10)
SET_FREQUENCY   = Quantity("Hz", 100, device_class="frequency")
FREQUENCY_LIMIT = SET_FREQUENCY._replace(minimum=40, maximum=70)
COUPLE_LIMIT    = SET_FREQUENCY._replace(minimum=45, maximum=65)
SET_CAPACITY    = Quantity("Ah", minimum=0, maximum=5000)
RESISTANCE      = Quantity("mΩ", minimum=0, maximum=6000)
INSULATION      = Quantity("kΩ", 10)
COMPENSATION    = Quantity("mV/°C", signed=True)
SECONDS         = Quantity("s", minimum=0, maximum=1000, device_class="duration")
MINUTES         = Quantity("min", minimum=0, maximum=120, device_class="duration")
HOURS           = Quantity("h", 10, minimum=0, maximum=24, device_class="duration")
HALF_HOURS      = Quantity("h", 2, minimum=0, maximum=10, device_class="duration")
DAYS            = Quantity("d", minimum=0, maximum=90, device_class="duration")
RATE            = Quantity("%")
PERCENT         = Quantity("%", minimum=0, maximum=100)
EFFICIENCY      = Quantity("%", 10, minimum=0, maximum=100)
REGULATION      = Quantity("%", 10, minimum=0, maximum=120)
SET_FACTOR      = Quantity("%", 10, minimum=80, maximum=120, device_class="power_factor")
# fmt: on
