"""The payloads of MQTT messages: an inverter's state, and its discovery for Home Assistant. No I/O.

Device discovery needs Home Assistant 2024.11. Home Assistant drops an entity when its unit does not fit its device
class, a key is missing or a number is text; so every key is always present, with null for an absent value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import isfinite
from typing import Any, NamedTuple

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.codes import Codes, describe, name_bits
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import KINDS, SINGLE_PHASE, Kind
from inverter_capture.protocol.layouts import LAYOUTS
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import utc_text

ORIGIN = "inverter-capture"
SUPPORT_URL = "https://github.com/inverter-capture/inverter-capture"

ONLINE, OFFLINE = b"online", b"offline"

STATE_LENGTH_MAX = 255
"""Maximum length of an entity's state in Home Assistant, in characters."""

OTHER = "other"
"""The state for numbers without a known meaning. Home Assistant must be told all possible states in advance."""

RETIRED: dict[str, str] = {}
"""Components that only earlier versions announced: the platform, such as "sensor", by the component's id."""

_BINARY = ("connectivity", "running")
"""Device classes of fields that become binary sensors."""
_PROBLEMS = {"inverter_warnings": "Warning", "inverter_faults": "Fault"}
"""Fields with a binary sensor for problems, which is on unless the field is 0, and its name."""


Json = dict[str, Any]


class Topics(NamedTuple):
    """The topics of one base topic and one discovery prefix."""

    base: str
    prefix: str
    """Prefix of Home Assistant's discovery topics; empty for no discovery."""

    @property
    def service(self) -> str:
        """Whether the service runs: online or offline."""
        return f"{self.base}/status"

    @property
    def any_state(self) -> str:
        """A filter for the state of every inverter."""
        return self.state("+")

    @property
    def home_assistant(self) -> str:
        """Whether Home Assistant runs: online or offline."""
        return f"{self.prefix}/status"

    def state(self, serial: str) -> str:
        """An inverter's newest reading as JSON."""
        return self.field(serial, "state")

    def availability(self, serial: str) -> str:
        """Whether an inverter's newest reading is fresh: online or offline."""
        return self.field(serial, "availability")

    def field(self, serial: str, field: str) -> str:
        """One value of an inverter."""
        return f"{self.base}/{serial}/{field}"

    def device(self, serial: str) -> str:
        """The discovery of an inverter for Home Assistant."""
        return f"{self.prefix}/device/{ORIGIN}-{serial}/config"


class Device(NamedTuple):
    """An inverter as Home Assistant's discovery describes it."""

    kind: Kind
    fields: tuple[str, ...]
    """Ids of the fields in its reports, in the order of the register table."""
    software: str = ""
    rated_power: float = 0
    """In watts; 0 when unknown."""

    def after(self, reading: Reading) -> Device:
        """The inverter after another reading. A value that is absent from the reading is kept."""
        values, kind = reading.values, reading.kind
        firmware = values.get("firmware_main")
        return Device(
            kind,
            tuple(field.id for field in reading.fields),
            self.software if firmware is None else describe("firmware_main", firmware, kind.codes),
            values.get("rated_power", self.rated_power),
        )


class RetainedState(NamedTuple):
    """The state that an earlier run of the service has published, as far as it is needed again."""

    reading: Reading
    """The newest reading; its layout is not known."""
    clock_behind: int
    """Seconds by which the inverter's clock is behind this system's."""
    device: Device


USUAL = Device(SINGLE_PHASE, tuple(field.id for field in SINGLE_PHASE.fields_in(LAYOUTS[292])))
"""An inverter without a reading."""


