"""The payloads of MQTT messages: an inverter's state, and its discovery for Home Assistant. No I/O.

Device discovery needs Home Assistant 2024.11. Home Assistant drops an entity when its unit does not fit its device
class, a key is missing or a number is text; so every key is always present, with null for an absent value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, count
from math import isfinite
from typing import Any, NamedTuple

from inverter_capture import __version__
from inverter_capture.backends.status import BackendStatus, Status
from inverter_capture.protocol.codes import Codes, describe, name_bits
from inverter_capture.protocol.fields import Field
from inverter_capture.protocol.inverter_kinds import KINDS, LOW_VOLTAGE, SINGLE_PHASE, Kind
from inverter_capture.protocol.readings import Reading
from inverter_capture.text import utc_text

ORIGIN = "inverter-capture"
SUPPORT_URL = "https://github.com/inverter-capture/inverter-capture"

ONLINE, OFFLINE = b"online", b"offline"

STATE_LENGTH_MAX = 255  # Maximum length of an entity's state in Home Assistant, in characters
TOPIC_LENGTH_MAX = 255  # Maximum length of another service's status topic, in characters
TIMES = range(1 << 63)  # Times that a retained state may have, in nanoseconds since the epoch

OTHER = "other"
"""The state for numbers without a known meaning. Home Assistant must be told all possible states in advance."""

_BINARY = ("connectivity", "running")  # Device classes of fields that become binary sensors
_PROBLEM_FIELDS = ("inverter_warnings", "inverter_faults")
"""Their texts are attributes of one binary sensor, so their own entities are disabled by default."""
_ICONS = {
    "battery_capacity": "mdi:battery-heart-variant",
    "battery_state": "mdi:battery-sync",
    "inverter_faults": "mdi:alert-octagon",
    "inverter_state": "mdi:state-machine",
    "inverter_warnings": "mdi:alert",
    "sd_status": "mdi:sd",
}
_DIAGNOSTIC_GROUPS = ("Info", "Settings", "Program")  # What the inverter is, and how it is set
_IDLE_WATTS = 50  # A battery with less power, in either direction, is idle: the inverter itself takes some
_CELLS_VOLTS = 51.2  # The nominal voltage of low-voltage batteries: 16 cells of lithium iron phosphate
_BACKENDS = {"influxdb2": "InfluxDB", "mqtt": "MQTT", "console": "Console"}
"""How people call the backends, by the first word of their names."""


Json = dict[str, Any]


class Topics(NamedTuple):
    """The topics of one base topic and one discovery prefix."""

    base: str
    prefix: str  # Prefix of Home Assistant's discovery topics; empty for no discovery

    @property
    def service(self) -> str:
        """Whether the service runs: online or offline."""
        return f"{self.base}/status"

    @property
    def service_state(self) -> str:
        """The status of the service as JSON."""
        return f"{self.base}/service"

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

    def device(self, name: str) -> str:
        """The discovery of a device for Home Assistant. `name`: an inverter's serial number or a service's id."""
        return f"{self.prefix}/device/{ORIGIN}-{name}/config"


class Device(NamedTuple):
    """An inverter as Home Assistant's discovery describes it."""

    kind: Kind
    fields: tuple[str, ...]
    """Ids of the fields in its reports, in the order of the register table, without those of a missing BMS."""
    software: str = ""
    rated_power: float = 0  # In watts; 0 when unknown

    def after(self, reading: Reading) -> Device:
        """The inverter after another reading. A value that is absent from the reading is kept."""
        return self.with_values(reading.kind, reading.fields, reading.values)

    def with_values(self, kind: Kind, fields: Iterable[Field], values: Mapping[str, float | None]) -> Device:
        """The inverter with reports that hold these fields, and values of which some may be absent."""
        fields = tuple(fields)
        heard = {field.group for field in fields if values.get(field.id) is not None}
        firmware = values.get("firmware_main")
        return Device(
            kind,
            tuple(
                field.id
                for field in fields
                if not field.group.startswith("BMS") or field.group in heard or field.id in self.fields
            ),
            self.software if firmware is None else describe("firmware_main", firmware, kind.codes),
            values.get("rated_power") or self.rated_power,
        )


class Service(NamedTuple):
    """This service as Home Assistant's discovery describes it."""

    id: str  # Differs between routers
    host: str  # The router's name
    page: str  # URL of its page in LuCI; empty for none


class Derived(NamedTuple):
    """A component of inverters that follows from fields."""

    fields: tuple[str, ...]  # It is absent when one of these is
    value: Callable[..., float | str]  # Of the fields' values, in this order
    component: Json


