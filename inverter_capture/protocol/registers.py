"""Every field of single-phase inverters: its registers, meaning, and quantity.

This table is the only place. A field's offset in a report follows from the layout; unit, scale, bounds and Home
Assistant classes follow from the quantity (quantities.py), and the names for people from group and name (fields.py).

Sources: public register maps of Sunsynk and Deye single-phase hybrid inverters, which are not official, checked with
captures. Left out: registers on which no two sources agree, and the inverter's clock (22 to 24), which every report has.
"""

from __future__ import annotations

from inverter_capture.protocol.fields import DEFAULT, HIGH, MEDIUM, OPTIONAL, Derived, DerivedRow, Field, Row, field
from inverter_capture.protocol.quantities import *

LIMITS_KW = {"PV": 40, "Battery": 30, "Inverter": 30, "Generator": 30, "Grid": 60, "Load": 80}
"""Maximum power of each group in kW. The largest inverters of this kind have 16 kW, and 1.3 to 2 times that from panels;
their relay passes 100 A at 240 V, and a house behind the current transformer has at most 200 A. The limits are generous:
too high a limit accepts a small error, too low a limit hides true values."""

# fmt: off
_MEASURED: tuple[Row, ...] = (
    # id                            registers   group        name                                      quantity         publish   sure
    # State 5 is from one source only. The texts of states, warnings and faults are in codes.py.
    ("inverter_state",              (59,),      "Inverter",  "State",                                  STATE,           DEFAULT,  HIGH),
    ("inverter_energy_today",       (60,),      "Inverter",  "Active energy today",                    NET_TODAY,       DEFAULT,  HIGH),
    ("inverter_reactive_energy_today", (61,),   "Inverter",  "Reactive energy today",                  REACTIVE_TODAY,  OPTIONAL, MEDIUM),
    ("inverter_energy_total",       (63, 64),   "Inverter",  "Active energy total",                    NET_TOTAL,       DEFAULT,  HIGH),
    ("pv_production_month",         (65,),      "PV",        "PV energy this month",                   ENERGY_MONTH,    OPTIONAL, HIGH),
    ("load_consumption_month",      (66,),      "Load",      "Load energy this month",                 ENERGY_MONTH,    OPTIONAL, HIGH),
    # Some maps call it grid export; two live systems contradict that.
    ("inverter_energy_month",       (67,),      "Inverter",  "Active energy this month",               NET_MONTH,       OPTIONAL, MEDIUM),
    ("pv_production_year",          (68, 69),   "PV",        "PV energy this year",                    ENERGY_YEAR,     OPTIONAL, HIGH),
    ("battery_charge_today",        (70,),      "Battery",   "Charge today",                           ENERGY_TODAY,    DEFAULT,  HIGH),
    ("battery_discharge_today",     (71,),      "Battery",   "Discharge today",                        ENERGY_TODAY,    DEFAULT,  HIGH),
    ("battery_charge_total",        (72, 73),   "Battery",   "Total charge",                           ENERGY_TOTAL,    DEFAULT,  HIGH),
    ("battery_discharge_total",     (74, 75),   "Battery",   "Total discharge",                        ENERGY_TOTAL,    DEFAULT,  HIGH),
    ("grid_import_today",           (76,),      "Grid",      "Import today",                           ENERGY_TODAY,    DEFAULT,  HIGH),
    ("grid_export_today",           (77,),      "Grid",      "Export today",                           ENERGY_TODAY,    DEFAULT,  HIGH),
    # The words are not adjacent: 79 is the frequency.
    ("grid_import_total",           (78, 80),   "Grid",      "Total import",                           ENERGY_TOTAL,    DEFAULT,  HIGH),
    ("grid_frequency",              (79,),      "Grid",      "Frequency",                              FREQUENCY,       DEFAULT,  HIGH),
    ("grid_export_total",           (81, 82),   "Grid",      "Total export",                           ENERGY_TOTAL,    DEFAULT,  HIGH),
    ("generator_hours_today",       (83,),      "Generator", "Generator running time today",           HOURS_TODAY,     OPTIONAL, MEDIUM),
    ("load_consumption_today",      (84,),      "Load",      "Consumption today",                      ENERGY_TODAY,    DEFAULT,  HIGH),
    ("load_consumption_total",      (85, 86),   "Load",      "Total consumption",                      ENERGY_TOTAL,    DEFAULT,  HIGH),
    ("load_consumption_year",       (87, 88),   "Load",      "Consumption this year",                  ENERGY_YEAR,     OPTIONAL, HIGH),
    ("inverter_temperature_dc",     (90,),      "Inverter",  "DC Temperature",                         TEMPERATURE,     DEFAULT,  HIGH),
    ("inverter_temperature_ac",     (91,),      "Inverter",  "AC Temperature",                         TEMPERATURE,     DEFAULT,  HIGH),
    # Some maps read 95 as an environment temperature, which then shows -100.
    ("generator_energy_total",      (92, 95),   "Generator", "Generator energy total",                 ENERGY_TOTAL,    OPTIONAL, MEDIUM),
    ("sd_status",                   (94,),      "Inverter",  "SD card status",                         STATE,           OPTIONAL, HIGH),
    ("pv_production_total",         (96, 97),   "PV",        "Total production",                       ENERGY_TOTAL,    DEFAULT,  HIGH),
    # Some maps call it grid export; two live systems contradict that.
    ("inverter_energy_year",        (98, 99),   "Inverter",  "Active energy this year",                NET_YEAR,        OPTIONAL, MEDIUM),
    ("inverter_warnings",           (101, 102), "Inverter",  "Warnings",                               STATE,           DEFAULT,  HIGH),
    ("inverter_faults",             (103, 104, 105, 106), "Inverter", "Faults",                        STATE,           DEFAULT,  HIGH),
    # As configured or as the BMS reports it.
    ("battery_capacity",            (107,),     "Battery",   "Capacity",                               CAPACITY,        DEFAULT,  HIGH),
    ("pv_production_today",         (108,),     "PV",        "Production today",                       ENERGY_TODAY,    DEFAULT,  HIGH),
    ("pv_voltage_1",                (109,),     "PV",        "Voltage 1",                              PV_VOLTAGE,      DEFAULT,  HIGH),
    ("pv_current_1",                (110,),     "PV",        "Current 1",                              PV_CURRENT,      DEFAULT,  HIGH),
    ("pv_voltage_2",                (111,),     "PV",        "Voltage 2",                              PV_VOLTAGE,      DEFAULT,  HIGH),
    ("pv_current_2",                (112,),     "PV",        "Current 2",                              PV_CURRENT,      DEFAULT,  HIGH),
    ("pv_voltage_3",                (113,),     "PV",        "Voltage 3",                              PV_VOLTAGE,      OPTIONAL, HIGH),
    ("pv_current_3",                (114,),     "PV",        "Current 3",                              PV_CURRENT,      OPTIONAL, HIGH),
    ("pv_voltage_4",                (115,),     "PV",        "Voltage 4",                              PV_VOLTAGE,      OPTIONAL, MEDIUM),
    ("pv_current_4",                (116,),     "PV",        "Current 4",                              PV_CURRENT,      OPTIONAL, MEDIUM),
    ("grid_voltage",                (150,),     "Grid",      "Voltage",                                AC_VOLTAGE,      DEFAULT,  HIGH),
    ("grid_voltage_l2",             (151,),     "Grid",      "Voltage L2",                             AC_VOLTAGE,      OPTIONAL, HIGH),
    ("grid_voltage_l1_l2",          (152,),     "Grid",      "Voltage L1-L2",                          AC_VOLTAGE,      OPTIONAL, HIGH),
    # One map calls it load voltage.
    ("inverter_voltage",            (154,),     "Inverter",  "Output voltage",                         AC_VOLTAGE,      DEFAULT,  HIGH),
    ("inverter_voltage_l2",         (155,),     "Inverter",  "Output voltage L2",                      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("inverter_voltage_l1_l2",      (156,),     "Inverter",  "Output voltage L1-L2",                   AC_VOLTAGE,      OPTIONAL, HIGH),
    # On one live system 2 % wrong: not calibrated.
    ("load_voltage",                (157,),     "Load",      "Load voltage",                           AC_VOLTAGE,      OPTIONAL, MEDIUM),
    ("load_voltage_l2",             (158,),     "Load",      "Load voltage L2",                        AC_VOLTAGE,      OPTIONAL, MEDIUM),
    ("grid_current",                (160,),     "Grid",      "Current",                                CURRENT,         DEFAULT,  HIGH),
    ("grid_current_l2",             (161,),     "Grid",      "Current L2",                             CURRENT,         OPTIONAL, HIGH),
    ("grid_ct_current",             (162,),     "Grid",      "CT current",                             CURRENT,         OPTIONAL, HIGH),
    ("grid_ct_current_l2",          (163,),     "Grid",      "CT current L2",                          CURRENT,         OPTIONAL, HIGH),
    # One map calls it load current.
    ("inverter_current",            (164,),     "Inverter",  "Output current",                         CURRENT,         DEFAULT,  HIGH),
    ("inverter_current_l2",         (165,),     "Inverter",  "Output current L2",                      CURRENT,         OPTIONAL, HIGH),
    # The generator, smart-load or micro-inverter port.
    ("aux_power",                   (166,),     "Aux",       "Aux / generator / micro-inverter power", POWER,           DEFAULT,  HIGH),
    # At the inverter's grid port.
    ("grid_power_l1",               (167,),     "Grid",      "Power L1 (inverter grid port)",          GRID_POWER,      DEFAULT,  HIGH),
    ("grid_power_l2",               (168,),     "Grid",      "Power L2",                               GRID_POWER,      OPTIONAL, HIGH),
    # Positive importing, negative exporting.
    ("grid_power",                  (169,),     "Grid",      "Power",                                  GRID_POWER_SUM,  DEFAULT,  HIGH),
    ("grid_ct_power_l1",            (170,),     "Grid",      "CT power L1",                            GRID_POWER,      OPTIONAL, HIGH),
    ("grid_ct_power_l2",            (171,),     "Grid",      "CT power L2",                            GRID_POWER,      OPTIONAL, HIGH),
    # At the external CT; differs from grid_power when "limit to load" is on.
    ("grid_power_ct",               (172,),     "Grid",      "Power CT",                               GRID_POWER_SUM,  DEFAULT,  HIGH),
    ("inverter_power_l1",           (173,),     "Inverter",  "Power L1",                               POWER,           OPTIONAL, HIGH),
    ("inverter_power_l2",           (174,),     "Inverter",  "Power L2",                               POWER,           OPTIONAL, HIGH),
    ("inverter_power",              (175,),     "Inverter",  "Power",                                  POWER,           DEFAULT,  HIGH),
    ("load_power_l1",               (176,),     "Load",      "Power L1",                               GRID_POWER,      OPTIONAL, HIGH),
    ("load_power_l2",               (177,),     "Load",      "Power L2",                               GRID_POWER,      OPTIONAL, HIGH),
    ("load_power",                  (178,),     "Load",      "Power",                                  GRID_POWER,      DEFAULT,  HIGH),
    ("essential_power_l1",          (179,),     "Load",      "Essential (UPS) power L1",               POWER,           OPTIONAL, MEDIUM),
    ("essential_power_l2",          (180,),     "Load",      "Essential (UPS) power L2",               POWER,           OPTIONAL, MEDIUM),
    # Idle noise of about 12 V when no generator is connected.
    ("generator_voltage",           (181,),     "Generator", "Generator voltage",                      AC_VOLTAGE,      OPTIONAL, MEDIUM),
    ("battery_temperature",         (182,),     "Battery",   "Temperature",                            TEMPERATURE,     DEFAULT,  HIGH),
    ("battery_voltage",             (183,),     "Battery",   "Voltage",                                BATTERY_VOLTAGE, DEFAULT,  HIGH),
    ("battery_soc",                 (184,),     "Battery",   "SOC",                                    SOC,             DEFAULT,  HIGH),
    # Watts, although some maps call 179 a current: equals inverter_power + grid_power_l1 - aux_power.
    ("essential_power",             (185,),     "Load",      "Essential (UPS) power",                  POWER,           DEFAULT,  MEDIUM),
    ("pv_power_1",                  (186,),     "PV",        "Power 1",                                PV_POWER,        DEFAULT,  HIGH),
    ("pv_power_2",                  (187,),     "PV",        "Power 2",                                PV_POWER,        DEFAULT,  HIGH),
    ("pv_power_3",                  (188,),     "PV",        "Power 3",                                PV_POWER,        OPTIONAL, HIGH),
    ("pv_power_4",                  (189,),     "PV",        "Power 4",                                PV_POWER,        OPTIONAL, MEDIUM),
    # Positive discharging, negative charging; battery_current likewise.
    ("battery_power",               (190,),     "Battery",   "Power",                                  POWER,           DEFAULT,  HIGH),
    ("battery_current",             (191,),     "Battery",   "Current",                                BATTERY_CURRENT, DEFAULT,  HIGH),
    ("load_frequency",              (192,),     "Load",      "Frequency",                              FREQUENCY,       DEFAULT,  HIGH),
    ("inverter_frequency",          (193,),     "Inverter",  "Output frequency",                       FREQUENCY,       OPTIONAL, HIGH),
    ("grid_connected",              (194,),     "Grid",      "Connected",                              CONNECTED,       DEFAULT,  HIGH),
    ("generator_relay",             (195,),     "Generator", "Generator relay",                        CODE,            OPTIONAL, MEDIUM),
    ("generator_frequency",         (196,),     "Generator", "Generator frequency",                    FREQUENCY,       OPTIONAL, MEDIUM),
    ("bms_charge_voltage",          (312,),     "BMS",       "Charge Voltage",                         BATTERY_VOLTAGE, DEFAULT,  HIGH),
    ("bms_discharge_voltage",       (313,),     "BMS",       "Discharge Voltage",                      BATTERY_VOLTAGE, OPTIONAL, HIGH),
    ("bms_charge_limit_current",    (314,),     "BMS",       "Charge Limit Current",                   CURRENT_LIMIT,   DEFAULT,  HIGH),
    ("bms_discharge_limit_current", (315,),     "BMS",       "Discharge Limit Current",                CURRENT_LIMIT,   DEFAULT,  HIGH),
    ("bms_soc",                     (316,),     "BMS",       "SOC",                                    SOC,             DEFAULT,  HIGH),
    ("bms_voltage",                 (317,),     "BMS",       "Voltage",                                BATTERY_VOLTAGE, DEFAULT,  HIGH),
    # Positive charging: the sign opposite to battery_current.
    ("bms_current",                 (318,),     "BMS",       "Current",                                BMS_CURRENT,     DEFAULT,  HIGH),
    ("bms_temperature",             (319,),     "BMS",       "Temperature",                            TEMPERATURE,     DEFAULT,  HIGH),
)

_DERIVED: tuple[DerivedRow, ...] = (
    # id                   registers group   name                   quantity    publish  sure  from
    ("pv_power",           (),       "PV",   "Power",               PV_POWER,   DEFAULT, HIGH, Derived(("pv_power_1", "pv_power_2", "pv_power_3", "pv_power_4"))),
    # Consumption between meter and inverter: power at the current transformer minus power at the inverter's grid port.
    ("nonessential_power", (),       "Load", "Non-essential power", REST_POWER, DEFAULT, HIGH,
     Derived(("grid_power_ct", "grid_power_l1"), rest=True, unless_zero=("grid_power_ct", "grid_ct_current"))),
)

# Mostly settings. Usual reports have 13, 16, 17, 54 and 204, newer ones also 244; others depend on the poll map.
_MORE: tuple[Row, ...] = (
    # id                               registers  group       name                                 quantity         publish   sure
    # Shown as hexadecimal: 13192 is 3388.
    ("firmware_main",                  (13,),     "Info",     "Control board firmware",            CODE,            OPTIONAL, HIGH),
    ("firmware_comm",                  (14,),     "Info",     "Communication board firmware",      CODE,            OPTIONAL, HIGH),
    ("safety_type",                    (15,),     "Info",     "Safety type",                       CODE,            OPTIONAL, MEDIUM),
    ("rated_power",                    (16, 17),  "Info",     "Rated power",                       RATED_POWER,     OPTIONAL, HIGH),
    ("mppt_count",                     (18,),     "Info",     "MPPT count",                        BITS_8_11,       OPTIONAL, HIGH),
    ("remote_lock",                    (20,),     "Settings", "Remote lock",                       CODE,            OPTIONAL, MEDIUM),
    ("self_check_time",                (21,),     "Settings", "Self-check time",                   SECONDS,         OPTIONAL, HIGH),
    ("insulation_min",                 (25,),     "Settings", "Minimum insulation resistance",     INSULATION,      OPTIONAL, MEDIUM),
    ("dc_voltage_limit",               (26,),     "Settings", "DC voltage limit",                  SET_VOLTAGE,     OPTIONAL, MEDIUM),
    ("grid_voltage_upper",             (27,),     "Settings", "Grid voltage upper limit",          SET_VOLTAGE,     OPTIONAL, MEDIUM),
    ("grid_voltage_lower",             (28,),     "Settings", "Grid voltage lower limit",          SET_VOLTAGE,     OPTIONAL, MEDIUM),
    ("grid_frequency_upper",           (29,),     "Settings", "Grid frequency upper limit",        SET_FREQUENCY,   OPTIONAL, MEDIUM),
    ("grid_frequency_lower",           (30,),     "Settings", "Grid frequency lower limit",        SET_FREQUENCY,   OPTIONAL, MEDIUM),
    ("grid_current_limit",             (31,),     "Settings", "Grid current limit",                GRID_CURRENT,    OPTIONAL, MEDIUM),
    ("start_voltage_upper",            (32,),     "Settings", "Starting voltage upper limit",      SET_VOLTAGE,     OPTIONAL, MEDIUM),
    ("start_voltage_lower",            (33,),     "Settings", "Starting voltage lower limit",      SET_VOLTAGE,     OPTIONAL, MEDIUM),
    ("over_frequency_start",           (34,),     "Settings", "Over-frequency derating start",     SET_FREQUENCY,   OPTIONAL, MEDIUM),
    ("over_frequency_rate",            (35,),     "Settings", "Over-frequency derating",           RATE,            OPTIONAL, MEDIUM),
    ("active_power_regulation",        (40,),     "Settings", "Active power regulation",           REGULATION,      OPTIONAL, MEDIUM),
    ("inverter_enabled",               (43,),     "Settings", "Inverter enabled",                  CODE,            OPTIONAL, HIGH),
    ("island_protection",              (46,),     "Settings", "Island protection",                 CODE,            OPTIONAL, MEDIUM),
    ("gfdi_enabled",                   (48,),     "Settings", "GFDI",                              CODE,            OPTIONAL, MEDIUM),
    ("rcd_enabled",                    (49,),     "Settings", "RCD",                               CODE,            OPTIONAL, MEDIUM),
    ("riso_enabled",                   (50,),     "Settings", "Insulation check",                  CODE,            OPTIONAL, MEDIUM),
    ("grid_standard_code",             (51,),     "Settings", "Grid standard",                     CODE,            OPTIONAL, MEDIUM),
    ("max_solar_power",                (53,),     "Settings", "Maximum solar power",               SET_POWER,       OPTIONAL, HIGH),
    ("eeprom_init",                    (54,),     "Info",     "EEPROM initialise",                 CODE,            OPTIONAL, HIGH),
    ("limiter_enabled",                (56,),     "Settings", "Limiter",                           CODE,            OPTIONAL, MEDIUM),
    ("battery_control_mode",           (200,),    "Settings", "Battery control mode",              CODE,            OPTIONAL, HIGH),
    ("battery_equalization_voltage",   (201,),    "Settings", "Battery equalization voltage",      SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_absorption_voltage",     (202,),    "Settings", "Battery absorption voltage",        SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_float_voltage",          (203,),    "Settings", "Battery float voltage",             SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_capacity_setting",       (204,),    "Settings", "Battery capacity (set)",            SET_CAPACITY,    OPTIONAL, HIGH),
    ("battery_equalization_days",      (207,),    "Settings", "Battery equalization interval",     DAYS,            OPTIONAL, HIGH),
    ("battery_equalization_hours",     (208,),    "Settings", "Battery equalization time",         HALF_HOURS,      OPTIONAL, HIGH),
    ("battery_temperature_compensation", (209,),  "Settings", "Battery temperature compensation",  COMPENSATION,    OPTIONAL, HIGH),
    ("battery_max_charge_current",     (210,),    "Settings", "Battery maximum charge current",    SET_CURRENT,     OPTIONAL, HIGH),
    ("battery_max_discharge_current",  (211,),    "Settings", "Battery maximum discharge current", SET_CURRENT,     OPTIONAL, HIGH),
    ("battery_operation_mode",         (213,),    "Settings", "Battery operation mode",            CODE,            OPTIONAL, HIGH),
    ("battery_wake_up",                (214,),    "Settings", "Battery wake-up",                   CODE,            OPTIONAL, MEDIUM),
    ("battery_resistance",             (215,),    "Settings", "Battery resistance",                RESISTANCE,      OPTIONAL, HIGH),
    ("battery_charge_efficiency",      (216,),    "Settings", "Battery charge efficiency",         EFFICIENCY,      OPTIONAL, HIGH),
    ("battery_shutdown_soc",           (217,),    "Settings", "Battery shutdown SOC",              PERCENT,         OPTIONAL, HIGH),
    ("battery_restart_soc",            (218,),    "Settings", "Battery restart SOC",               PERCENT,         OPTIONAL, HIGH),
    ("battery_low_soc",                (219,),    "Settings", "Battery low SOC",                   PERCENT,         OPTIONAL, HIGH),
    ("battery_shutdown_voltage",       (220,),    "Settings", "Battery shutdown voltage",          SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_restart_voltage",        (221,),    "Settings", "Battery restart voltage",           SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_low_voltage",            (222,),    "Settings", "Battery low voltage",               SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("generator_max_run_time",         (223,),    "Settings", "Generator maximum run time",        HOURS,           OPTIONAL, HIGH),
    ("generator_cooling_time",         (224,),    "Settings", "Generator cooling time",            HOURS,           OPTIONAL, HIGH),
    ("generator_charge_start_voltage", (225,),    "Settings", "Generator charge start voltage",    SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("generator_charge_start_soc",     (226,),    "Settings", "Generator charge start SOC",        PERCENT,         OPTIONAL, HIGH),
    ("generator_charge_current",       (227,),    "Settings", "Generator charge current",          SET_CURRENT,     OPTIONAL, HIGH),
    ("grid_charge_start_voltage",      (228,),    "Settings", "Grid charge start voltage",         SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("grid_charge_start_soc",          (229,),    "Settings", "Grid charge start SOC",             PERCENT,         OPTIONAL, HIGH),
    ("grid_charge_current",            (230,),    "Settings", "Grid charge current",               SET_CURRENT,     OPTIONAL, HIGH),
    ("generator_charge_enabled",       (231,),    "Settings", "Generator charging",                CODE,            OPTIONAL, HIGH),
    ("grid_charge_enabled",            (232,),    "Settings", "Grid charging",                     BIT_0,           OPTIONAL, HIGH),
    ("solar_as_psu",                   (233,),    "Settings", "Solar input as power supply",       CODE,            OPTIONAL, MEDIUM),
    ("generator_force",                (234,),    "Settings", "Force generator as load",           CODE,            OPTIONAL, MEDIUM),
    # Sources differ on what 0 and 2 mean, so it stays a number.
    ("aux_port_mode",                  (235,),    "Settings", "AUX port mode",                     CODE,            OPTIONAL, HIGH),
    ("smart_load_off_voltage",         (236,),    "Settings", "Smart load off voltage",            SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("smart_load_off_soc",             (237,),    "Settings", "Smart load off SOC",                PERCENT,         OPTIONAL, HIGH),
    ("smart_load_on_voltage",          (238,),    "Settings", "Smart load on voltage",             SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("smart_load_on_soc",              (239,),    "Settings", "Smart load on SOC",                 PERCENT,         OPTIONAL, HIGH),
    ("generator_start_min_pv",         (241,),    "Settings", "Minimum PV power for generator",    LEAST_PV_POWER,  OPTIONAL, HIGH),
    ("charging_signal",                (242,),    "Settings", "Charging signal",                   CODE,            OPTIONAL, HIGH),
    ("priority_load",                  (243,),    "Settings", "Energy priority",                   BIT_0,           OPTIONAL, HIGH),
    ("work_mode",                      (244,),    "Settings", "Work mode",                         CODE,            OPTIONAL, HIGH),
    ("max_sell_power",                 (245,),    "Settings", "Maximum sell power",                SET_POWER,       OPTIONAL, HIGH),
    ("ct_direction",                   (246,),    "Settings", "CT direction",                      CODE,            OPTIONAL, MEDIUM),
    ("solar_export",                   (247,),    "Settings", "Solar export",                      BIT_0,           OPTIONAL, HIGH),
    ("use_timer",                      (248,),    "Settings", "Use timer",                         BIT_0,           OPTIONAL, HIGH),
    # Hours * 100 + minutes.
    ("prog1_time",                     (250,),    "Program",  "Program 1 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog2_time",                     (251,),    "Program",  "Program 2 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog3_time",                     (252,),    "Program",  "Program 3 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog4_time",                     (253,),    "Program",  "Program 4 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog5_time",                     (254,),    "Program",  "Program 5 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog6_time",                     (255,),    "Program",  "Program 6 time",                    CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog1_power",                    (256,),    "Program",  "Program 1 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog2_power",                    (257,),    "Program",  "Program 2 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog3_power",                    (258,),    "Program",  "Program 3 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog4_power",                    (259,),    "Program",  "Program 4 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog5_power",                    (260,),    "Program",  "Program 5 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog6_power",                    (261,),    "Program",  "Program 6 power",                   SET_POWER,       OPTIONAL, HIGH),
    ("prog1_voltage",                  (262,),    "Program",  "Program 1 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog2_voltage",                  (263,),    "Program",  "Program 2 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog3_voltage",                  (264,),    "Program",  "Program 3 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog4_voltage",                  (265,),    "Program",  "Program 4 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog5_voltage",                  (266,),    "Program",  "Program 5 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog6_voltage",                  (267,),    "Program",  "Program 6 voltage",                 SET_LV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog1_soc",                      (268,),    "Program",  "Program 1 SOC",                     PERCENT,         OPTIONAL, HIGH),
    ("prog2_soc",                      (269,),    "Program",  "Program 2 SOC",                     PERCENT,         OPTIONAL, HIGH),
    ("prog3_soc",                      (270,),    "Program",  "Program 3 SOC",                     PERCENT,         OPTIONAL, HIGH),
    ("prog4_soc",                      (271,),    "Program",  "Program 4 SOC",                     PERCENT,         OPTIONAL, HIGH),
    ("prog5_soc",                      (272,),    "Program",  "Program 5 SOC",                     PERCENT,         OPTIONAL, HIGH),
    ("prog6_soc",                      (273,),    "Program",  "Program 6 SOC",                     PERCENT,         OPTIONAL, HIGH),
    # From 1 the grid, 2 the generator, 3 both.
    ("prog1_charge",                   (274,),    "Program",  "Program 1 charging",                BITS_0_1,        OPTIONAL, HIGH),
    ("prog2_charge",                   (275,),    "Program",  "Program 2 charging",                BITS_0_1,        OPTIONAL, HIGH),
    ("prog3_charge",                   (276,),    "Program",  "Program 3 charging",                BITS_0_1,        OPTIONAL, HIGH),
    ("prog4_charge",                   (277,),    "Program",  "Program 4 charging",                BITS_0_1,        OPTIONAL, HIGH),
    ("prog5_charge",                   (278,),    "Program",  "Program 5 charging",                BITS_0_1,        OPTIONAL, HIGH),
    ("prog6_charge",                   (279,),    "Program",  "Program 6 charging",                BITS_0_1,        OPTIONAL, HIGH),
    # Nibbles: 0 micro-inverter export cut-off, 1 generator peak shaving, 2 grid peak shaving, 3 grid always on.
    ("peak_shaving_flags",             (280,),    "Settings", "Special functions",                 CODE,            OPTIONAL, HIGH),
    ("grid_reconnect_time",            (282,),    "Settings", "Grid reconnection time",            SECONDS,         OPTIONAL, HIGH),
    ("arc_fault_mode",                 (283,),    "Settings", "Arc fault detection",               CODE,            OPTIONAL, MEDIUM),
    ("grid_standard",                  (284,),    "Settings", "Grid standard",                     CODE,            OPTIONAL, MEDIUM),
    ("grid_frequency_setting",         (285,),    "Settings", "Grid frequency (set)",              CODE,            OPTIONAL, HIGH),
    ("grid_type",                      (286,),    "Settings", "Grid type",                         CODE,            OPTIONAL, MEDIUM),
    ("grid_voltage_limit_high",        (287,),    "Settings", "Grid voltage limit high",           SET_AC_VOLTAGE,  OPTIONAL, HIGH),
    ("grid_voltage_limit_low",         (288,),    "Settings", "Grid voltage limit low",            SET_AC_VOLTAGE,  OPTIONAL, HIGH),
    ("grid_frequency_limit_high",      (289,),    "Settings", "Grid frequency limit high",         FREQUENCY_LIMIT, OPTIONAL, HIGH),
    ("grid_frequency_limit_low",       (290,),    "Settings", "Grid frequency limit low",          FREQUENCY_LIMIT, OPTIONAL, HIGH),
    ("generator_on_grid_input",        (291,),    "Settings", "Generator on the grid input",       CODE,            OPTIONAL, HIGH),
    ("generator_peak_shaving_power",   (292,),    "Settings", "Generator peak shaving power",      PEAK_POWER,      OPTIONAL, HIGH),
    ("grid_peak_shaving_power",        (293,),    "Settings", "Grid peak shaving power",           PEAK_POWER,      OPTIONAL, HIGH),
    ("smart_load_delay",               (294,),    "Settings", "Smart load delay",                  MINUTES,         OPTIONAL, MEDIUM),
    ("output_power_factor",            (295,),    "Settings", "Output power factor (set)",         SET_FACTOR,      OPTIONAL, MEDIUM),
    ("inverter_variant",               (296,),    "Info",     "Inverter variant",                  CODE,            OPTIONAL, MEDIUM),
    ("bms_max_charge_current",         (320,),    "BMS",      "Maximum charge current",            BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms_max_discharge_current",      (321,),    "BMS",      "Maximum discharge current",         BMS_LIMIT,       OPTIONAL, HIGH),
    # Flags whose meaning depends on the battery.
    ("bms_alarm",                      (322,),    "BMS",      "Alarm flags",                       CODE,            OPTIONAL, HIGH),
    ("bms_fault",                      (323,),    "BMS",      "Fault flags",                       CODE,            OPTIONAL, HIGH),
    ("bms_flags",                      (324,),    "BMS",      "Other flags",                       CODE,            OPTIONAL, HIGH),
    ("bms_protocol",                   (325,),    "BMS",      "Protocol",                          CODE,            OPTIONAL, HIGH),
    ("special_flags",                  (326,),    "Settings", "Special functions 2",               CODE,            OPTIONAL, MEDIUM),
    ("comm_board_flags",               (330,),    "Settings", "Communication board settings",      CODE,            OPTIONAL, MEDIUM),
    # Bit 0 enabled, bit 1 master, bits 8-9 the phase, bits 10-15 the number.
    ("parallel_config",                (417,),    "Settings", "Parallel operation",                CODE,            OPTIONAL, MEDIUM),
    # Bits 0-4 on phase A, 5-9 on B, 10-14 on C.
    ("parallel_count",                 (418,),    "Settings", "Inverters in parallel",             CODE,            OPTIONAL, MEDIUM),
)
# fmt: on

FIELDS: tuple[Field, ...] = (
    *(field(LIMITS_KW, *row) for row in _MEASURED),
    *(field(LIMITS_KW, *row) for row in _DERIVED),
    *(field(LIMITS_KW, *row) for row in _MORE),
)
