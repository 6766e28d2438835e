"""What MQTT messages hold: an inverter's state, and what tells Home Assistant how to show it. No I/O.

Home Assistant's device discovery is since 2024.11. A unit that does not fit its class, a missing key or text for a
number would cost an entity; so every key is always there, null for what is absent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.codes import FAULTS, STATES, WARNINGS, describe, name_bits
from inverter_capture.protocol.readings import Reading
from inverter_capture.protocol.registers import FIELDS, Field
from inverter_capture.protocol.times import SECOND

ORIGIN = "inverter-capture"
SUPPORT_URL = "https://github.com/inverter-capture/inverter-capture"

ONLINE, OFFLINE = b"online", b"offline"

STATE_LENGTH_MAX = 255
"""Characters of a text that Home Assistant takes for a state."""

OTHER = "other"
"""The state whose number nobody has published a meaning of; Home Assistant must know all states beforehand."""

RETIRED: dict[str, str] = {}
"""Components that earlier versions announced and this one does not: the id, and its kind, such as "sensor"."""

_ENUMS = ("inverter_state", "sd_status")
_CODES = {"inverter_warnings": ("W", WARNINGS), "inverter_faults": ("F", FAULTS)}
_TEXTS = (*_ENUMS, *_CODES, "grid_connected", "generator_relay")
"""Fields whose numbers stand for words."""
_PROBLEMS = {"inverter_warnings": "Warning", "inverter_faults": "Fault"}
"""Fields that mean trouble when they are not 0, and what the trouble is called."""


Json = dict[str, Any]


class Topics(NamedTuple):
    """Where messages go."""

    base: str
    prefix: str
    """Of Home Assistant's discovery; empty for none."""

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
        """All of an inverter's latest reading, as JSON."""
        return self.field(serial, "state")

    def availability(self, serial: str) -> str:
        """Whether an inverter's readings come: online or offline."""
        return self.field(serial, "availability")

    def field(self, serial: str, field: str) -> str:
        """One value of an inverter."""
        return f"{self.base}/{serial}/{field}"

    def device(self, serial: str) -> str:
        """What tells Home Assistant about an inverter."""
        return f"{self.prefix}/device/{ORIGIN}-{serial}/config"


class Known(NamedTuple):
    """What an earlier run of ours has left at the broker about an inverter."""

    serial: str
    time: int
    """Of its newest reading, in nanoseconds since the epoch."""
    clock_behind: float
    """Seconds by which the inverter's clock is behind."""


def state_payload(reading: Reading, clock_behind: float, status: Status) -> bytes:
    """The state of an inverter: its newest reading, as elsewhere in JSON, its codes in words, and how we are doing."""
    values = reading.values
    backends = {
        key: {"connected": backend.connected, "waiting": backend.waiting, "dropped": backend.dropped}
        for key, backend in backend_keys(status.backends).items()
    }
    return dumps(
        {
            "timestamp": reading.time,
            "time": iso_time(reading.time),
            "serial": reading.serial,
            "values": {field.id: values.get(field.id) for field in FIELDS},
            "texts": {name: text_of(name, values.get(name)) for name in _TEXTS},
            "codes": {
                name: {
                    "codes": name_bits(int(values.get(name, 0)), letter, texts),
                    "raw": values.get(name),
                }
                for name, (letter, texts) in _CODES.items()
            },
            "clock_behind": round(clock_behind),
            "service": {"version": __version__, "frames": status.frames, "backends": backends},
        }
    )


def text_of(name: str, value: float | None) -> str | None:
    """The words for a field's number, no longer than a state can be."""
    if value is None:
        return None
    if name in _ENUMS and int(value) not in STATES[name]:
        return OTHER
    text = describe(name, value)
    if len(text) > STATE_LENGTH_MAX:
        text = text[: text.rindex(", ", 0, STATE_LENGTH_MAX - 3)] + ", ..."
    return text


def field_text(value: float | None) -> bytes:
    """A value by itself; nothing for an absent one."""
    return b"" if value is None else str(value).encode()