class RetainedState(NamedTuple):
    """The state that an earlier run of the service has published, as far as it is needed again."""

    reading: Reading  # The newest reading; its layout is not known
    clock_behind: int  # Seconds by which the inverter's clock is behind this system's
    device: Device


UNKNOWN = Device(SINGLE_PHASE, ())  # An inverter without a reading


def _measured(unit: str, device_class: str, state_class: str, decimals: int) -> Json:
    """What a sensor measures, as far as it is not empty; with a unit, also the number of decimals to show."""
    measured = {"unit_of_measurement": unit, "device_class": device_class, "state_class": state_class}
    precision = {"suggested_display_precision": decimals} if unit else {}
    return {key: text for key, text in measured.items() if text} | precision


_DERIVED = {
    "battery_state": Derived(
        ("battery_power",),
        lambda watts: "idle" if abs(watts) < _IDLE_WATTS else "discharging" if watts > 0 else "charging",
        {"name": "Battery state", "device_class": "enum", "options": ["charging", "discharging", "idle"]},
    ),
    "battery_capacity_energy": Derived(
        ("battery_capacity",),
        lambda ampere_hours: round(ampere_hours * _CELLS_VOLTS / 1000, 2),
        {"name": "Battery energy capacity"} | _measured("kWh", "energy_storage", "measurement", 1),
    ),
    "losses_power": Derived(
        ("pv_power", "battery_power", "inverter_power"),
        lambda pv, battery, output: pv + battery - output,
        {"name": "Losses", "enabled_by_default": False} | _measured("W", "power", "measurement", 0),
    ),
    "losses_total": Derived(
        ("pv_production_total", "battery_discharge_total", "battery_charge_total", "inverter_energy_total"),
        lambda pv, discharge, charge, output: round(pv + discharge - charge - output, 1),
        {"name": "Losses energy total", "enabled_by_default": False} | _measured("kWh", "energy", "total", 1),
    ),
}


def _derived_in(device: Device) -> Iterator[tuple[str, Derived]]:
    for name, derived in _DERIVED.items():
        # The voltage of a high-voltage battery is not known.
        known = device.kind in (SINGLE_PHASE, LOW_VOLTAGE) or name != "battery_capacity_energy"
        if known and all(field in device.fields for field in derived.fields):
            yield name, derived


def state_payload(reading: Reading, clock_behind: float) -> bytes:
    """The state of an inverter as JSON: its newest reading, with its codes in words."""
    values = reading.values
    names = [field.id for field in reading.fields]
    codes = reading.kind.codes
    device = Device(reading.kind, tuple(names))
    numbers = [values[name] for name in _PROBLEM_FIELDS if name in values]
    named = {
        name: name_bits(int(values.get(name, 0)), letter, texts)
        for name, letter, texts in (("inverter_warnings", "W", codes.warnings), ("inverter_faults", "F", codes.faults))
    }
    return dumps(
        {
            "timestamp": reading.time,
            "time": utc_text(reading.time),
            "serial": reading.serial,
            "kind": reading.kind.name,
            "values": {name: values.get(name) for name in names},
            "texts": {name: text_of(name, values.get(name), codes) for name in codes.fields if name in names},
            "derived": {
                name: derived.value(*(values[field] for field in derived.fields))
                if all(field in values for field in derived.fields)
                else None
                for name, derived in _derived_in(device)
            },
            "problem": None if not numbers else "ON" if any(numbers) else "OFF",
            "problems": {"warnings": named["inverter_warnings"], "faults": named["inverter_faults"]},
            "codes": {name: {"codes": named[name], "raw": values.get(name)} for name in named if name in names},
            "clock_behind": round(clock_behind),
        }
    )


