"""The protocol's numbers: the frame's header, the register blocks of each frame length, and every field.

All of it stands here and nowhere else. A field's place in a frame is computed from the block its register lies in;
Home Assistant classes, units and the names that databases see come from the same row.

Sources: one real capture of a 292-byte frame, the public register maps of Sunsynk and Deye single-phase hybrid
inverters, and the offsets that earlier decoders found for the 302-byte frame. Nothing here is official.
"""

from __future__ import annotations

from typing import NamedTuple

START = 0xA5
"""First byte of every message of the dongle."""

LENGTH_OFFSET = 9
"""Where the length of what follows stands, 16 bits. Likely, from one frame: used, never relied on alone."""

LENGTH_BIAS = 11
"""What the length leaves out: the bytes up to and including itself."""

SERIAL_OFFSET = 11
SERIAL_LENGTH = 10
"""The inverter's serial number: ASCII digits, letters are possible."""

CLOCK_OFFSET = 37
CLOCK_LENGTH = 6
"""Year - 2000, month, day, hour, minute, second of the inverter's local wall clock."""

HEADER_LENGTH = CLOCK_OFFSET + CLOCK_LENGTH
"""As much of a frame as is needed to tell it from noise."""


class Block(NamedTuple):
    """Registers that follow each other in a frame, as big-endian 16-bit words."""

    first: int
    last: int
    offset: int
    """Bytes from the start of the frame to the first register."""


LAYOUTS: dict[int, tuple[Block, ...]] = {
    292: (Block(59, 124, 44), Block(150, 199, 176), Block(312, 319, 276)),
    # Newer firmware. Registers 59-71 follow from the same shift as the rest; no source has confirmed them.
    302: (Block(59, 124, 52), Block(150, 199, 184), Block(312, 319, 286)),
}
"""The register blocks by the length of the frame in bytes."""


def register_offset(length: int, register: int) -> int:
    """Bytes from the start of a frame of this length to a register.

    Raises KeyError when the frame's length is unknown or its blocks do not hold the register.
    """
    for block in LAYOUTS[length]:
        if block.first <= register <= block.last:
            return block.offset + 2 * (register - block.first)
    raise KeyError(register)


class Field(NamedTuple):
    """One measured value: where it comes from, what it means, and how the world should see it.

    value = joined registers (two's complement when signed) / divisor + bias
    """

    id: str
    """The name in JSON, InfluxDB and MQTT; it never changes."""
    registers: tuple[int, ...]
    """Low word first."""
    group: str
    name: str
    unit: str
    divisor: int
    bias: int
    signed: bool
    minimum: int | None
    maximum: int | None
    """A value outside these bounds is not plausible, and is left out."""
    device_class: str
    state_class: str
    default: bool
    """Published by default; the others are optional."""
    confidence: str
    """How sure the mapping is: high or medium."""
    summed: bool = False
    """The registers are values of their own whose sum this field is."""

    @property
    def absent_when_zero(self) -> bool:
        """Whether raw 0 means that the sensor is not fitted: so it is with temperatures."""
        return self.device_class == "temperature"