def read_state(serial: str, payload: bytes) -> Known | None:
    """What a state says that an earlier run of ours has left; None when it is none."""
    try:
        state = json.loads(payload)
        time, behind = state["timestamp"], state["clock_behind"]
        if state["serial"] != serial or type(time) is not int or type(behind) is not int:
            return None
        iso_time(time)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        return None
    return Known(serial, time, behind)


def device_payload(
    serial: str, topics: Topics, backends: Iterable[BackendStatus], stale_after: float, gone: Json | None = None
) -> bytes:
    """The discovery of an inverter for Home Assistant.

    `stale_after`: seconds after which its values expire. `gone`: components to remove, as `removals` returns them.
    """
    components = {field.id: _field_component(field) for field in FIELDS}
    for name, title in _PROBLEMS.items():
        components[f"{name}_problem"] = _binary_component(title, "problem", name)
    components |= _diagnostics(backends)
    for key, component in components.items():
        component["unique_id"] = f"{ORIGIN}-{serial}-{key}".replace("-", "_")
        entity = f"inverter_{serial}_{key}".lower()
        # The one until 2026.3, the other from 2025.10.
        component["object_id"] = entity
        component["default_entity_id"] = f"{component['platform']}.{entity}"
        if key in _CODES:
            component["json_attributes_topic"] = topics.state(serial)
            component["json_attributes_template"] = f"{{{{ value_json.codes.{key} | default({{}}) | tojson }}}}"
        if component.get("entity_category"):
            # It is about the service, also while the inverter is silent.
            component["availability"] = [{"topic": topics.service}]
        else:
            # After a power cut a broker may say `online` of a service that does not return.
            component["expire_after"] = max(1, round(stale_after))
    return dumps(
        {
            "device": {
                "identifiers": [f"{ORIGIN}-{serial}"],
                "name": f"Inverter {serial}",
                "manufacturer": "Sunsynk or Deye",
                "model": "Hybrid inverter",
                "serial_number": serial,
            },
            "origin": {"name": ORIGIN, "sw_version": __version__, "support_url": SUPPORT_URL},
            "availability": [{"topic": topics.service}, {"topic": topics.availability(serial)}],
            "availability_mode": "all",
            "state_topic": topics.state(serial),
            "components": components | (gone or {}),
        }
    )


def removals(announced: bytes, payload: bytes) -> Json:
    """The components to remove after something else was announced, now that it is this payload."""
    kinds = dict(RETIRED)
    try:
        before = json.loads(announced)["components"]
        kinds |= {key: component["platform"] for key, component in before.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # Nothing of ours.
    for key in json.loads(payload)["components"]:
        kinds.pop(key, None)
    return {key: {"platform": kind} for key, kind in kinds.items()}


def backend_keys(backends: Iterable[BackendStatus]) -> dict[str, BackendStatus]:
    """A key for each backend, made of its name."""
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
    """Of the letters that an id may have."""
    return "_".join(
        "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name).split()
    ).lower()


def dumps(value: Json) -> bytes:
    """Compact JSON, which NaN has no place in."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def iso_time(nanoseconds: int) -> str:
    """As Home Assistant reads it, with the offset."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).isoformat()


def _field_component(field: Field) -> Json:
    component: Json
    if field.device_class == "connectivity":
        component = _binary_component(field.title, field.device_class, field.id)
    else:
        words = field.id in _TEXTS
        # In a template `.values` would be a method.
        place = ".texts" if words else "['values']"
        component = {
            "platform": "sensor",
            "name": field.title,
            "value_template": _template(f"value_json{place}.{field.id}"),
        }
        if field.id in _ENUMS:
            component["device_class"] = "enum"
            component["options"] = [*STATES[field.id].values(), OTHER]
        elif not words:
            component["unit_of_measurement"] = field.unit
            component["suggested_display_precision"] = len(str(field.divisor)) - 1
            component |= {"device_class": field.device_class} if field.device_class else {}
            component["state_class"] = field.state_class
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
        "frames": _count("Frames seen", "value_json.service.frames", "total_increasing"),
    }
    for key, backend in backend_keys(backends).items():
        where = backend.name.replace("://", " ") + key.removeprefix(_key(backend.name)).replace("_", " ")
        # After a reload the state can be older than the backend.
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
    """Jinja for a value of the state. None where a state of an earlier version does not have it."""
    return f"{{{{ {path} | default(none) }}}}"