def service_state_payload(status: Status) -> bytes:
    """The status of the service as JSON."""
    backends = backend_keys(status.backends)
    problems = {"capture": status.problem} | {label: backends[key].problem for key, label in _labels(backends).items()}
    problems = {what: text for what, text in problems.items() if text}
    return dumps(
        {
            "version": __version__,
            "problem": "ON" if problems else "OFF",
            "problems": problems,
            "reports": status.reports,
            "held_back": status.held_back,
            "backends": {
                key: {"connected": backend.connected, "waiting": backend.waiting, "dropped": backend.dropped}
                for key, backend in backends.items()
            },
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


def read_state(serial: str, payload: bytes) -> RetainedState | None:
    """Parse a retained state of an earlier run. Returns None for anything else."""
    try:
        state = json.loads(payload)
        time, behind, values = state["timestamp"], state["clock_behind"], state["values"]
        are_times = type(time) is int and time in TIMES and type(behind) is int and abs(behind) in TIMES
        if state["serial"] != serial or not are_times:
            return None
        numbers = {name: value for name, value in values.items() if type(value) in (int, float) and isfinite(value)}
        # Versions that knew one kind did not name it.
        kind = KINDS[state.get("kind", SINGLE_PHASE.name)]
        device = UNKNOWN.with_values(kind, [field for field in kind.fields if field.id in values], numbers)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return RetainedState(Reading.of(serial, time, numbers, kind), behind, device)


def device_payload(
    serial: str, device: Device, service: Service, topics: Topics, stale_after: float, gone: Json | None = None
) -> bytes:
    """The discovery of an inverter for Home Assistant.

    `stale_after`: seconds after which its values expire. `gone`: components to remove, as `removals` returns them.
    """
    kind = device.kind
    components = {name: _field_component(kind.fields_by_id[name], kind.codes) for name in device.fields}
    for name, derived in _derived_in(device):
        template = _template(f"value_json.derived.{name}")
        components[name] = {"platform": "sensor", **derived.component, "value_template": template}
    for name in _PROBLEM_FIELDS:
        if name in components:
            components[name] |= {"enabled_by_default": False} | _attributes(topics.state(serial), f"codes.{name}")
            components["problem"] = _problem(topics.state(serial))
    for component in components.values():
        # After a power cut the broker may still hold a retained `online`.
        component["expire_after"] = max(1, round(stale_after))
    components["last_reading"] = {
        "platform": "sensor",
        "name": "Last reading",
        "device_class": "timestamp",
        "entity_category": "diagnostic",
        # Home Assistant lists each change of a time as an activity.
        "enabled_by_default": False,
        "value_template": _template("value_json.time"),
        "availability": [{"topic": topics.service}],
    }
    model = "Hybrid inverter" if kind is SINGLE_PHASE else "Three-phase hybrid inverter"
    if device.rated_power:
        model += f", {device.rated_power / 1000:g} kW"
    about = {
        "name": f"Inverter {serial}",
        "manufacturer": "Sunsynk or Deye",
        "model": model,
        "serial_number": serial,
        "sw_version": device.software,
        "via_device": f"{ORIGIN}-{service.id}",
        "configuration_url": service.page,
    }
    availability = [topics.service, topics.availability(serial)]
    return _payload(serial, f"inverter_{serial}", about, availability, topics.state(serial), components, gone)


def service_payload(
    service: Service, backends: Iterable[BackendStatus], topics: Topics, gone: Json | None = None
) -> bytes:
    """The discovery of the service for Home Assistant."""
    components: Json = {
        "problem": _problem(topics.service_state),
        "reports": _count("Reports received", "value_json.reports", "total_increasing", "mdi:counter"),
        "held_back": _count("Values held back", "value_json.held_back", "total_increasing", "mdi:filter"),
    }
    for key, label in _labels(backend_keys(backends)).items():
        # After a reload the last state may not have the backend yet.
        place = f"(value_json.backends.{key} | default({{}}))"
        components[f"{key}_waiting"] = _count(f"{label}: waiting", f"{place}.waiting", "measurement", "mdi:tray-full")
        components[f"{key}_dropped"] = _count(
            f"{label}: dropped", f"{place}.dropped", "total_increasing", "mdi:tray-remove"
        )
    for component in components.values():
        component["entity_category"] = "diagnostic"
    about = {
        "name": f"{ORIGIN} on {service.host}",
        "manufacturer": ORIGIN,
        "model": "Service on the router",
        "sw_version": __version__,
        "configuration_url": service.page,
    }
    name = f"inverter_capture_{service.id}"
    return _payload(service.id, name, about, [topics.service], topics.service_state, components, gone)


def _payload(
    id: str, name: str, about: Json, availability: list[str], state_topic: str, components: Json, gone: Json | None
) -> bytes:
    for key, component in components.items():
        if key in _ICONS:
            component["icon"] = _ICONS[key]
        component["unique_id"] = f"{ORIGIN}-{id}-{key}".replace("-", "_")
        entity = f"{name}_{key}".lower()
        # Home Assistant reads object_id until 2026.3, and default_entity_id from 2025.10.
        component["object_id"] = entity
        component["default_entity_id"] = f"{component['platform']}.{entity}"
    return dumps(
        {
            "device": {"identifiers": [f"{ORIGIN}-{id}"]} | {key: text for key, text in about.items() if text},
            "origin": {"name": ORIGIN, "sw_version": __version__, "support_url": SUPPORT_URL},
            "availability": [{"topic": topic} for topic in availability],
            "availability_mode": "all",
            "state_topic": state_topic,
            "components": components | (gone or {}),
        }
    )


def announcing_service(payload: bytes) -> str:
    """The status topic of the service that has announced an inverter. Empty for anything else."""
    try:
        announcement = json.loads(payload)
        topic = announcement["availability"][0]["topic"]
        if announcement["origin"]["name"] != ORIGIN or not isinstance(topic, str):
            return ""
        # Not a filter for many topics, nor what no broker accepts.
        is_topic = topic.isprintable() and len(topic) <= TOPIC_LENGTH_MAX and not {*"+#"} & {*topic}
        return topic if is_topic and topic.endswith("/status") else ""
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""


def removals(announced: bytes, payload: bytes) -> Json:
    """The components to remove: those in the `announced` payload that `payload` does not have."""
    try:
        before = json.loads(announced)["components"]
        kinds = {
            key: component["platform"]
            for key, component in before.items()
            if isinstance(component["platform"], str) and (key + component["platform"]).isprintable()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}  # Not an announcement of this program.
    now = json.loads(payload)["components"]
    return {key: {"platform": kind} for key, kind in kinds.items() if key not in now}


def backend_keys(backends: Iterable[BackendStatus]) -> dict[str, BackendStatus]:
    """The backends by unique keys, which are made of their names."""
    keys: dict[str, BackendStatus] = {}
    for backend in backends:
        keys[_unused(re.sub(r"[^a-z0-9]+", "_", backend.name.lower()).strip("_"), "_", keys)] = backend
    return keys


def _labels(backends: Mapping[str, BackendStatus]) -> dict[str, str]:
    """Short names by key, such as InfluxDB 192.168.1.10, with the port where there would be two of a name."""
    labels: dict[str, str] = {}
    for key, backend in backends.items():
        kind, _, url = backend.name.partition(" ")
        name = f"{_BACKENDS.get(kind, kind)} {url.partition('://')[2]}".strip()
        short = re.sub(r":\d+$", "", name)
        labels[key] = _unused(name, " ", labels.values()) if short in labels.values() else short
    return labels


def _unused(name: str, separator: str, used: Iterable[str]) -> str:
    """The name, followed by a number from 2 if it is used already."""
    numbered = (f"{name}{separator}{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in used)


def dumps(value: Json) -> bytes:
    """Compact JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _field_component(field: Field, codes: Codes) -> Json:
    component: Json = {"platform": "sensor", "name": field.title}
    quantity = field.quantity
    # In a template `.values` would be a method.
    number = f"value_json['values'].{field.id}"
    if quantity.device_class in _BINARY:
        component |= {
            "platform": "binary_sensor",
            "device_class": quantity.device_class,
            "value_template": _template(f"{{none: 'None', 0: 'OFF'}}.get({number} | default(none), 'ON')"),
        }
    elif field.id in codes.fields:
        component["value_template"] = _template(f"value_json.texts.{field.id}")
        if field.id in codes.states:
            component["device_class"] = "enum"
            component["options"] = [*dict.fromkeys(codes.states[field.id].values()), OTHER]
    else:
        component["value_template"] = _template(number)
        component |= _measured(field.unit, quantity.device_class, quantity.state_class, field.decimals)
    if field.group in _DIAGNOSTIC_GROUPS:
        component["entity_category"] = "diagnostic"
    if not field.default:
        component["enabled_by_default"] = False
    return component


def _problem(topic: str) -> Json:
    """Whether a state has a problem, with the texts as attributes."""
    return {
        "platform": "binary_sensor",
        "name": "Problem",
        "device_class": "problem",
        "value_template": _template("value_json.problem"),
    } | _attributes(topic, "problems")


def _count(title: str, path: str, state_class: str, icon: str) -> Json:
    return {
        "platform": "sensor",
        "name": title,
        "icon": icon,
        "state_class": state_class,
        "value_template": _template(path),
    }


def _attributes(topic: str, path: str) -> Json:
    return {
        "json_attributes_topic": topic,
        "json_attributes_template": f"{{{{ value_json.{path} | default({{}}) | tojson }}}}",
    }


def _template(path: str) -> str:
    """A Jinja template for a value in the state; none when the state of an earlier version does not have it."""
    return f"{{{{ {path} | default(none) }}}}"