def state_payload(reading: Reading, clock_behind: float, status: Status) -> bytes:
    """The state of an inverter as JSON: its newest reading, its codes in words, and the status of the service."""
    values = reading.values
    backends = {
        key: {"connected": backend.connected, "waiting": backend.waiting, "dropped": backend.dropped}
        for key, backend in backend_keys(status.backends).items()
    }
    names = [field.id for field in reading.fields]
    codes = reading.kind.codes
    return dumps(
        {
            "timestamp": reading.time,
            "time": utc_text(reading.time),
            "serial": reading.serial,
            "kind": reading.kind.name,
            "values": {name: values.get(name) for name in names},
            "texts": {name: text_of(name, values.get(name), codes) for name in codes.fields if name in names},
            "codes": {
                name: {"codes": name_bits(int(values.get(name, 0)), letter, texts), "raw": values.get(name)}
                for name, letter, texts in (
                    ("inverter_warnings", "W", codes.warnings),
                    ("inverter_faults", "F", codes.faults),
                )
                if name in names
            },
            "clock_behind": round(clock_behind),
            "service": {"version": __version__, "reports": status.reports, "backends": backends},
        }
    )


def text_of(name: str, value: float | None, codes: Codes) -> str | None:
    """The text for a field's code, at most `STATE_LENGTH_MAX` characters. None for an absent value."""
    if value is None:
        return None
    if name in codes.states and int(value) not in codes.states[name]:
        return OTHER
    text = describe(name, value, codes)
    if len(text) > STATE_LENGTH_MAX:
        text = text[: text.rindex(", ", 0, STATE_LENGTH_MAX - 3)] + ", ..."
    return text


def field_text(value: float | None) -> bytes:
    """The payload of a field's topic; empty for an absent value."""
    return b"" if value is None else str(value).encode()


def read_state(serial: str, payload: bytes) -> RetainedState | None:
    """Parse a retained state of an earlier run. Returns None for anything else."""
    try:
        state = json.loads(payload)
        time, behind = state["timestamp"], state["clock_behind"]
        if state["serial"] != serial or type(time) is not int or type(behind) is not int:
            return None
        utc_text(time)
        numbers = {
            name: value for name, value in state["values"].items() if type(value) in (int, float) and isfinite(value)
        }
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError):
        return None
    device = read_device(state)
    return RetainedState(Reading(serial, time, numbers, device.kind), behind, device)


