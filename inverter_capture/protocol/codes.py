"""The words for states, warnings and faults, from public register maps. Other numbers are shown as numbers."""

from __future__ import annotations

from typing import NamedTuple


class Codes(NamedTuple):
    """The words for the codes of one kind of inverter."""

    states: dict[str, dict[int, str]]  # By field id: the number and its text
    flags: dict[str, dict[int, str]]  # By field id: the bit and what it means when it is set
    warnings: dict[int, str]  # By number: bit n is warning W(n + 1)
    faults: dict[int, str]  # By number: bit n is fault F(n + 1)

    @property
    def fields(self) -> tuple[str, ...]:
        """Ids of all fields whose values are codes."""
        return (*self.states, *self.flags, "generator_relay", *_PROBLEMS, *FIRMWARE, *CLOCK_TIMES)


FIRMWARE = ("firmware_main", "firmware_comm")  # Fields that are shown as hexadecimal numbers

CLOCK_TIMES = tuple(f"prog{number}_time" for number in range(1, 7))  # Fields that hold hours * 100 + minutes

_PROBLEMS = ("inverter_warnings", "inverter_faults")
_OFF_ON = {0: "off", 1: "on"}
_NO_YES = {0: "no", 1: "yes"}
_CHARGE_FROM = {0: "none", 1: "grid", 2: "generator", 3: "grid and generator"}

SETTING_STATES: dict[str, dict[int, str]] = {
    "battery_control_mode": {0: "lead-acid", 1: "lithium"},
    "battery_operation_mode": {0: "by voltage", 1: "by state of charge", 2: "no battery"},
    "charging_signal": _CHARGE_FROM,
    "generator_charge_enabled": _OFF_ON,
    "generator_on_grid_input": _NO_YES,
    "grid_charge_enabled": _OFF_ON,
    "grid_frequency_setting": {0: "50 Hz", 1: "60 Hz"},
    "priority_load": {0: "battery first", 1: "load first"},
    "solar_export": _OFF_ON,
    "use_timer": _OFF_ON,
    "work_mode": {0: "export first", 1: "zero export to load", 2: "zero export to CT"},
    **{f"prog{number}_charge": _CHARGE_FROM for number in range(1, 7)},
}
"""Settings of all kinds of inverters. Settings whose meaning is not certain are shown as numbers."""

STATES: dict[str, dict[int, str]] = {
    "inverter_state": {0: "standby", 1: "self-check", 2: "normal", 3: "alarm", 4: "fault", 5: "activating"},
    "sd_status": {1000: "SD fault", 2000: "SD ok"},
    "grid_connected": {0: "grid relay open", 1: "grid relay closed"},
    "inverter_enabled": {0: "off", 1: "on", 2: "off"},
    **SETTING_STATES,
}

GENERATOR_RELAY_STATES: dict[int, str] = {
    0: "generator relay open",
    1: "generator relay closed",
    3: "closed with generator running",
}
"""The low nibble of generator_relay."""

GENERATOR_POWER_SWITCH = (0x10, "power switch on")  # The bit above that nibble

WARNINGS: dict[int, str] = {
    2: "fan",
    3: "grid phase sequence",
    4: "meter communication",
    5: "CT reversed",
    6: "CT not connected",
    7: "outlet fan 1",
    8: "outlet fan 2",
    9: "outlet fan 3",
    10: "volt-watt active",
    11: "DC bus leakage",
    31: "battery communication",
    32: "parallel communication",
}
"""By number: bit n is warning W(n + 1)."""

FAULTS: dict[int, str] = {
    1: "DC polarity reversed",
    2: "DC insulation permanent fault",
    3: "DC leakage current",
    4: "ground fault (GFDI)",
    5: "EEPROM read",
    6: "EEPROM write",
    7: "DC/DC soft start",
    8: "GFDI relay (1-ph) / DCDC2 start",
    9: "IGBT",
    10: "auxiliary power supply",
    11: "AC main contactor",
    12: "AC auxiliary contactor",
    13: "working mode changed",
    14: "DC over-current (software)",
    15: "AC over-current (software)",
    16: "ground leakage current",
    17: "PV over-current",
    18: "AC over-current (hardware)",
    19: "hardware fault synthesis",
    20: "DC over-current (hardware)",
    21: "DC bus over-current",
    22: "emergency / remote stop",
    23: "AC leakage (transient)",
    24: "PV insulation resistance low",
    25: "DC feedback",
    26: "DC bus unbalanced",
    27: "DC insulation (end)",
    28: "inverter 1 DC component high",
    29: "parallel CAN bus",
    30: "AC main contactor",
    31: "relay open / soft start",
    32: "inverter 2 DC component high",
    33: "AC over-current",
    34: "backup overload",
    35: "no grid",
    36: "grid phase",
    37: "three-phase voltage unbalance / DCLLC soft over-current",
    38: "three-phase current unbalance",
    39: "AC over-current one cycle / DCLLC over-current",
    40: "DC / battery over-current",
    41: "parallel system stopped",
    42: "grid voltage low",
    43: "grid voltage high V-W",
    44: "grid voltage low V-W",
    45: "grid voltage high U-V",
    46: "battery 1 fault",
    47: "grid over-frequency",
    48: "grid under-frequency",
    49: "battery 2 fault",
    50: "grid DC component V",
    51: "battery temperature high / grid DC component W",
    52: "DC bus voltage high",
    53: "DC bus voltage low",
    54: "battery voltage high (1 or 2)",
    55: "DC bus or battery voltage high",
    56: "DC bus or battery voltage low",
    57: "battery 2 voltage low",
    58: "BMS communication lost",
    59: "grid V over-current",
    60: "generator voltage/frequency",
    61: "manual off",
    62: "DRM stop",
    63: "arc fault",
    64: "heatsink over-temperature",
}
"""By number: bit n is fault F(n + 1)."""


SINGLE_PHASE = Codes(STATES, {}, WARNINGS, FAULTS)


def describe(field: str, value: float, codes: Codes = SINGLE_PHASE) -> str:
    """The words for a value of a field in `codes.fields`; the number for unknown codes and other fields."""
    number = int(value)
    if field in codes.states:
        return codes.states[field].get(number, str(number))
    if field == "generator_relay":
        words = GENERATOR_RELAY_STATES.get(number & 0x0F, f"generator relay {number & 0x0F}")
        bit, text = GENERATOR_POWER_SWITCH
        return f"{words}, {text}" if number & bit else words
    if field == "inverter_warnings":
        return ", ".join(name_bits(number, "W", codes.warnings)) or "none"
    if field == "inverter_faults":
        return ", ".join(name_bits(number, "F", codes.faults)) or "none"
    if field in codes.flags:
        texts = codes.flags[field]
        return ", ".join(texts.get(bit, f"bit {bit}") for bit in _bits(number)) or "none"
    if field in FIRMWARE:
        # Register by register, the lowest first: 2005-1098.
        words = f"{number & 0xFFFF:04X}"
        while (number := number >> 16) > 0:
            words += f"-{number & 0xFFFF:04X}"
        return words
    if field in CLOCK_TIMES:
        return f"{number // 100:02d}:{number % 100:02d}"
    return str(value)


def name_bits(bits: int, letter: str, texts: dict[int, str]) -> list[str]:
    """The numbered codes of all bits that are set, such as "F35 no grid"."""
    numbers = [bit + 1 for bit in _bits(bits)]
    return [
        f"{letter}{number:02d} {texts[number]}" if number in texts else f"{letter}{number:02d}" for number in numbers
    ]


def _bits(number: int) -> list[int]:
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]
