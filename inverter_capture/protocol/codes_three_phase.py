"""The words of three-phase inverters, where they differ from those of codes.py."""

from __future__ import annotations

from inverter_capture.protocol.codes import FAULTS, SETTING_STATES, STATES, WARNINGS, Codes

_STATES: dict[str, dict[int, str]] = {
    "inverter_state": STATES["inverter_state"],
    "grid_connected": STATES["grid_connected"],
    "inverter_on": {0: "switched off", 1: "switched on"},
    "inverter_enabled": {0: "off", 1: "on"},
    "aux_port_mode": {0: "generator", 1: "smart load", 2: "micro-inverter"},
    "batteries_parallel": {0: "no", 1: "yes"},
    "bms_protocol": {
        0: "CAN (Pylon, Solax)",
        1: "RS485 Tianbangda",
        2: "KOK",
        3: "Keith",
        4: "Topai",
        5: "Pylon 485",
        6: "Jelis 485",
        7: "Sunwoda 485",
        8: "Xinrui 485",
        9: "Tianbangda 485",
        10: "Shenggao CAN",
    },
    "generator_force": {0: "no", 1: "yes"},
    "grid_standard": {0: "general", 1: "UL1741/IEEE1547", 2: "Rule 21", 3: "SRD-UL1741", 4: "CEI 0-21"},
    "grid_voltage_type": {
        0: "220/380 V",
        1: "230/398 V",
        2: "240/415 V",
        3: "120/208 V",
        4: "133/220 V",
        5: "100/173 V",
    },
    **SETTING_STATES,
}

_FLAGS: dict[str, dict[int, str]] = {
    "comm_board_failure": {0: "flash chip", 1: "clock", 2: "EEPROM"},
    "relay_status": {
        0: "inverter relay closed",
        1: "load relay closed (reserved)",
        2: "grid relay closed",
        3: "generator relay closed",
        4: "grid feed relay closed",
    },
}

_WARNINGS = {number: WARNINGS[number] for number in (2, 3, 4, 31, 32)}

_FAULTS = {number: text for number, text in FAULTS.items() if number != 17} | {
    8: "GFDI relay",
    31: "relay open",
    37: "three-phase voltage unbalance",
    39: "AC over-current one cycle",
    40: "DC over-current",
    51: "grid DC component W",
    54: "battery 1 voltage high",
    55: "battery 2 voltage high",
    60: "grid W over-current",
    61: "reactor A over-current",
}

LOW_VOLTAGE = Codes(_STATES, _FLAGS, _WARNINGS, _FAULTS | {56: "DC bus or battery voltage low"})
HIGH_VOLTAGE = Codes(_STATES, _FLAGS, _WARNINGS, _FAULTS | {56: "battery 1 voltage low"})
EITHER = Codes(_STATES, _FLAGS, _WARNINGS, _FAULTS | {56: "DC bus, battery or battery 1 voltage low"})
"""While it is not known which of them an inverter is."""
