"""What settings are: what each can hold, its default, whether it is secret, and a section as a frozen object.

The sections themselves stand in config.py. Not dataclasses: importing those costs a router 1.5 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

REQUIRED = object()
"""In place of a default: the setting must be given."""


class SettingError(Exception):
    """A value that a check refuses, and why; without a reason, the message says what the kind expects.

    `setting` is the name of the setting to blame when a section's own `check` raises it. `hide` the value: it holds a
    secret though the setting is none.
    """

    def __init__(self, problem: str = "", setting: str = "", *, hide: bool = False) -> None:
        super().__init__(problem)
        self.setting = setting
        self.hide = hide


class Kind(NamedTuple):
    """What a setting can hold."""

    types: tuple[type, ...]
    """What TOML must have made of it."""
    expected: str
    check: Callable[[Any], Any]
    """From a value of these types to the one to keep. Raises SettingError; of a secret, without the value in it."""

    def read(self, value: object) -> Any:
        """The value to keep. Raises SettingError."""
        if type(value) not in self.types:  # not isinstance: true is no number
            raise SettingError
        return self.check(value)


class Setting(NamedTuple):
    """One setting of a section."""

    kind: Kind
    default: Any
    """As kept, after the check; or REQUIRED."""
    secret: bool
    """Never shown, neither in messages nor in the section's repr."""
    help: str


def setting(kind: Kind, default: Any = REQUIRED, *, secret: bool = False, help: str) -> Any:
    """Declares an attribute of a SectionConfig."""
    return Setting(kind, default, secret, help)


class SectionConfig:
    """The settings of one section, as attributes that cannot be changed. Subclasses declare them with `setting`."""

    settings: ClassVar[dict[str, Setting]] = {}

    def __init_subclass__(cls) -> None:
        cls.settings = {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def __init__(self, **values: Any) -> None:
        """Raises SettingError for values that do not go together, TypeError for missing and unknown ones."""
        missing = [name for name, spec in self.settings.items() if spec.default is REQUIRED and name not in values]
        if missing or not values.keys() <= self.settings.keys():
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.settings)}, not {', '.join(values)}")
        vars(self).update({name: values.get(name, spec.default) for name, spec in self.settings.items()})
        self.check()

    def check(self) -> None:
        """Raises SettingError, with the setting to blame, for values that do not go together."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if not self.settings[name].secret)
        return f"{type(self).__name__}({', '.join(shown)})"


class Section(NamedTuple):
    """A section of the file."""

    name: str
    type: type[SectionConfig]
    repeated: bool = False
    """A backend, written [[name]], any number of times."""

    @property
    def header(self) -> str:
        """As it is written in the file."""
        return f"[[{self.name}]]" if self.repeated else f"[{self.name}]"

    @property
    def settings(self) -> dict[str, Setting]:
        """What can stand in it."""
        return self.type.settings


def check_text(value: str) -> str:
    if any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in value):
        raise SettingError("has a line break or another control character in it: leave that out")
    return value


def check_name(value: str) -> str:
    if not value.strip():
        raise SettingError
    return check_text(value)


def check_timezone(value: str) -> str:
    if check_name(value) == "local":
        return value
    import zoneinfo

    try:
        zoneinfo.ZoneInfo(value)
    except (KeyError, ImportError, ValueError, OSError):  # ImportError: any unknown name with python3-light on 3.11
        area, _, city = value.rpartition("/")
        known = zones()
        same_city = [zone for zone in known if zone.casefold().endswith("/" + city.casefold())]
        near = same_city[0] if same_city else nearest(value, known, 0.8)
        # Other areas' packages have other names in each release of OpenWrt.
        package = area.lower() if area in ("Africa", "Asia", "Atlantic", "Europe", "Pacific") else "all"
        install = f'install its data (on OpenWrt zoneinfo-{package}, elsewhere tzdata), or use "local"'
        if not known:
            problem = "this system has no time zone data: "
        elif near:
            problem = f'unknown time zone: did you mean "{near}"? Or '
        else:
            problem = "unknown time zone: check its spelling, "
        raise SettingError(problem + install) from None
    return value


def zones() -> list[str]:
    """The time zones of this system by area and city; those by offset are left out, for their signs are upside down.

    Read from the folders, for available_timezones() cannot be had with OpenWrt's python3-light alone on Python 3.11.
    """
    import os
    import zoneinfo

    names = []
    for root in zoneinfo.TZPATH:
        for folder, _, files in os.walk(root):
            area = os.path.relpath(folder, root)
            if area[0].isupper() and area != "Etc":
                names += [f"{area}/{file}" for file in files]
    return sorted(names)


def choice(*words: str) -> Kind:
    """One of these words."""
    listed = ", ".join(f'"{word}"' for word in words)

    def check(value: str) -> str:
        if value not in words:
            near = nearest(value, words)
            raise SettingError(f'did you mean "{near}"? Possible are {listed}' if near else f"expected one of {listed}")
        return value

    return Kind((str,), f"one of {listed}", check)


BOOLEAN = Kind((bool,), "true or false, without quotes", bool)
TEXT = Kind((str,), "text in quotes", check_text)
NAME = Kind((str,), "text in quotes that is not empty", check_name)
TIMEZONE = Kind((str,), 'a name such as "Europe/Paris", or "local"', check_timezone)


def nearest(word: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """The known word that is most like this one, if any is like it at all."""
    import difflib

    folded = {item.casefold(): item for item in known}
    found = difflib.get_close_matches(word.casefold(), folded, 1, least)
    return folded[found[0]] if found else None
