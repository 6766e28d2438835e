"""Every field: which registers it comes from, what it means, and how the world should see it.

All of it stands here and nowhere else. A field's place in a report follows from the report's layout; Home Assistant
classes, units and the names that databases see come from the same row.

Sources: the public register maps of Sunsynk and Deye single-phase hybrid inverters, checked with real captures. Nothing
here is official.
"""

from __future__ import annotations

from typing import NamedTuple


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
    """What databases call it, within the group."""
    title: str
    """What people call it, who see it below the inverter's name."""
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
    period: str
    """What the field counts, for the guard: energy or hours of a "day", "month" or "year" by the inverter's clock, or
    in "total". Empty: it counts nothing."""
    limit: int | None
    """The most that a counter can rise in an hour, and that another field can change from one reading to the next. What
    is beyond must be confirmed. None: anything can be."""
    summed: bool = False
    """The registers are values of their own whose sum this field is."""
    net: bool = False
    """A counter of two directions, which can also fall."""

    @property
    def absent_when_zero(self) -> bool:
        """Whether raw 0 means that the sensor is not fitted: so it is with temperatures."""
        return self.device_class == "temperature"


# What counters cannot exceed, in kilowatts. The largest inverters of this kind give 16 kW and take 1.3 to 2 times that
# from panels; their relay passes 100 A at 240 V, and a house behind the current transformer has at most 200 A. Generous:
# a limit that is too high lets a small error pass, one that is too low hides true values.
PV_KW = 40
BATTERY_KW = 30
INVERTER_KW = 30
GENERATOR_KW = 30
GRID_KW = 60
LOAD_KW = 80

