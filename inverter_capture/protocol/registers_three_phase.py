"""Every field of three-phase inverters, for low and high voltage: its registers, meaning, and quantities.

The scale of some registers differs between low and high voltage: each row has a quantity for either, None if the field
does not exist there. A field that means the same as one in registers.py has the same id.

Sources: public register maps of Deye and Sunsynk three-phase hybrid inverters. As no report of one is on record, the
table is experimental. Left out: registers on which sources disagree or that only one doubtful source has (second special
functions 179, load currents 647 to 649, load apparent power 654, the second battery's health 255), and the inverter's
clock (62 to 64).
"""

from __future__ import annotations

from collections.abc import Mapping

from inverter_capture.protocol.fields import DEFAULT, HIGH, MEDIUM, OPTIONAL, Derived, DerivedRow, Field, field
from inverter_capture.protocol.quantities import *

LV_LIMITS_KW = {"PV": 60, "Battery": 50, "Inverter": 50, "Generator": 50, "Grid": 100, "Load": 130}
HV_LIMITS_KW = {"PV": 250, "Battery": 200, "Inverter": 200, "Generator": 200, "Grid": 300, "Load": 400}
"""Maximum power of each group in kW, as in registers.py, for inverters of up to 30 and up to 100 kW."""

_PV_POWERS = tuple(f"pv_power_{number}" for number in range(1, 9))