def read_device(state: Json) -> Device:
    """The device data in a retained state of an earlier run. Returns USUAL for anything else."""
    try:
        # Versions that knew one kind did not name it.
        kind = KINDS[state.get("kind", SINGLE_PHASE.name)]
        names = state["values"].keys()
        firmware = state["values"].get("firmware_main")
        return Device(
            kind,
            tuple(field.id for field in kind.fields if field.id in names),
            "" if firmware is None else describe("firmware_main", firmware, kind.codes),
            float(state["values"].get("rated_power") or 0),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return USUAL


def device_payload(
    serial: str,
    topics: Topics,
    backends: Iterable[BackendStatus],
    stale_after: float,
    gone: Json | None = None,
    device: Device = USUAL,
) -> bytes:
    """The discovery of an inverter for Home Assistant.

    `stale_after`: seconds after which its values expire. `gone`: components to remove, as `removals` returns them.
    """
    kind = device.kind
    components = {name: _field_component(kind.fields_by_id[name], kind.codes) for name in device.fields}
    for name, title in _PROBLEMS.items():
        if name in device.fields:
            components[f"{name}_problem"] = _binary_component(title, "problem", name)
    components |= _diagnostics(backends)
    for key, component in components.items():
        component["unique_id"] = f"{ORIGIN}-{serial}-{key}".replace("-", "_")
        entity = f"inverter_{serial}_{key}".lower()
        # Home Assistant reads object_id until 2026.3, and default_entity_id from 2025.10.
        component["object_id"] = entity
        component["default_entity_id"] = f"{component['platform']}.{entity}"
        if key in _PROBLEMS:
            component["json_attributes_topic"] = topics.state(serial)
            component["json_attributes_template"] = f"{{{{ value_json.codes.{key} | default({{}}) | tojson }}}}"
        if component.get("entity_category"):
            # Values of the service, also valid without readings.
            component["availability"] = [{"topic": topics.service}]
        else:
            # After a power cut the broker may still hold a retained `online`.
            component["expire_after"] = max(1, round(stale_after))
    model = "Hybrid inverter" if kind is SINGLE_PHASE else "Three-phase hybrid inverter"
    if device.rated_power:
        model += f", {device.rated_power / 1000:g} kW"
    software = {"sw_version": device.software} if device.software else {}
    return dumps(
        {
            "device": {
                "identifiers": [f"{ORIGIN}-{serial}"],
                "name": f"Inverter {serial}",
                "manufacturer": "Sunsynk or Deye",
                "model": model,
                "serial_number": serial,
                **software,
            },
            "origin": {"name": ORIGIN, "sw_version": __version__, "support_url": SUPPORT_URL},
            "availability": [{"topic": topics.service}, {"topic": topics.availability(serial)}],
            "availability_mode": "all",
            "state_topic": topics.state(serial),
            "components": components | (gone or {}),
        }
    )


def removals(announced: bytes, payload: bytes) -> Json:
    """The components to remove: those in the `announced` payload and in RETIRED that `payload` does not have."""
    kinds = dict(RETIRED)
    try:
        before = json.loads(announced)["components"]
        kinds |= {key: component["platform"] for key, component in before.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # Not an announcement of this program.
    for key in json.loads(payload)["components"]:
        kinds.pop(key, None)
    return {key: {"platform": kind} for key, kind in kinds.items()}


def backend_keys(backends: Iterable[BackendStatus]) -> dict[str, BackendStatus]:
    """The backends by unique keys, which are made of their names."""
    keys: dict[str, BackendStatus] = {}
    for backend in backends:
        key = name = _key(backend.name)
        number = 2
        while key in keys:
            key = f"{name}_{number}"
            number += 1
        keys[key] = backend
    return keys


def _key(name: str) -> str:
    """The name with only the characters that are allowed in an id."""
    return "_".join(
        "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name).split()
    ).lower()


def dumps(value: Json) -> bytes:
    """Compact JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _field_component(field: Field, codes: Codes) -> Json:
    component: Json
    if field.device_class in _BINARY:
        component = _binary_component(field.title, field.device_class, field.id)
    else:
        words = field.id in codes.fields
        # In a template `.values` would be a method.
        place = ".texts" if words else "['values']"
        component = {
            "platform": "sensor",
            "name": field.title,
            "value_template": _template(f"value_json{place}.{field.id}"),
        }
        if field.id in codes.states:
            component["device_class"] = "enum"
            component["options"] = [*dict.fromkeys(codes.states[field.id].values()), OTHER]
        elif not words:
            shown = {
                "unit_of_measurement": field.unit,
                "device_class": field.device_class,
                "state_class": field.state_class,
            }
            component |= {key: text for key, text in shown.items() if text}
            if field.unit:
                component["suggested_display_precision"] = field.decimals
    if not field.default:
        component["enabled_by_default"] = False
    return component


def _binary_component(title: str, device_class: str, field: str) -> Json:
    return {
        "platform": "binary_sensor",
        "name": title,
        "device_class": device_class,
        "value_template": _template(
            f"{{none: 'None', 0: 'OFF'}}.get(value_json['values'].{field} | default(none), 'ON')"
        ),
    }


def _diagnostics(backends: Iterable[BackendStatus]) -> Json:
    components: Json = {
        "last_reading": {
            "platform": "sensor",
            "name": "Last reading",
            "device_class": "timestamp",
            "value_template": _template("value_json.time"),
        },
        "reports": _count("Reports received", "value_json.service.reports", "total_increasing"),
    }
    for key, backend in backend_keys(backends).items():
        where = backend.name.replace("://", " ") + key.removeprefix(_key(backend.name)).replace("_", " ")
        # After a reload the last state may not have the backend yet.
        place = f"(value_json.service.backends.{key} | default({{}}))"
        components[f"{key}_waiting"] = _count(f"Readings waiting, {where}", f"{place}.waiting", "measurement")
        components[f"{key}_dropped"] = _count(f"Readings dropped, {where}", f"{place}.dropped", "total_increasing")
    for component in components.values():
        component["entity_category"] = "diagnostic"
    return components


def _count(title: str, path: str, state_class: str) -> Json:
    return {
        "platform": "sensor",
        "name": title,
        "state_class": state_class,
        "value_template": _template(path),
    }


def _template(path: str) -> str:
    """A Jinja template for a value in the state; none when the state of an earlier version does not have it."""
    return f"{{{{ {path} | default(none) }}}}"
