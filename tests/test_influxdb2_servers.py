"""The service delivers into real databases, and what they have stored is compared with what should be there."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from inverter_capture.protocol.inverter_kinds import SINGLE_PHASE
from tests.databases import Database, Influx, Point, VictoriaMetrics, free_port
from tests.dongle.day import expected_day
from tests.network import wait_for
from tests.programs import DAY, PROGRAM, Finished, Json, Program, run_program

TOKEN = "aG91c2U-_c2VjcmV0=="

TAGS = {"site": "Höhe, 3 °C = kühl", "a b": "x y", "ro\\of,=": "ost\\", "zz": 'say "hi"', "umläut": "\U0001f31e"}
STORED_TAGS = {"site": "Höhe, 3 °C = kühl", "a b": "x y", "ro/of,=": "ost/", "zz": 'say "hi"', "umläut": "\U0001f31e"}
"""A backslash is written as a slash."""


@pytest.fixture
def influx(tmp_path: Path) -> Iterator[Influx]:
    folder = tmp_path / "influx"
    folder.mkdir()
    with Influx(folder) as database:
        assert isinstance(database, Influx)
        database.create("solar")
        yield database


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    folder = tmp_path / "victoria"
    folder.mkdir()
    with VictoriaMetrics(folder) as database:
        assert isinstance(database, VictoriaMetrics)
        yield database


def toml_text(text: str) -> str:
    return "'" + text + "'"


def for_victoria(database: Database, *more: str, url: str = "") -> str:
    host = url or database.url
    lines = ["[[influxdb2]]", f'host = "{host}"', 'org = "home"', 'bucket = "solar"', f'token = "{TOKEN}"']
    return "\n".join([*lines, *more]) + "\n"


def for_influx(database: Database, *more: str, db: str = "solar", url: str = "") -> str:
    lines = [
        "[[influxdb2]]",
        f'host = "{url or database.url}"',
        f'db = "{db}"',
        'path = "/write"',
        'authentication = "basic"',
        f'token = "user:{TOKEN}"',
    ]
    return "\n".join([*lines, *more]) + "\n"


def write_config(folder: Path, *sections: str, device: Path = DAY) -> Path:
    path = folder / "config.toml"
    pcap = f'[pcap]\ndevice = "{device}"\nfile = true\ntimezone = "Africa/Johannesburg"\n'
    path.write_text(pcap + "".join(sections))
    return path


def check_connection(config: Path) -> Finished:
    finished = run_program("check", "--connect", config)
    assert TOKEN not in finished.out + finished.err
    return finished


def wide(readings: Iterable[Json], tags: dict[str, str] | None = None) -> list[Point]:
    """What should be stored of these readings."""
    points = []
    for reading in readings:
        own = tuple(sorted({**(tags or {}), "serial": reading["serial"]}.items()))
        points += [Point(reading["timestamp"], own, name, float(value)) for name, value in reading["values"].items()]
    return sorted(points)


def narrow(readings: Iterable[Json], tags: dict[str, str] | None = None) -> list[Point]:
    """The same in the narrow schema."""
    points = []
    for reading in readings:
        for name, value in reading["values"].items():
            field = SINGLE_PHASE.fields_by_id[name]
            own = {"serial": reading["serial"], "group": field.group, "name": field.name, "unit": field.unit}
            own = {name: text for name, text in (own | (tags or {})).items() if text}
            points.append(Point(reading["timestamp"], tuple(sorted(own.items())), "value", float(value)))
    return sorted(points)


def unique(points: Iterable[Point]) -> list[Point]:
    """InfluxDB keeps one value where a time comes twice."""
    return sorted({point[:3]: point for point in points}.values())


def assert_same(stored: list[Point], expected: list[Point]) -> None:
    """As ==, but without printing a hundred thousand points."""
    if stored != expected:
        missing, extra = set(expected) - set(stored), set(stored) - set(expected)
        pytest.fail(
            f"{len(stored)} stored, {len(expected)} expected; {len(missing)} missing, such as {sorted(missing)[:3]}; "
            f"{len(extra)} extra, such as {sorted(extra)[:3]}"
        )


@pytest.mark.parametrize("schema", ["wide", "narrow"])
def test_every_value_arrives(schema: str, influx: Influx, victoria: VictoriaMetrics, tmp_path: Path) -> None:
    tags = "tags = { " + ", ".join(f"{toml_text(name)} = {toml_text(text)}" for name, text in TAGS.items()) + " }"
    more = (f'schema = "{schema}"', tags)
    finished = run_program("run", write_config(tmp_path, for_victoria(victoria, *more), for_influx(influx, *more)))
    assert (finished.code, finished.errors) == (0, [])
    assert finished.err.count("ready to deliver") == 2
    expected = (wide if schema == "wide" else narrow)(expected_day(), STORED_TAGS)
    assert_same(influx.points(), unique(expected))
    assert_same(victoria.points(), expected)


def test_another_measurement(influx: Influx, victoria: VictoriaMetrics, tmp_path: Path) -> None:
    """And compressed, as to another machine: this is an unusual address of this one."""
    name = "Grünes Haus, 2"
    measurement = f'measurement = "{name}"'
    urls = [database.url.replace("127.0.0.1", "[::ffff:127.0.0.1]") for database in (influx, victoria)]
    sections = for_influx(influx, measurement, url=urls[0]), for_victoria(victoria, measurement, url=urls[1])
    config = write_config(tmp_path, *sections)
    assert run_program("run", config).code == 0
    assert_same(influx.points(name), unique(wide(expected_day())))
    assert_same(victoria.points(name), wide(expected_day()))


def test_a_server_that_dies_and_comes_back_loses_nothing(
    influx: Influx, victoria: VictoriaMetrics, tmp_path: Path
) -> None:
    """Readings come slowly, through a pipe. One server is killed while it takes some, the other ends between two."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    begun, paused, proceed = threading.Event(), threading.Event(), threading.Event()

    def feed() -> None:
        data = DAY.read_bytes()
        size = len(data) // 40 + 1
        with pipe.open("wb", buffering=0) as file:
            for at in range(0, len(data), size):
                if at == 10 * size:
                    begun.wait(60)
                if at == 20 * size:
                    paused.set()
                    proceed.wait(60)
                file.write(data[at : at + size])
                time.sleep(0.03)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    config = write_config(tmp_path, for_influx(influx), for_victoria(victoria), device=pipe)
    with Program([*PROGRAM, "run", str(config)]) as program:
        wait_for(influx.points, "first points", 30)
        begun.set()
        influx.kill()
        # The pipe may not be read meanwhile.
        program.wait_until_said("error: influxdb2", 1, 30)
        influx.start()
        assert paused.wait(30)
        # What it has confirmed shortly before it is killed, it would lose.
        victoria.end()
        proceed.set()
        program.wait_until_said("error: influxdb2", 2, 30)
        victoria.start()
        assert program.wait() == 0
        assert program.said("delivering again") == 2
    feeder.join(10)
    assert_same(influx.points(), unique(wide(expected_day())))
    assert_same(victoria.points(), wide(expected_day()))


def test_a_right_connection(influx: Influx, victoria: VictoriaMetrics, tmp_path: Path) -> None:
    finished = check_connection(write_config(tmp_path, for_influx(influx), for_victoria(victoria)))
    assert (finished.code, finished.err) == (0, "")
    assert finished.out == f"influxdb2 {influx.url}: OK\ninfluxdb2 {victoria.url}: OK\n"
    assert influx.query("SHOW MEASUREMENTS", "solar") == []
    assert victoria.points() == []


def test_wrong_connections(influx: Influx, victoria: VictoriaMetrics, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    nobody = for_victoria(victoria).replace(victoria.url, url)
    config = write_config(tmp_path, nobody, for_influx(influx, db="sonne"), for_victoria(influx), for_influx(influx))
    finished = check_connection(config)
    assert finished.code == 1
    assert finished.out == f"influxdb2 {influx.url}: OK\n"
    first, second, third = finished.errors
    assert f': [[influxdb2]] host = "{url}": cannot be reached (Connection refused): check host' in first
    assert re.search(r'db = "sonne".*database not found: \\?"sonne', second), second
    assert re.search('"home".*path = "/api/v2/write"', third), third