# fmt: off
_MEASURED: tuple[tuple[str, tuple[int, ...], str, str, Quantity | None, Quantity | None, bool, str], ...] = (
    # id                               registers   group        name                                    LV quantity      HV quantity      publish   sure
    ("device_type",                    (0,),       "Info",      "Device type",                          CODE,            CODE,            OPTIONAL, HIGH),
    ("protocol_version",               (2,),       "Info",      "Protocol version",                     CODE,            CODE,            OPTIONAL, HIGH),
    # Shown as hexadecimal: the low word is the hardware family, the high word the release.
    ("firmware_main",                  (14, 15),   "Info",      "Control board firmware",               CODE,            CODE,            OPTIONAL, HIGH),
    ("firmware_comm",                  (16, 17, 18), "Info",    "Communication board firmware",         CODE,            CODE,            OPTIONAL, HIGH),
    ("safety_type",                    (19,),      "Info",      "Safety type",                          CODE,            CODE,            OPTIONAL, MEDIUM),
    ("rated_power",                    (20, 21),   "Info",      "Rated power",                          LV_RATED_POWER,  HV_RATED_POWER,  OPTIONAL, HIGH),
    ("mppt_count",                     (22,),      "Info",      "MPPT count",                           BITS_8_11,       BITS_8_11,       OPTIONAL, HIGH),
    ("model_index",                    (23,),      "Info",      "Model",                                CODE,            CODE,            OPTIONAL, MEDIUM),
    ("self_check_time",                (61,),      "Settings",  "Self-check time",                      SECONDS,         SECONDS,         OPTIONAL, HIGH),
    ("inverter_enabled",               (80,),      "Settings",  "Inverter enabled",                     CODE,            CODE,            OPTIONAL, HIGH),
    ("battery_control_mode",           (98,),      "Settings",  "Battery control mode",                 CODE,            CODE,            OPTIONAL, HIGH),
    ("battery_equalization_voltage",   (99,),      "Settings",  "Battery equalization voltage",         SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("battery_absorption_voltage",     (100,),     "Settings",  "Battery absorption voltage",           SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_float_voltage",          (101,),     "Settings",  "Battery float voltage",                SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("battery_capacity_setting",       (102,),     "Settings",  "Battery capacity (set)",               SET_CAPACITY,    SET_CAPACITY,    OPTIONAL, HIGH),
    ("battery_empty_voltage",          (103,),     "Settings",  "Battery empty voltage",                SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("zero_export_power",              (104,),     "Settings",  "Zero export power",                    LV_ZERO_EXPORT,  HV_ZERO_EXPORT,  OPTIONAL, HIGH),
    ("battery_equalization_days",      (105,),     "Settings",  "Battery equalization interval",        DAYS,            DAYS,            OPTIONAL, HIGH),
    ("battery_equalization_hours",     (106,),     "Settings",  "Battery equalization time",            HALF_HOURS,      HALF_HOURS,      OPTIONAL, HIGH),
    ("battery_temperature_compensation", (107,),   "Settings",  "Battery temperature compensation",     COMPENSATION,    COMPENSATION,    OPTIONAL, HIGH),
    ("battery_max_charge_current",     (108,),     "Settings",  "Battery maximum charge current",       SET_CURRENT,     SET_CURRENT,     OPTIONAL, HIGH),
    ("battery_max_discharge_current",  (109,),     "Settings",  "Battery maximum discharge current",    SET_CURRENT,     SET_CURRENT,     OPTIONAL, HIGH),
    ("batteries_parallel",             (110,),     "Settings",  "Batteries 1 and 2 in parallel",        None,            CODE,            OPTIONAL, HIGH),
    ("battery_operation_mode",         (111,),     "Settings",  "Battery operation mode",               CODE,            CODE,            OPTIONAL, HIGH),
    # Bit 0 is battery 1, bit 8 battery 2; sources differ on whether 1 is on or off.
    ("battery_wake_up",                (112,),     "Settings",  "Battery wake-up",                      CODE,            CODE,            OPTIONAL, MEDIUM),
    ("battery_resistance",             (113,),     "Settings",  "Battery resistance",                   RESISTANCE,      RESISTANCE,      OPTIONAL, HIGH),
    ("battery_charge_efficiency",      (114,),     "Settings",  "Battery charge efficiency",            EFFICIENCY,      EFFICIENCY,      OPTIONAL, HIGH),
    ("battery_shutdown_soc",           (115,),     "Settings",  "Battery shutdown SOC",                 PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("battery_restart_soc",            (116,),     "Settings",  "Battery restart SOC",                  PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("battery_low_soc",                (117,),     "Settings",  "Battery low SOC",                      PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("battery_shutdown_voltage",       (118,),     "Settings",  "Battery shutdown voltage",             SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("battery_restart_voltage",        (119,),     "Settings",  "Battery restart voltage",              SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("battery_low_voltage",            (120,),     "Settings",  "Battery low voltage",                  SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("generator_max_run_time",         (121,),     "Settings",  "Generator maximum run time",           HOURS,           HOURS,           OPTIONAL, HIGH),
    ("generator_cooling_time",         (122,),     "Settings",  "Generator cooling time",               HOURS,           HOURS,           OPTIONAL, HIGH),
    ("generator_charge_start_voltage", (123,),     "Settings",  "Generator charge start voltage",       SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("generator_charge_start_soc",     (124,),     "Settings",  "Generator charge start SOC",           PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("generator_charge_current",       (125,),     "Settings",  "Generator charge current",             SET_CURRENT,     SET_CURRENT,     OPTIONAL, HIGH),
    ("grid_charge_start_voltage",      (126,),     "Settings",  "Grid charge start voltage",            SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("grid_charge_start_soc",          (127,),     "Settings",  "Grid charge start SOC",                PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("grid_charge_current",            (128,),     "Settings",  "Grid charge current",                  SET_CURRENT,     SET_CURRENT,     OPTIONAL, HIGH),
    ("generator_charge_enabled",       (129,),     "Settings",  "Generator charging",                   CODE,            CODE,            OPTIONAL, HIGH),
    ("grid_charge_enabled",            (130,),     "Settings",  "Grid charging",                        CODE,            CODE,            OPTIONAL, HIGH),
    ("ac_couple_frequency_max",        (131,),     "Settings",  "AC couple frequency limit",            COUPLE_LIMIT,    COUPLE_LIMIT,    OPTIONAL, HIGH),
    ("generator_force",                (132,),     "Settings",  "Force generator",                      CODE,            CODE,            OPTIONAL, HIGH),
    ("aux_port_mode",                  (133,),     "Settings",  "AUX port mode",                        CODE,            CODE,            OPTIONAL, HIGH),
    ("smart_load_off_voltage",         (134,),     "Settings",  "Smart load off voltage",               SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("smart_load_off_soc",             (135,),     "Settings",  "Smart load off SOC",                   PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("smart_load_on_voltage",          (136,),     "Settings",  "Smart load on voltage",                SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, MEDIUM),
    ("smart_load_on_soc",              (137,),     "Settings",  "Smart load on SOC",                    PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("grid_voltage_type",              (138,),     "Settings",  "Output voltage level",                 CODE,            CODE,            OPTIONAL, HIGH),
    ("generator_start_min_pv",         (139,),     "Settings",  "Minimum PV power for generator",       LEAST_PV_POWER,  LEAST_PV_POWER,  OPTIONAL, HIGH),
    ("charging_signal",                (140,),     "Settings",  "Charging signal",                      CODE,            CODE,            OPTIONAL, HIGH),
    ("priority_load",                  (141,),     "Settings",  "Energy priority",                      BIT_0,           BIT_0,           OPTIONAL, HIGH),
    ("work_mode",                      (142,),     "Settings",  "Work mode",                            CODE,            CODE,            OPTIONAL, HIGH),
    ("max_sell_power",                 (143,),     "Settings",  "Maximum sell power",                   LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("solar_export",                   (145,),     "Settings",  "Solar export",                         CODE,            CODE,            OPTIONAL, HIGH),
    ("use_timer",                      (146,),     "Settings",  "Use timer",                            BIT_0,           BIT_0,           OPTIONAL, HIGH),
    ("phase_order",                    (147,),     "Settings",  "Grid phase order",                     CODE,            CODE,            OPTIONAL, MEDIUM),
    # Hours * 100 + minutes.
    ("prog1_time",                     (148,),     "Program",   "Program 1 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog2_time",                     (149,),     "Program",   "Program 2 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog3_time",                     (150,),     "Program",   "Program 3 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog4_time",                     (151,),     "Program",   "Program 4 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog5_time",                     (152,),     "Program",   "Program 5 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog6_time",                     (153,),     "Program",   "Program 6 time",                       CLOCK_TIME,      CLOCK_TIME,      OPTIONAL, HIGH),
    ("prog1_power",                    (154,),     "Program",   "Program 1 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog2_power",                    (155,),     "Program",   "Program 2 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog3_power",                    (156,),     "Program",   "Program 3 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog4_power",                    (157,),     "Program",   "Program 4 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog5_power",                    (158,),     "Program",   "Program 5 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog6_power",                    (159,),     "Program",   "Program 6 power",                      LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("prog1_voltage",                  (160,),     "Program",   "Program 1 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog2_voltage",                  (161,),     "Program",   "Program 2 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog3_voltage",                  (162,),     "Program",   "Program 3 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog4_voltage",                  (163,),     "Program",   "Program 4 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog5_voltage",                  (164,),     "Program",   "Program 5 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog6_voltage",                  (165,),     "Program",   "Program 6 voltage",                    SET_LV_VOLTAGE,  SET_HV_VOLTAGE,  OPTIONAL, HIGH),
    ("prog1_soc",                      (166,),     "Program",   "Program 1 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("prog2_soc",                      (167,),     "Program",   "Program 2 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("prog3_soc",                      (168,),     "Program",   "Program 3 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("prog4_soc",                      (169,),     "Program",   "Program 4 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("prog5_soc",                      (170,),     "Program",   "Program 5 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    ("prog6_soc",                      (171,),     "Program",   "Program 6 SOC",                        PERCENT,         PERCENT,         OPTIONAL, HIGH),
    # From 1 the grid, 2 the generator, 3 both.
    ("prog1_charge",                   (172,),     "Program",   "Program 1 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    ("prog2_charge",                   (173,),     "Program",   "Program 2 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    ("prog3_charge",                   (174,),     "Program",   "Program 3 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    ("prog4_charge",                   (175,),     "Program",   "Program 4 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    ("prog5_charge",                   (176,),     "Program",   "Program 5 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    ("prog6_charge",                   (177,),     "Program",   "Program 6 charging",                   BITS_0_1,        BITS_0_1,        OPTIONAL, HIGH),
    # Two bits each, 10 off, 11 on: 0-1 micro-inverter export cut-off, 2-3 generator and 4-5 grid peak shaving, ...
    ("peak_shaving_flags",             (178,),     "Settings",  "Special functions 1",                  CODE,            CODE,            OPTIONAL, HIGH),
    ("grid_reconnect_time",            (180,),     "Settings",  "Grid reconnection time",               SECONDS,         SECONDS,         OPTIONAL, HIGH),
    ("arc_fault_mode",                 (181,),     "Settings",  "Arc fault detection",                  CODE,            CODE,            OPTIONAL, MEDIUM),
    ("grid_standard",                  (182,),     "Settings",  "Grid standard",                        CODE,            CODE,            OPTIONAL, HIGH),
    ("grid_frequency_setting",         (183,),     "Settings",  "Grid frequency (set)",                 CODE,            CODE,            OPTIONAL, HIGH),
    ("grid_type",                      (184,),     "Settings",  "Grid type",                            CODE,            CODE,            OPTIONAL, HIGH),
    ("grid_voltage_limit_high",        (185,),     "Settings",  "Grid voltage limit high",              SET_AC_VOLTAGE,  SET_AC_VOLTAGE,  OPTIONAL, HIGH),
    ("grid_voltage_limit_low",         (186,),     "Settings",  "Grid voltage limit low",               SET_AC_VOLTAGE,  SET_AC_VOLTAGE,  OPTIONAL, HIGH),
    ("grid_frequency_limit_high",      (187,),     "Settings",  "Grid frequency limit high",            FREQUENCY_LIMIT, FREQUENCY_LIMIT, OPTIONAL, HIGH),
    ("grid_frequency_limit_low",       (188,),     "Settings",  "Grid frequency limit low",             FREQUENCY_LIMIT, FREQUENCY_LIMIT, OPTIONAL, HIGH),
    ("generator_on_grid_input",        (189,),     "Settings",  "Generator on the grid input",          CODE,            CODE,            OPTIONAL, HIGH),
    ("generator_peak_shaving_power",   (190,),     "Settings",  "Generator peak shaving power",         LV_PEAK_POWER,   HV_PEAK_POWER,   OPTIONAL, MEDIUM),
    ("grid_peak_shaving_power",        (191,),     "Settings",  "Grid peak shaving power",              LV_PEAK_POWER,   HV_PEAK_POWER,   OPTIONAL, HIGH),
    ("smart_load_delay",               (192,),     "Settings",  "Smart load delay",                     MINUTES,         MINUTES,         OPTIONAL, MEDIUM),
    ("max_solar_power",                (340,),     "Settings",  "Maximum solar power",                  LV_SET_POWER,    HV_SET_POWER,    OPTIONAL, HIGH),
    ("grid_meter_source",              (344,),     "Settings",  "Grid measurement",                     CODE,            CODE,            OPTIONAL, MEDIUM),
    ("ct_ratio",                       (347,),     "Settings",  "CT ratio",                             CODE,            CODE,            OPTIONAL, MEDIUM),
    ("parallel_config",                (336,),     "Settings",  "Parallel operation",                   CODE,            CODE,            OPTIONAL, HIGH),
    ("bms_charge_voltage",             (210,),     "BMS",       "Charge Voltage",                       BATTERY_VOLTAGE, HV_VOLTAGE,      DEFAULT,  HIGH),
    ("bms_discharge_voltage",          (211,),     "BMS",       "Discharge Voltage",                    BATTERY_VOLTAGE, HV_VOLTAGE,      OPTIONAL, HIGH),
    ("bms_charge_limit_current",       (212,),     "BMS",       "Charge Limit Current",                 LV_BMS_LIMIT,    BMS_LIMIT,       DEFAULT,  HIGH),
    ("bms_discharge_limit_current",    (213,),     "BMS",       "Discharge Limit Current",              LV_BMS_LIMIT,    BMS_LIMIT,       DEFAULT,  HIGH),
    ("bms_soc",                        (214,),     "BMS",       "SOC",                                  SOC,             SOC,             DEFAULT,  HIGH),
    ("bms_voltage",                    (215,),     "BMS",       "Voltage",                              BATTERY_VOLTAGE, HV_VOLTAGE,      DEFAULT,  HIGH),
    # No source gives its sign.
    ("bms_current",                    (216,),     "BMS",       "Current",                              LV_BMS_CURRENT,  HV_BMS_CURRENT,  DEFAULT,  HIGH),
    ("bms_temperature",                (217,),     "BMS",       "Temperature",                          TEMPERATURE,     TEMPERATURE,     DEFAULT,  HIGH),
    ("bms_max_charge_current",         (218,),     "BMS",       "Maximum charge current (off-grid)",    BMS_LIMIT,       BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms_max_discharge_current",      (219,),     "BMS",       "Maximum discharge current (off-grid)", BMS_LIMIT,       BMS_LIMIT,       OPTIONAL, HIGH),
    # Flags whose meaning depends on the battery.
    ("bms_alarm",                      (220,),     "BMS",       "Alarm flags",                          CODE,            CODE,            OPTIONAL, HIGH),
    ("bms_fault",                      (221,),     "BMS",       "Fault flags",                          CODE,            CODE,            OPTIONAL, HIGH),
    ("bms_flags",                      (222,),     "BMS",       "Other flags",                          CODE,            CODE,            OPTIONAL, HIGH),
    ("bms2_charge_voltage",            (241,),     "BMS 2",     "Charge Voltage",                       None,            HV_VOLTAGE,      OPTIONAL, HIGH),
    ("bms2_discharge_voltage",         (242,),     "BMS 2",     "Discharge Voltage",                    None,            HV_VOLTAGE,      OPTIONAL, HIGH),
    ("bms2_charge_limit_current",      (243,),     "BMS 2",     "Charge Limit Current",                 None,            BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms2_discharge_limit_current",   (244,),     "BMS 2",     "Discharge Limit Current",              None,            BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms2_soc",                       (245,),     "BMS 2",     "SOC",                                  None,            SOC,             OPTIONAL, HIGH),
    ("bms2_voltage",                   (246,),     "BMS 2",     "Voltage",                              None,            HV_VOLTAGE,      OPTIONAL, HIGH),
    ("bms2_current",                   (247,),     "BMS 2",     "Current",                              None,            HV_BMS_CURRENT,  OPTIONAL, HIGH),
    ("bms2_temperature",               (248,),     "BMS 2",     "Temperature",                          None,            TEMPERATURE,     OPTIONAL, HIGH),
    ("bms2_max_charge_current",        (249,),     "BMS 2",     "Maximum charge current (off-grid)",    None,            BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms2_max_discharge_current",     (250,),     "BMS 2",     "Maximum discharge current (off-grid)", None,            BMS_LIMIT,       OPTIONAL, HIGH),
    ("bms2_alarm",                     (251,),     "BMS 2",     "Alarm flags",                          None,            CODE,            OPTIONAL, HIGH),
    ("bms2_fault",                     (252,),     "BMS 2",     "Fault flags",                          None,            CODE,            OPTIONAL, HIGH),
    ("bms2_flags",                     (253,),     "BMS 2",     "Other flags",                          None,            CODE,            OPTIONAL, HIGH),
    ("bms_protocol",                   (223,),     "BMS",       "Protocol",                             CODE,            CODE,            OPTIONAL, HIGH),
    ("bms_soh",                        (224,),     "BMS",       "SOH",                                  SOH,             SOH,             OPTIONAL, MEDIUM),
    ("bms_rated_capacity",             (226,),     "BMS",       "Rated capacity",                       SET_CAPACITY,    SET_CAPACITY,    OPTIONAL, MEDIUM),
    # The lists of makers differ between sources, and between low and high voltage.
    ("battery_manufacturer",           (229,),     "BMS",       "Battery manufacturer",                 CODE,            CODE,            OPTIONAL, HIGH),
    ("inverter_state",                 (500,),     "Inverter",  "State",                                STATE,           STATE,           DEFAULT,  HIGH),
    # Control firmware 1098 and later of high-voltage inverters counts some or all energies in whole kWh.
    ("inverter_energy_today",          (501,),     "Inverter",  "Active energy today",                  NET_TODAY,       HV_NET_TODAY,    DEFAULT,  MEDIUM),
    ("inverter_reactive_energy_today", (502,),     "Inverter",  "Reactive energy today",                REACTIVE_TODAY,  REACTIVE_TODAY,  OPTIONAL, HIGH),
    ("grid_time_today",                (503,),     "Inverter",  "Time on grid today",                   SECONDS_TODAY,   SECONDS_TODAY,   OPTIONAL, MEDIUM),
    ("inverter_energy_total",          (504, 505), "Inverter",  "Active energy total",                  NET_TOTAL,       HV_NET_TOTAL,    DEFAULT,  MEDIUM),
    ("inverter_reactive_energy_total", (506, 507), "Inverter",  "Reactive energy total",                REACTIVE_TOTAL,  REACTIVE_TOTAL,  OPTIONAL, MEDIUM),
    ("generator_hours_total",          (512, 513), "Generator", "Generator running time total",         HOURS_TOTAL,     HOURS_TOTAL,     OPTIONAL, MEDIUM),
    ("battery_charge_today",           (514,),     "Battery",   "Charge today",                         ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("battery_discharge_today",        (515,),     "Battery",   "Discharge today",                      ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("battery_charge_total",           (516, 517), "Battery",   "Total charge",                         ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("battery_discharge_total",        (518, 519), "Battery",   "Total discharge",                      ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("grid_import_today",              (520,),     "Grid",      "Import today",                         ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("grid_export_today",              (521,),     "Grid",      "Export today",                         ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("grid_import_total",              (522, 523), "Grid",      "Total import",                         ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("grid_export_total",              (524, 525), "Grid",      "Total export",                         ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("load_consumption_today",         (526,),     "Load",      "Consumption today",                    ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("load_consumption_total",         (527, 528), "Load",      "Total consumption",                    ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("pv_production_today",            (529,),     "PV",        "Production today",                     ENERGY_TODAY,    HV_ENERGY_TODAY, DEFAULT,  MEDIUM),
    ("pv_energy_today_1",              (530,),     "PV",        "Energy today 1",                       ENERGY_TODAY,    HV_ENERGY_TODAY, OPTIONAL, MEDIUM),
    ("pv_energy_today_2",              (531,),     "PV",        "Energy today 2",                       ENERGY_TODAY,    HV_ENERGY_TODAY, OPTIONAL, MEDIUM),
    ("pv_energy_today_3",              (532,),     "PV",        "Energy today 3",                       ENERGY_TODAY,    HV_ENERGY_TODAY, OPTIONAL, MEDIUM),
    ("pv_energy_today_4",              (533,),     "PV",        "Energy today 4",                       ENERGY_TODAY,    HV_ENERGY_TODAY, OPTIONAL, MEDIUM),
    ("pv_production_total",            (534, 535), "PV",        "Total production",                     ENERGY_TOTAL,    HV_ENERGY_TOTAL, DEFAULT,  MEDIUM),
    ("generator_energy_today",         (536,),     "Generator", "Generator energy today",               ENERGY_TODAY,    HV_ENERGY_TODAY, OPTIONAL, MEDIUM),
    ("generator_energy_total",         (537, 538), "Generator", "Generator energy total",               ENERGY_TOTAL,    HV_ENERGY_TOTAL, OPTIONAL, MEDIUM),
    ("generator_hours_today",          (539,),     "Generator", "Generator running time today",         HOURS_TODAY,     HOURS_TODAY,     OPTIONAL, MEDIUM),
    ("inverter_temperature_dc",        (540,),     "Inverter",  "DC Temperature",                       TEMPERATURE,     TEMPERATURE,     DEFAULT,  HIGH),
    ("inverter_temperature_ac",        (541,),     "Inverter",  "AC Temperature",                       TEMPERATURE,     TEMPERATURE,     DEFAULT,  HIGH),
    ("load_consumption_year",          (545, 546), "Load",      "Consumption this year",                ENERGY_YEAR,     HV_ENERGY_YEAR,  OPTIONAL, MEDIUM),
    ("comm_board_failure",             (548,),     "Inverter",  "Communication board failure",          CODE,            CODE,            OPTIONAL, HIGH),
    ("inverter_on",                    (551,),     "Inverter",  "Switched on",                          RUNNING,         RUNNING,         OPTIONAL, HIGH),
    ("grid_connected",                 (552,),     "Grid",      "Connected",                            BIT_2_CONNECTED, BIT_2_CONNECTED, DEFAULT,  HIGH),
    # The dry contacts, bits 5 to 8, differ between sources.
    ("relay_status",                   (552,),     "Inverter",  "Relays",                               CODE,            CODE,            OPTIONAL, HIGH),
    ("generator_relay",                (552,),     "Generator", "Generator relay",                      BIT_3,           BIT_3,           OPTIONAL, HIGH),
    ("inverter_warnings",              (553, 554), "Inverter",  "Warnings",                             STATE,           STATE,           DEFAULT,  HIGH),
    ("inverter_faults",                (555, 556, 557, 558), "Inverter", "Faults",                      STATE,           STATE,           DEFAULT,  HIGH),
    ("battery_temperature",            (586,),     "Battery",   "Temperature",                          TEMPERATURE,     TEMPERATURE,     DEFAULT,  HIGH),
    ("battery_voltage",                (587,),     "Battery",   "Voltage",                              BATTERY_VOLTAGE, HV_VOLTAGE,      DEFAULT,  HIGH),
    ("battery_soc",                    (588,),     "Battery",   "SOC",                                  SOC,             SOC,             DEFAULT,  HIGH),
    ("battery_2_soc",                  (589,),     "Battery 2", "SOC",                                  SOC,             SOC,             OPTIONAL, HIGH),
    # Positive discharging, negative charging; battery_current likewise.
    ("battery_power",                  (590,),     "Battery",   "Power",                                POWER,           HV_POWER,        DEFAULT,  HIGH),
    ("battery_current",                (591,),     "Battery",   "Current",                              CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("battery_capacity",               (592,),     "Battery",   "Capacity",                             CAPACITY,        CAPACITY,        DEFAULT,  HIGH),
    ("battery_2_voltage",              (593,),     "Battery 2", "Voltage",                              BATTERY_VOLTAGE, HV_VOLTAGE,      OPTIONAL, HIGH),
    ("battery_2_current",              (594,),     "Battery 2", "Current",                              CURRENT,         CURRENT,         OPTIONAL, HIGH),
    ("battery_2_power",                (595,),     "Battery 2", "Power",                                POWER,           HV_POWER,        OPTIONAL, HIGH),
    ("battery_2_temperature",          (596,),     "Battery 2", "Temperature",                          TEMPERATURE,     TEMPERATURE,     OPTIONAL, HIGH),
    ("grid_voltage_l1",                (598,),     "Grid",      "Voltage L1",                           AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("grid_voltage_l2",                (599,),     "Grid",      "Voltage L2",                           AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("grid_voltage_l3",                (600,),     "Grid",      "Voltage L3",                           AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("grid_voltage_l1_l2",             (601,),     "Grid",      "Voltage L1-L2",                        LINE_VOLTAGE,    LINE_VOLTAGE,    OPTIONAL, MEDIUM),
    ("grid_voltage_l2_l3",             (602,),     "Grid",      "Voltage L2-L3",                        LINE_VOLTAGE,    LINE_VOLTAGE,    OPTIONAL, MEDIUM),
    ("grid_voltage_l3_l1",             (603,),     "Grid",      "Voltage L3-L1",                        LINE_VOLTAGE,    LINE_VOLTAGE,    OPTIONAL, MEDIUM),
    # Protocol version 104 has added high words. Below 32.7 kW, as for low voltage, they are not needed.
    ("grid_inner_power_l1",            (604, 700), "Grid",      "Power L1 (inverter grid port)",        POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_inner_power_l2",            (605, 701), "Grid",      "Power L2 (inverter grid port)",        POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_inner_power_l3",            (606, 702), "Grid",      "Power L3 (inverter grid port)",        POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_inner_power",               (607, 703), "Grid",      "Power (inverter grid port)",           POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("grid_inner_apparent_power",      (608,),     "Grid",      "Apparent power (inverter grid port)",  APPARENT_POWER,  APPARENT_POWER,  OPTIONAL, HIGH),
    ("grid_frequency",                 (609,),     "Grid",      "Frequency",                            FREQUENCY,       FREQUENCY,       DEFAULT,  HIGH),
    ("grid_current_l1",                (610,),     "Grid",      "Current L1",                           CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("grid_current_l2",                (611,),     "Grid",      "Current L2",                           CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("grid_current_l3",                (612,),     "Grid",      "Current L3",                           CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("grid_ct_current_l1",             (613,),     "Grid",      "CT current L1",                        CURRENT,         CURRENT,         OPTIONAL, HIGH),
    ("grid_ct_current_l2",             (614,),     "Grid",      "CT current L2",                        CURRENT,         CURRENT,         OPTIONAL, HIGH),
    ("grid_ct_current_l3",             (615,),     "Grid",      "CT current L3",                        CURRENT,         CURRENT,         OPTIONAL, HIGH),
    ("grid_ct_power_l1",               (616, 705), "Grid",      "CT power L1",                          POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_ct_power_l2",               (617, 706), "Grid",      "CT power L2",                          POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_ct_power_l3",               (618, 707), "Grid",      "CT power L3",                          POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("grid_power_ct",                  (619, 708), "Grid",      "Power CT",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("grid_ct_apparent_power",         (620,),     "Grid",      "CT apparent power",                    APPARENT_POWER,  APPARENT_POWER,  OPTIONAL, MEDIUM),
    ("grid_power_factor",              (621,),     "Grid",      "Power factor",                         POWER_FACTOR,    POWER_FACTOR,    OPTIONAL, HIGH),
    # At the grid port or at the current transformer, whichever the settings select.
    ("grid_power_l1",                  (622, 687), "Grid",      "Power L1",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("grid_power_l2",                  (623, 688), "Grid",      "Power L2",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("grid_power_l3",                  (624, 689), "Grid",      "Power L3",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("grid_power",                     (625, 690), "Grid",      "Power",                                POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("inverter_voltage_l1",            (627,),     "Inverter",  "Output voltage L1",                    AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("inverter_voltage_l2",            (628,),     "Inverter",  "Output voltage L2",                    AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("inverter_voltage_l3",            (629,),     "Inverter",  "Output voltage L3",                    AC_VOLTAGE,      AC_VOLTAGE,      DEFAULT,  HIGH),
    ("inverter_current_l1",            (630,),     "Inverter",  "Output current L1",                    CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("inverter_current_l2",            (631,),     "Inverter",  "Output current L2",                    CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("inverter_current_l3",            (632,),     "Inverter",  "Output current L3",                    CURRENT,         CURRENT,         DEFAULT,  HIGH),
    ("inverter_power_l1",              (633, 691), "Inverter",  "Power L1",                             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("inverter_power_l2",              (634, 692), "Inverter",  "Power L2",                             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("inverter_power_l3",              (635, 693), "Inverter",  "Power L3",                             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("inverter_power",                 (636, 694), "Inverter",  "Power",                                POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("inverter_apparent_power",        (637,),     "Inverter",  "Apparent power",                       APPARENT_POWER,  APPARENT_POWER,  OPTIONAL, MEDIUM),
    ("inverter_frequency",             (638,),     "Inverter",  "Output frequency",                     FREQUENCY,       FREQUENCY,       OPTIONAL, HIGH),
    ("essential_power_l1",             (640, 696), "Load",      "Essential (UPS) power L1",             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("essential_power_l2",             (641, 697), "Load",      "Essential (UPS) power L2",             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("essential_power_l3",             (642, 698), "Load",      "Essential (UPS) power L3",             POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    # Equals inverter_power + grid_inner_power - aux_power; load_power is the same with grid_power.
    ("essential_power",                (643, 699), "Load",      "Essential (UPS) power",                POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("load_voltage_l1",                (644,),     "Load",      "Load voltage L1",                      AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("load_voltage_l2",                (645,),     "Load",      "Load voltage L2",                      AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("load_voltage_l3",                (646,),     "Load",      "Load voltage L3",                      AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("load_power_l1",                  (650, 656), "Load",      "Power L1",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("load_power_l2",                  (651, 657), "Load",      "Power L2",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("load_power_l3",                  (652, 658), "Load",      "Power L3",                             POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("load_power",                     (653, 659), "Load",      "Power",                                POWER,           WIDE_POWER,      DEFAULT,  HIGH),
    ("load_frequency",                 (655,),     "Load",      "Frequency",                            FREQUENCY,       FREQUENCY,       DEFAULT,  HIGH),
    ("generator_voltage_l1",           (661,),     "Generator", "Generator voltage L1",                 AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("generator_voltage_l2",           (662,),     "Generator", "Generator voltage L2",                 AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("generator_voltage_l3",           (663,),     "Generator", "Generator voltage L3",                 AC_VOLTAGE,      AC_VOLTAGE,      OPTIONAL, HIGH),
    ("aux_power_l1",                   (664, 668), "Aux",       "Aux power L1",                         POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("aux_power_l2",                   (665, 669), "Aux",       "Aux power L2",                         POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("aux_power_l3",                   (666, 670), "Aux",       "Aux power L3",                         POWER,           WIDE_POWER,      OPTIONAL, HIGH),
    ("aux_power",                      (667, 671), "Aux",       "Aux / generator / micro-inverter power", POWER,         WIDE_POWER,      DEFAULT,  HIGH),
    ("pv_power_1",                     (672,),     "PV",        "Power 1",                              PV_POWER,        HV_PV_POWER,     DEFAULT,  HIGH),
    ("pv_power_2",                     (673,),     "PV",        "Power 2",                              PV_POWER,        HV_PV_POWER,     DEFAULT,  HIGH),
    ("pv_power_3",                     (674,),     "PV",        "Power 3",                              PV_POWER,        HV_PV_POWER,     OPTIONAL, HIGH),
    ("pv_power_4",                     (675,),     "PV",        "Power 4",                              PV_POWER,        HV_PV_POWER,     OPTIONAL, HIGH),
    ("pv_voltage_1",                   (676,),     "PV",        "Voltage 1",                            PV_VOLTAGE,      HV_PV_VOLTAGE,   DEFAULT,  HIGH),
    ("pv_current_1",                   (677,),     "PV",        "Current 1",                            PV_CURRENT,      PV_CURRENT,      DEFAULT,  HIGH),
    ("pv_voltage_2",                   (678,),     "PV",        "Voltage 2",                            PV_VOLTAGE,      HV_PV_VOLTAGE,   DEFAULT,  HIGH),
    ("pv_current_2",                   (679,),     "PV",        "Current 2",                            PV_CURRENT,      PV_CURRENT,      DEFAULT,  HIGH),
    ("pv_voltage_3",                   (680,),     "PV",        "Voltage 3",                            PV_VOLTAGE,      HV_PV_VOLTAGE,   OPTIONAL, HIGH),
    ("pv_current_3",                   (681,),     "PV",        "Current 3",                            PV_CURRENT,      PV_CURRENT,      OPTIONAL, HIGH),
    ("pv_voltage_4",                   (682,),     "PV",        "Voltage 4",                            PV_VOLTAGE,      HV_PV_VOLTAGE,   OPTIONAL, HIGH),
    ("pv_current_4",                   (683,),     "PV",        "Current 4",                            PV_CURRENT,      PV_CURRENT,      OPTIONAL, HIGH),
    # Inverters of 60 kW and more.
    ("pv_voltage_5",                   (719,),     "PV",        "Voltage 5",                            None,            HV_PV_VOLTAGE,   OPTIONAL, MEDIUM),
    ("pv_voltage_6",                   (720,),     "PV",        "Voltage 6",                            None,            HV_PV_VOLTAGE,   OPTIONAL, MEDIUM),
    ("pv_voltage_7",                   (721,),     "PV",        "Voltage 7",                            None,            HV_PV_VOLTAGE,   OPTIONAL, MEDIUM),
    ("pv_voltage_8",                   (722,),     "PV",        "Voltage 8",                            None,            HV_PV_VOLTAGE,   OPTIONAL, MEDIUM),
    ("pv_current_5",                   (723,),     "PV",        "Current 5",                            None,            PV_CURRENT,      OPTIONAL, MEDIUM),
    ("pv_current_6",                   (724,),     "PV",        "Current 6",                            None,            PV_CURRENT,      OPTIONAL, MEDIUM),
    ("pv_current_7",                   (725,),     "PV",        "Current 7",                            None,            PV_CURRENT,      OPTIONAL, MEDIUM),
    ("pv_current_8",                   (726,),     "PV",        "Current 8",                            None,            PV_CURRENT,      OPTIONAL, MEDIUM),
    ("pv_power_5",                     (727,),     "PV",        "Power 5",                              None,            HV_PV_POWER,     OPTIONAL, HIGH),
    ("pv_power_6",                     (728,),     "PV",        "Power 6",                              None,            HV_PV_POWER,     OPTIONAL, HIGH),
    ("pv_power_7",                     (729,),     "PV",        "Power 7",                              None,            HV_PV_POWER,     OPTIONAL, HIGH),
    ("pv_power_8",                     (730,),     "PV",        "Power 8",                              None,            HV_PV_POWER,     OPTIONAL, HIGH),
)

_DERIVED: tuple[DerivedRow, ...] = (
    # id                   registers group   name                   quantity    publish  sure    from
    ("pv_power",           (),       "PV",   "Power",               PV_POWER,   DEFAULT, HIGH,   Derived(_PV_POWERS[:4], also=_PV_POWERS[4:])),
    # Consumption between meter and inverter: power at the current transformer minus power at the inverter's grid port.
    ("nonessential_power", (),       "Load", "Non-essential power", REST_POWER, DEFAULT, MEDIUM,
     Derived(("grid_power_ct", "grid_inner_power"), rest=True, unless_zero=("grid_power_ct", "grid_ct_current_l1", "grid_ct_current_l2", "grid_ct_current_l3"))),
)
# fmt: on


def _fields(limits_kw: Mapping[str, int], *, high_voltage: bool) -> tuple[Field, ...]:
    fields = []
    for name, registers, group, title, low, high, default, confidence in _MEASURED:
        quantity = high if high_voltage else low
        if quantity is None:
            continue
        if high is not None and high.wide and not quantity.wide:
            registers = registers[:1]
        fields.append(field(limits_kw, name, registers, group, title, quantity, default, confidence))
    fields += (field(limits_kw, *row) for row in _DERIVED)
    return tuple(fields)


LV_FIELDS = _fields(LV_LIMITS_KW, high_voltage=False)
HV_FIELDS = _fields(HV_LIMITS_KW, high_voltage=True)


def _common() -> tuple[Field, ...]:
    """The fields of high-voltage inverters that have the same registers and scale in low-voltage ones."""
    low = {each.id: each for each in LV_FIELDS}
    common: dict[str, Field] = {}
    for each in HV_FIELDS:
        other = low.get(each.id)
        if each.derived is not None:
            agree = all(name in common for name in each.derived.of)
        else:
            agree = other is not None and _alike(each.quantity, other.quantity)
        if agree:
            common[each.id] = each
    return tuple(common.values())


def _alike(one: Quantity, other: Quantity) -> bool:
    if one.doubt or other.doubt:
        return False
    scale = ("unit", "divisor", "factor", "bias", "signed", "mask", "absent")
    return all(getattr(one, name) == getattr(other, name) for name in scale)


COMMON_FIELDS = _common()  # The fields common to both, for an inverter that may be either