# fmt: off
FIELDS: tuple[Field, ...] = (
    #     id                             registers             group        name                                      title                             unit   div  bias  signed  min        max       device_class    state_class         default  confidence  period   limit
    # State 5 is from one source only; the states, warnings and faults have their texts in codes.py.
    Field("inverter_state",              (59,),                "Inverter",  "State",                                  "State",                          "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high",    "",      None),
    Field("inverter_energy_today",       (60,),                "Inverter",  "Active energy today",                    "Active energy today",            "kWh", 10,  0,    True,   -1000,     1000,     "energy",       "total",            True,    "high",    "day",   INVERTER_KW, net=True),
    Field("inverter_energy_total",       (63, 64),             "Inverter",  "Active energy total",                    "Active energy total",            "kWh", 10,  0,    True,   -10000000, 10000000, "energy",       "total",            True,    "high",    "total", INVERTER_KW, net=True),
    Field("pv_production_month",         (65,),                "PV",        "PV energy this month",                   "PV energy this month",           "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high",    "month", PV_KW),
    Field("load_consumption_month",      (66,),                "Load",      "Load energy this month",                 "Load energy this month",         "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high",    "month", LOAD_KW),
    # Some maps call it grid export; two live systems contradict that.
    Field("inverter_energy_month",       (67,),                "Inverter",  "Active energy this month",               "Active energy this month",       "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium",  "month", INVERTER_KW, net=True),
    Field("pv_production_year",          (68, 69),             "PV",        "PV energy this year",                    "PV energy this year",            "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high",    "year",  PV_KW),
    Field("battery_charge_today",        (70,),                "Battery",   "Charge today",                           "Battery charge energy today",    "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   BATTERY_KW),
    Field("battery_discharge_today",     (71,),                "Battery",   "Discharge today",                        "Battery discharge energy today", "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   BATTERY_KW),
    Field("battery_charge_total",        (72, 73),             "Battery",   "Total charge",                           "Battery charge energy total",    "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", BATTERY_KW),
    Field("battery_discharge_total",     (74, 75),             "Battery",   "Total discharge",                        "Battery discharge energy total", "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", BATTERY_KW),
    Field("grid_import_today",           (76,),                "Grid",      "Import today",                           "Grid import energy today",       "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   GRID_KW),
    Field("grid_export_today",           (77,),                "Grid",      "Export today",                           "Grid export energy today",       "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   GRID_KW),
    # The words are not adjacent: 79 is the frequency.
    Field("grid_import_total",           (78, 80),             "Grid",      "Total import",                           "Grid import energy total",       "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", GRID_KW),
    Field("grid_frequency",              (79,),                "Grid",      "Frequency",                              "Grid frequency",                 "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      True,    "high",    "",      None),
    Field("grid_export_total",           (81, 82),             "Grid",      "Total export",                           "Grid export energy total",       "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", GRID_KW),
    Field("generator_hours_today",       (83,),                "Generator", "Generator running time today",           "Generator running time today",   "h",   10,  0,    False,  0,         24,       "duration",     "total_increasing", False,   "medium",  "day",   2),
    Field("load_consumption_today",      (84,),                "Load",      "Consumption today",                      "Load energy today",              "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   LOAD_KW),
    Field("load_consumption_total",      (85, 86),             "Load",      "Total consumption",                      "Load energy total",              "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", LOAD_KW),
    Field("load_consumption_year",       (87, 88),             "Load",      "Consumption this year",                  "Load energy this year",          "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "high",    "year",  LOAD_KW),
    Field("inverter_temperature_dc",     (90,),                "Inverter",  "DC Temperature",                         "DC temperature",                 "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high",    "",      None),
    Field("inverter_temperature_ac",     (91,),                "Inverter",  "AC Temperature",                         "AC temperature",                 "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high",    "",      None),
    # Some maps read 95 as an environment temperature, which then shows -100.
    Field("generator_energy_total",      (92, 95),             "Generator", "Generator energy total",                 "Generator energy total",         "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium",  "total", GENERATOR_KW),
    Field("sd_status",                   (94,),                "Inverter",  "SD card status",                         "SD card",                        "",    1,   0,    False,  None,      None,     "enum",         "",                 False,   "high",    "",      None),
    Field("pv_production_total",         (96, 97),             "PV",        "Total production",                       "PV energy total",                "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", True,    "high",    "total", PV_KW),
    # Some maps call it grid export; two live systems contradict that.
    Field("inverter_energy_year",        (98, 99),             "Inverter",  "Active energy this year",                "Active energy this year",        "kWh", 10,  0,    False,  0,         10000000, "energy",       "total_increasing", False,   "medium",  "year",  INVERTER_KW, net=True),
    Field("inverter_warnings",           (101, 102),           "Inverter",  "Warnings",                               "Warnings",                       "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high",    "",      None),
    Field("inverter_faults",             (103, 104, 105, 106), "Inverter",  "Faults",                                 "Faults",                         "",    1,   0,    False,  None,      None,     "enum",         "",                 True,    "high",    "",      None),
    # As configured or as the BMS reports it.
    Field("battery_capacity",            (107,),               "Battery",   "Capacity",                               "Battery capacity",               "Ah",  1,   0,    False,  None,      None,     "",             "measurement",      True,    "high",    "",      5000),
    Field("pv_production_today",         (108,),               "PV",        "Production today",                       "PV energy today",                "kWh", 10,  0,    False,  0,         1000,     "energy",       "total_increasing", True,    "high",    "day",   PV_KW),
    Field("pv_voltage_1",                (109,),               "PV",        "Voltage 1",                              "PV voltage 1",                   "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      True,    "high",    "",      None),
    Field("pv_current_1",                (110,),               "PV",        "Current 1",                              "PV current 1",                   "A",   10,  0,    False,  None,      None,     "current",      "measurement",      True,    "high",    "",      200),
    Field("pv_voltage_2",                (111,),               "PV",        "Voltage 2",                              "PV voltage 2",                   "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      True,    "high",    "",      None),
    Field("pv_current_2",                (112,),               "PV",        "Current 2",                              "PV current 2",                   "A",   10,  0,    False,  None,      None,     "current",      "measurement",      True,    "high",    "",      200),
    Field("pv_voltage_3",                (113,),               "PV",        "Voltage 3",                              "PV voltage 3",                   "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      False,   "high",    "",      None),
    Field("pv_current_3",                (114,),               "PV",        "Current 3",                              "PV current 3",                   "A",   10,  0,    False,  None,      None,     "current",      "measurement",      False,   "high",    "",      200),
    Field("pv_voltage_4",                (115,),               "PV",        "Voltage 4",                              "PV voltage 4",                   "V",   10,  0,    False,  0,         1000,     "voltage",      "measurement",      False,   "medium",  "",      None),
    Field("pv_current_4",                (116,),               "PV",        "Current 4",                              "PV current 4",                   "A",   10,  0,    False,  None,      None,     "current",      "measurement",      False,   "medium",  "",      200),
    Field("grid_voltage",                (150,),               "Grid",      "Voltage",                                "Grid voltage",                   "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      True,    "high",    "",      None),
    Field("grid_voltage_l2",             (151,),               "Grid",      "Voltage L2",                             "Grid voltage L2",                "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high",    "",      None),
    Field("grid_voltage_l1_l2",          (152,),               "Grid",      "Voltage L1-L2",                          "Grid voltage L1-L2",             "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high",    "",      None),
    # One map calls it load voltage.
    Field("inverter_voltage",            (154,),               "Inverter",  "Output voltage",                         "Output voltage",                 "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      True,    "high",    "",      None),
    Field("inverter_voltage_l2",         (155,),               "Inverter",  "Output voltage L2",                      "Output voltage L2",              "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high",    "",      None),
    Field("inverter_voltage_l1_l2",      (156,),               "Inverter",  "Output voltage L1-L2",                   "Output voltage L1-L2",           "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "high",    "",      None),
    # Seen 2 % off on a live system: uncalibrated.
    Field("load_voltage",                (157,),               "Load",      "Load voltage",                           "Load voltage",                   "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium",  "",      None),
    Field("load_voltage_l2",             (158,),               "Load",      "Load voltage L2",                        "Load voltage L2",                "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium",  "",      None),
    Field("grid_current",                (160,),               "Grid",      "Current",                                "Grid current",                   "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high",    "",      None),
    Field("grid_current_l2",             (161,),               "Grid",      "Current L2",                             "Grid current L2",                "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high",    "",      None),
    Field("grid_ct_current",             (162,),               "Grid",      "CT current",                             "Grid CT current",                "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high",    "",      None),
    Field("grid_ct_current_l2",          (163,),               "Grid",      "CT current L2",                          "Grid CT current L2",             "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high",    "",      None),
    # One map calls it load current.
    Field("inverter_current",            (164,),               "Inverter",  "Output current",                         "Output current",                 "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high",    "",      None),
    Field("inverter_current_l2",         (165,),               "Inverter",  "Output current L2",                      "Output current L2",              "A",   100, 0,    True,   None,      None,     "current",      "measurement",      False,   "high",    "",      None),
    # The generator, smart-load or micro-inverter port.
    Field("aux_power",                   (166,),               "Aux",       "Aux / generator / micro-inverter power", "Auxiliary port power",           "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    # At the inverter's grid port.
    Field("grid_power_l1",               (167,),               "Grid",      "Power L1 (inverter grid port)",          "Grid power L1",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("grid_power_l2",               (168,),               "Grid",      "Power L2",                               "Grid power L2",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    # Positive importing, negative exporting.
    Field("grid_power",                  (169,),               "Grid",      "Power",                                  "Grid power",                     "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("grid_ct_power_l1",            (170,),               "Grid",      "CT power L1",                            "Grid CT power L1",               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    Field("grid_ct_power_l2",            (171,),               "Grid",      "CT power L2",                            "Grid CT power L2",               "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    # At the external CT; differs from grid_power when "limit to load" is on.
    Field("grid_power_ct",               (172,),               "Grid",      "Power CT",                               "Grid CT power",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("inverter_power_l1",           (173,),               "Inverter",  "Power L1",                               "Output power L1",                "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    Field("inverter_power_l2",           (174,),               "Inverter",  "Power L2",                               "Output power L2",                "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    Field("inverter_power",              (175,),               "Inverter",  "Power",                                  "Output power",                   "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("load_power_l1",               (176,),               "Load",      "Power L1",                               "Load power L1",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    Field("load_power_l2",               (177,),               "Load",      "Power L2",                               "Load power L2",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "high",    "",      None),
    Field("load_power",                  (178,),               "Load",      "Power",                                  "Load power",                     "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("essential_power_l1",          (179,),               "Load",      "Essential (UPS) power L1",               "Essential load power L1",        "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "medium",  "",      None),
    Field("essential_power_l2",          (180,),               "Load",      "Essential (UPS) power L2",               "Essential load power L2",        "W",   1,   0,    True,   None,      None,     "power",        "measurement",      False,   "medium",  "",      None),
    # Idle noise of about 12 V when no generator is connected.
    Field("generator_voltage",           (181,),               "Generator", "Generator voltage",                      "Generator voltage",              "V",   10,  0,    False,  0,         500,      "voltage",      "measurement",      False,   "medium",  "",      None),
    Field("battery_temperature",         (182,),               "Battery",   "Temperature",                            "Battery temperature",            "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high",    "",      None),
    Field("battery_voltage",             (183,),               "Battery",   "Voltage",                                "Battery voltage",                "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high",    "",      None),
    Field("battery_soc",                 (184,),               "Battery",   "SOC",                                    "Battery state of charge",        "%",   1,   0,    False,  0,         100,      "battery",      "measurement",      True,    "high",    "",      None),
    # Watts, although some maps call 179 a current: equals inverter_power + grid_power_l1 - aux_power.
    Field("essential_power",             (185,),               "Load",      "Essential (UPS) power",                  "Essential load power",           "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "medium",  "",      None),
    Field("pv_power_1",                  (186,),               "PV",        "Power 1",                                "PV power 1",                     "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high",    "",      1000 * PV_KW),
    Field("pv_power_2",                  (187,),               "PV",        "Power 2",                                "PV power 2",                     "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high",    "",      1000 * PV_KW),
    Field("pv_power_3",                  (188,),               "PV",        "Power 3",                                "PV power 3",                     "W",   1,   0,    False,  None,      None,     "power",        "measurement",      False,   "high",    "",      1000 * PV_KW),
    # Positive discharging, negative charging; battery_current likewise.
    Field("battery_power",               (190,),               "Battery",   "Power",                                  "Battery power",                  "W",   1,   0,    True,   None,      None,     "power",        "measurement",      True,    "high",    "",      None),
    Field("battery_current",             (191,),               "Battery",   "Current",                                "Battery current",                "A",   100, 0,    True,   None,      None,     "current",      "measurement",      True,    "high",    "",      None),
    Field("load_frequency",              (192,),               "Load",      "Frequency",                              "Load frequency",                 "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      True,    "high",    "",      None),
    Field("inverter_frequency",          (193,),               "Inverter",  "Output frequency",                       "Output frequency",               "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      False,   "high",    "",      None),
    Field("grid_connected",              (194,),               "Grid",      "Connected",                              "Grid",                           "",    1,   0,    False,  None,      None,     "connectivity", "",                 True,    "high",    "",      None),
    Field("generator_relay",             (195,),               "Generator", "Generator relay",                        "Generator relay",                "",    1,   0,    False,  None,      None,     "",             "",                 False,   "medium",  "",      None),
    Field("generator_frequency",         (196,),               "Generator", "Generator frequency",                    "Generator frequency",            "Hz",  100, 0,    False,  0,         70,       "frequency",    "measurement",      False,   "medium",  "",      None),
    Field("bms_charge_voltage",          (312,),               "BMS",       "Charge Voltage",                         "BMS charge voltage",             "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high",    "",      None),
    Field("bms_discharge_voltage",       (313,),               "BMS",       "Discharge Voltage",                      "BMS discharge voltage",          "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      False,   "high",    "",      None),
    Field("bms_charge_limit_current",    (314,),               "BMS",       "Charge Limit Current",                   "BMS charge current limit",       "A",   1,   0,    False,  None,      None,     "current",      "measurement",      True,    "high",    "",      5000),
    Field("bms_discharge_limit_current", (315,),               "BMS",       "Discharge Limit Current",                "BMS discharge current limit",    "A",   1,   0,    False,  None,      None,     "current",      "measurement",      True,    "high",    "",      5000),
    Field("bms_soc",                     (316,),               "BMS",       "SOC",                                    "BMS state of charge",            "%",   1,   0,    False,  0,         100,      "battery",      "measurement",      True,    "high",    "",      None),
    Field("bms_voltage",                 (317,),               "BMS",       "Voltage",                                "BMS voltage",                    "V",   100, 0,    False,  0,         100,      "voltage",      "measurement",      True,    "high",    "",      None),
    # Positive charging: the sign opposite to battery_current.
    Field("bms_current",                 (318,),               "BMS",       "Current",                                "BMS current",                    "A",   1,   0,    True,   None,      None,     "current",      "measurement",      True,    "high",    "",      None),
    Field("bms_temperature",             (319,),               "BMS",       "Temperature",                            "BMS temperature",                "°C",  10,  -100, False,  -40,       150,      "temperature",  "measurement",      True,    "high",    "",      None),
    Field("pv_power",                    (186, 187, 188),      "PV",        "Power",                                  "PV power",                       "W",   1,   0,    False,  None,      None,     "power",        "measurement",      True,    "high",    "",      1000 * PV_KW, summed=True),
)
# fmt: on

FIELDS_BY_ID: dict[str, Field] = {field.id: field for field in FIELDS}