# fmt: off
FIELDS: tuple[Field, ...] = (
    #     id                             registers             group        name                                      unit   div  bias  signed  min        max       device_class    state_class         default  confidence
    # State 5 is from one source only; the states, warnings and faults have their texts in codes.py.
    Field("inverter_state",              (59,),                "Inverter",  "State",                                  "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high"),
    Field("inverter_energy_today",       (60,),                "Inverter",  "Active energy today",                    "kWh", 10,  0,    True,   -1000,     1000,     "energy",       "total",            True,    "high"),
    Field("inverter_energy_total",       (63, 64),             "Inverter",  "Active energy total",                    "kWh", 10,  0,    True,   -10000000, 10000000, "energy",       "total",            True,    "high"),
    Field("pv_production_month",         (65,),                "PV",        "PV energy this month",                   "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high"),
    Field("load_consumption_month",      (66,),                "Load",      "Load energy this month",                 "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high"),
    # Some maps call it grid export; two live systems contradict that.
    Field("inverter_energy_month",       (67,),                "Inverter",  "Active energy this month",               "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium"),
    Field("pv_production_year",          (68, 69),             "PV",        "PV energy this year",                    "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high"),
    Field("battery_charge_today",        (70,),                "Battery",   "Charge today",                           "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    Field("battery_discharge_today",     (71,),                "Battery",   "Discharge today",                        "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    Field("battery_charge_total",        (72, 73),             "Battery",   "Total charge",                           "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    Field("battery_discharge_total",     (74, 75),             "Battery",   "Total discharge",                        "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    Field("grid_import_today",           (76,),                "Grid",      "Import today",                           "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    Field("grid_export_today",           (77,),                "Grid",      "Export today",                           "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    # The words are not adjacent: 79 is the frequency.
    Field("grid_import_total",           (78, 80),             "Grid",      "Total import",                           "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    Field("grid_frequency",              (79,),                "Grid",      "Frequency",                              "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      True,    "high"),
    Field("grid_export_total",           (81, 82),             "Grid",      "Total export",                           "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    Field("generator_hours_today",       (83,),                "Generator", "Generator running time today",           "h",   10,  0,    False,  0,         24,       "duration",     "total_increasing", False,   "medium"),
    Field("load_consumption_today",      (84,),                "Load",      "Consumption today",                      "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    Field("load_consumption_total",      (85, 86),             "Load",      "Total consumption",                      "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    Field("load_consumption_year",       (87, 88),             "Load",      "Consumption this year",                  "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high"),
    Field("inverter_temperature_dc",     (90,),                "Inverter",  "DC Temperature",                         "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high"),
    Field("inverter_temperature_ac",     (91,),                "Inverter",  "AC Temperature",                         "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high"),
    # Some maps read 95 as an environment temperature, which then shows -100.
    Field("generator_energy_total",      (92, 95),             "Generator", "Generator energy total",                 "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium"),
    Field("sd_status",                   (94,),                "Inverter",  "SD card status",                         "",    1,   0,    False,  None,      None,     "enum",         "",                 False,   "high"),
    Field("pv_production_total",         (96, 97),             "PV",        "Total production",                       "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high"),
    # Some maps call it grid export; two live systems contradict that.
    Field("inverter_energy_year",        (98, 99),             "Inverter",  "Active energy this year",                "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium"),
    Field("inverter_warnings",           (101, 102),           "Inverter",  "Warnings",                               "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high"),
    Field("inverter_faults",             (103, 104, 105, 106), "Inverter",  "Faults",                                 "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high"),
    # As configured or as the BMS reports it.
    Field("battery_capacity",            (107,),               "Battery",   "Capacity",                               "Ah",  1,   0,    False,  None,      None,     "",             "measurement",      True,    "high"),
    Field("pv_production_today",         (108,),               "PV",        "Production today",                       "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high"),
    Field("pv_voltage_1",                (109,),               "PV",        "Voltage 1",                              "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      True,    "high"),
    Field("pv_current_1",                (110,),               "PV",        "Current 1",                              "A",   10,  0,    False,  None,      None,     "current",      "measurement",      True,    "high"),
    Field("pv_voltage_2",                (111,),               "PV",        "Voltage 2",                              "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      True,    "high"),
    Field("pv_current_2",                (112,),               "PV",        "Current 2",                              "A",   10,  0,    False,  None,      None,     "current",      "measurement",      True,    "high"),
    Field("pv_voltage_3",                (113,),               "PV",        "Voltage 3",                              "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      False,   "high"),
    Field("pv_current_3",                (114,),               "PV",        "Current 3",                              "A",   10,  0,    False,  None,      None,     "current",      "measurement",      False,   "high"),
    Field("pv_voltage_4",                (115,),               "PV",        "Voltage 4",                              "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      False,   "medium"),
    Field("pv_current_4",                (116,),               "PV",        "Current 4",                              "A",   10,  0,    False,  None,      None,     "current",      "measurement",      False,   "medium"),
    Field("grid_voltage",                (150,),               "Grid",      "Voltage",                                "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      True,    "high"),
    Field("grid_voltage_l2",             (151,),               "Grid",      "Voltage L2",                             "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high"),
    Field("grid_voltage_l1_l2",          (152,),               "Grid",      "Voltage L1-L2",                          "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high"),
    # One map calls it load voltage.
    Field("inverter_voltage",            (154,),               "Inverter",  "Output voltage",                         "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      True,    "high"),
    Field("inverter_voltage_l2",         (155,),               "Inverter",  "Output voltage L2",                      "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high"),
    Field("inverter_voltage_l1_l2",      (156,),               "Inverter",  "Output voltage L1-L2",                   "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high"),
    # Seen 2 % off on a live system: uncalibrated.
    Field("load_voltage",                (157,),               "Load",      "Load voltage",                           "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium"),
    Field("load_voltage_l2",             (158,),               "Load",      "Load voltage L2",                        "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium"),
    Field("grid_current",                (160,),               "Grid",      "Current",                                "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high"),
    Field("grid_current_l2",             (161,),               "Grid",      "Current L2",                             "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high"),
    Field("grid_ct_current",             (162,),               "Grid",      "CT current",                             "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high"),
    Field("grid_ct_current_l2",          (163,),               "Grid",      "CT current L2",                          "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high"),
    # One map calls it load current.
    Field("inverter_current",            (164,),               "Inverter",  "Output current",                         "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high"),
    Field("inverter_current_l2",         (165,),               "Inverter",  "Output current L2",                      "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high"),
    # The generator, smart-load or micro-inverter port.
    Field("aux_power",                   (166,),               "Aux",       "Aux / generator / micro-inverter power", "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    # At the inverter's grid port.
    Field("grid_power_l1",               (167,),               "Grid",      "Power L1 (inverter grid port)",          "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("grid_power_l2",               (168,),               "Grid",      "Power L2",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    # Positive importing, negative exporting.
    Field("grid_power",                  (169,),               "Grid",      "Power",                                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("grid_ct_power_l1",            (170,),               "Grid",      "CT power L1",                            "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    Field("grid_ct_power_l2",            (171,),               "Grid",      "CT power L2",                            "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    # At the external CT; differs from grid_power when "limit to load" is on.
    Field("grid_power_ct",               (172,),               "Grid",      "Power CT",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("inverter_power_l1",           (173,),               "Inverter",  "Power L1",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    Field("inverter_power_l2",           (174,),               "Inverter",  "Power L2",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    Field("inverter_power",              (175,),               "Inverter",  "Power",                                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("load_power_l1",               (176,),               "Load",      "Power L1",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    Field("load_power_l2",               (177,),               "Load",      "Power L2",                               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high"),
    Field("load_power",                  (178,),               "Load",      "Power",                                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("essential_power_l1",          (179,),               "Load",      "Essential (UPS) power L1",               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "medium"),
    Field("essential_power_l2",          (180,),               "Load",      "Essential (UPS) power L2",               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "medium"),
    # Idle noise of about 12 V when no generator is connected.
    Field("generator_voltage",           (181,),               "Generator", "Generator voltage",                      "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium"),
    Field("battery_temperature",         (182,),               "Battery",   "Temperature",                            "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high"),
    Field("battery_voltage",             (183,),               "Battery",   "Voltage",                                "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high"),
    Field("battery_soc",                 (184,),               "Battery",   "SOC",                                    "%",   1,   0,    False,  0,         100,      "battery",      "measurement",      True,    "high"),
    # Watts, although some maps call 179 a current: equals inverter_power + grid_power_l1 - aux_power.
    Field("essential_power",             (185,),               "Load",      "Essential (UPS) power",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "medium"),
    Field("pv_power_1",                  (186,),               "PV",        "Power 1",                                "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high"),
    Field("pv_power_2",                  (187,),               "PV",        "Power 2",                                "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high"),
    Field("pv_power_3",                  (188,),               "PV",        "Power 3",                                "W",   1,   0,    False,  None,      None,     "power",        "measurement",      False,   "high"),
    # Positive discharging, negative charging; battery_current likewise.
    Field("battery_power",               (190,),               "Battery",   "Power",                                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high"),
    Field("battery_current",             (191,),               "Battery",   "Current",                                "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high"),
    Field("load_frequency",              (192,),               "Load",      "Frequency",                              "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      True,    "high"),
    Field("inverter_frequency",          (193,),               "Inverter",  "Output frequency",                       "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      False,   "high"),
    Field("grid_connected",              (194,),               "Grid",      "Connected",                              "",    1,   0,    False,  None,      None,     "connectivity", "",                 True,    "high"),
    Field("generator_relay",             (195,),               "Generator", "Generator relay",                        "",    1,   0,    False,  None,      None,     "",             "",                 False,   "medium"),
    Field("generator_frequency",         (196,),               "Generator", "Generator frequency",                    "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      False,   "medium"),
    Field("bms_charge_voltage",          (312,),               "BMS",       "Charge Voltage",                         "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high"),
    Field("bms_discharge_voltage",       (313,),               "BMS",       "Discharge Voltage",                      "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      False,   "high"),
    Field("bms_charge_limit_current",    (314,),               "BMS",       "Charge Limit Current",                   "A",   1,   0,    False,  None,      None,     "current",      "measurement",      True,    "high"),
    Field("bms_discharge_limit_current", (315,),               "BMS",       "Discharge Limit Current",                "A",   1,   0,    False,  None,      None,     "current",      "measurement",      True,    "high"),
    Field("bms_soc",                     (316,),               "BMS",       "SOC",                                    "%",   1,   0,    False,  0,         100,      "battery",      "measurement",      True,    "high"),
    Field("bms_voltage",                 (317,),               "BMS",       "Voltage",                                "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high"),
    # Positive charging: the sign opposite to battery_current.
    Field("bms_current",                 (318,),               "BMS",       "Current",                                "A",   1,   0,    True,   None,      None,     "current",      "measurement",      True,    "high"),
    Field("bms_temperature",             (319,),               "BMS",       "Temperature",                            "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high"),
    Field("pv_power",                    (186, 187, 188),      "PV",        "Power",                                  "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high",     summed=True),
)
# fmt: on

FIELDS_BY_ID: dict[str, Field] = {field.id: field for field in FIELDS}
