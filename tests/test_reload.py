"""SIGHUP: the configuration is read again, and nothing that waits is lost by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from inverter_capture.capture.device import LiveCapture
from inverter_capture.config.schema import PcapConfig
from inverter_capture.protocol.readings import Reading
from inverter_capture.service.pipeline import Pipeline
from tests.faulty_server import Exchange, FaultyServer, answering, well
from tests.network import BRIDGE, ROOT, Network, wait_for
from tests.programs import DAY, PROGRAM, ZONE, Dongle, Json, Program, cloud, run_program, send, service

AGAIN = "the configuration has been read again"
PARTLY = "the configuration has been read again, but not all of [pcap] is in use"
WRONG = "error: the new configuration is invalid; the service continues with the previous one"
LOST = ": lost: "
CONSOLE = '[[console]]\nformat = "json"'

refusing = answering(401, '{"code":"unauthorized","message":"unauthorized access"}')


def taking_the_right_token(exchange: Exchange) -> None:
    (well if exchange.headers["authorization"] == "Token right" else refusing)(exchange)


def write(path: Path, *backends: str, level: str = "info", **pcap: Any) -> Path:
    """A configuration."""
    settings = {"timezone": ZONE, "guard": False} | pcap
    lines = [
        "[pcap]",
        *(
            f"{name} = {str(value).lower() if isinstance(value, bool) else repr(value)}"
            for name, value in settings.items()
        ),
    ]
    path.write_text("\n".join([*lines, *backends, "[log]", f'level = "{level}"']) + "\n")
    return path


def influxdb2(url: str, token: str = "right", **settings: str) -> str:
    lines = ["[[influxdb2]]", f'host = "{url}"', 'org = "home"', 'bucket = "solar"', f'token = "{token}"']
    return "\n".join([*lines, *(f'{name} = "{value}"' for name, value in settings.items())])


def reload(program: Program, answer: str = AGAIN) -> None:
    """Returns when the answer is in the log once more."""
    count = program.said(answer)
    os.kill(program.pid, signal.SIGHUP)
    program.wait_until_said(answer, count + 1)


def blocks(pid: int, number: signal.Signals, thread: int | None = None) -> bool:
    """Whether a thread, the main one unless told otherwise, holds this signal back at the moment."""
    blocked = Path(f"/proc/{pid}/task/{thread or pid}/status").read_text().partition("\nSigBlk:")[2].split()[0]
    return bool(int(blocked, 16) >> (number - 1) & 1)


def times(lines: list[str]) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in lines]


def stamps(*sent: list[Json]) -> list[int]:
    return [reading["timestamp"] for readings in sent for reading in readings]


def test_what_waits_is_delivered_once_the_settings_are_right(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = tmp_path / "c.toml"
    with (
        FaultyServer(refusing) as first,
        FaultyServer() as second,
        service(write(config, influxdb2(first.url, "wrong"), CONSOLE, **pcap)) as program,
    ):
        one = dongle.send(3)
        program.wait_until_said("token")
        # The token is corrected, and the server takes it.
        first.play = taking_the_right_token
        write(config, influxdb2(first.url), CONSOLE, **pcap)
        reload(program)
        assert times(first.wait_for_stored(3)) == stamps(one)
        # Another server takes over what the first has not taken.
        first.play = refusing
        two = dongle.send(2)
        program.wait_for_readings(5)
        write(config, influxdb2(second.url, measurement="house"), CONSOLE, **pcap)
        reload(program)
        three = dongle.send(1)
        lines = second.wait_for_stored(3)
        assert times(lines) == stamps(two, three)
        # Each reading is as it was to be written when it came.
        assert [line.partition(",")[0] for line in lines] == ["inverter"] * 2 + ["house"]
        assert len(first.stored) == 3
        assert program.stop().code == 0
        assert program.said(LOST) == 0
        assert program.readings == one + two + three


def test_a_reload_without_changes_means_try_now(dongle: Dongle, tmp_path: Path) -> None:
    with FaultyServer(refusing) as server:
        config = write(tmp_path / "c.toml", influxdb2(server.url), device="lo", filter=dongle.filter)
        with service(config) as program:
            sent = dongle.send(2)
            program.wait_until_said("token")
            server.play = well
            reload(program)
            assert times(server.wait_for_stored(2)) == stamps(sent)


def test_backends_come_and_go(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = tmp_path / "c.toml"
    with (
        FaultyServer() as first,
        FaultyServer(refusing) as second,
        FaultyServer() as third,
        service(write(config, influxdb2(first.url), influxdb2(second.url), **pcap)) as program,
    ):
        one = dongle.send(2)
        assert times(first.wait_for_stored(2)) == stamps(one)
        # The order means nothing to those that stay; the second waits all the while.
        write(config, CONSOLE, influxdb2(third.url), influxdb2(second.url), influxdb2(first.url), **pcap)
        reload(program)
        two = dongle.send(2)
        assert times(third.wait_for_stored(2)) == stamps(two)
        assert times(first.wait_for_stored(4)) == stamps(one, two)
        assert program.said(f"influxdb2 {first.url}: ready to deliver") == 1
        second.play = well
        write(config, influxdb2(second.url), **pcap)
        reload(program)
        # Its settings are the same, but whoever reloads wants an attempt now.
        assert times(second.wait_for_stored(4)) == stamps(one, two)
        three = dongle.send(1)
        program.stop()
        assert times(second.stored) == stamps(one, two, three)
        assert times(first.stored) == stamps(one, two)
        assert times(third.stored) == stamps(two)
        assert program.readings == two


def test_a_backend_that_goes_with_readings_says_so(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = tmp_path / "c.toml"
    with FaultyServer(refusing) as server, service(write(config, influxdb2(server.url), CONSOLE, **pcap)) as program:
        dongle.send(2)
        program.wait_for_readings(2)
        write(config, CONSOLE, **pcap)
        reload(program)
        program.wait_until_said(f"influxdb2 {server.url}{LOST}2 readings")
        sent = dongle.send(1)
        assert program.wait_for_readings(3)[2:] == sent
        assert program.stop().code == 0
        assert program.said(LOST) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pcap]\nfilter = 1\n", "[pcap] filter = 1: expected"),
        ("[pcap\n", "c.toml:1: "),
        ('[pcap]\ndevice = "lo"\nfilter = "tcp prot 1"\n[[console]]\n', '[pcap] filter = "tcp prot 1": '),
        (None, "c.toml: cannot be read"),
    ],
)
def test_a_wrong_configuration_changes_nothing(dongle: Dongle, tmp_path: Path, text: str | None, message: str) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = write(tmp_path / "c.toml", CONSOLE, **pcap)
    with service(config) as program:
        one = dongle.send(1)
        program.wait_for_readings(1)
        if text is None:
            config.unlink()
        else:
            config.write_text(text)
        reload(program, WRONG)
        assert program.said(message) == 1
        two = dongle.send(1)
        assert program.wait_for_readings(2) == one + two
        write(config, CONSOLE, level="error", **pcap)
        os.kill(program.pid, signal.SIGHUP)
        three = dongle.send(1)
        assert program.wait_for_readings(3) == one + two + three
        assert program.stop().code == 0


def test_a_backend_stays_with_the_section_most_like_its_own(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = tmp_path / "c.toml"
    with (
        FaultyServer(refusing) as first,
        FaultyServer(refusing) as second,
        service(write(config, influxdb2(first.url), influxdb2(second.url, "wrong"), CONSOLE, **pcap)) as program,
    ):
        sent = dongle.send(2)
        program.wait_for_readings(2)
        first.play = second.play = well
        write(config, influxdb2(second.url), CONSOLE, **pcap)
        reload(program)
        assert times(second.wait_for_stored(2)) == stamps(sent)
        assert program.stop().code == 0
        assert first.stored in ([], second.stored)
        assert len(second.stored) == 2


def test_the_table_follows_the_time_zone(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    table = '[[console]]\nformat = "table"'
    config = write(tmp_path / "c.toml", table, **pcap)
    with service(config) as program:
        for zone, offset in ((ZONE, "+02:00"), ("Asia/Tokyo", "+09:00")):
            write(config, table, **pcap | {"timezone": zone})
            reload(program)
            dongle.send(1)
            program.wait_for(lambda offset=offset: offset in "".join(program.out), offset)  # type: ignore[misc] # the loop's
        assert program.stop().code == 0


def test_what_comes_while_the_device_is_opened_anew(dongle: Dongle, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Json] = []
    found: list[Reading] = []

    begin = LiveCapture.__init__

    def begin_late(*arguments: Any) -> None:
        sent.extend(dongle.send(1))
        begin(*arguments)

    before = PcapConfig(device="lo", filter=dongle.filter, timezone=ZONE, guard=False)
    one = Pipeline(before, found.extend, lambda: None, lambda: None)
    one.open()
    one.start()
    try:
        monkeypatch.setattr(LiveCapture, "__init__", begin_late)
        one.reconfigure(PcapConfig(device="lo", filter=f"tcp and {dongle.filter}", timezone=ZONE, guard=False))
        wait_for(lambda: found, "reading")
        sent += dongle.send(1)
        wait_for(lambda: len(found) == 2, "next reading")
    finally:
        one.stop()
        one.join(10)
    assert [reading.time for reading in found] == stamps(sent)


def test_another_device_filter_and_time_zone(network: Network, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    with cloud(network), service(write(config, CONSOLE, device="br-guest"), network.router) as program:
        send(network, "--readings", "1")
        write(config, CONSOLE, device=BRIDGE)
        reload(program)
        assert program.said(f"capturing on {BRIDGE}") == 1
        sent = send(network, "--readings", "2", "--start", "2024-06-21T05:00")
        assert program.wait_for_readings(2) == sent
        write(config, CONSOLE, device=BRIDGE, filter="host 192.168.8.77")
        reload(program)
        send(network, "--readings", "1", "--start", "2024-06-22T05:00")
        write(config, CONSOLE, device=BRIDGE, timezone="Europe/Paris")
        reload(program)
        late = send(network, "--readings", "1", "--start", "2024-06-23T05:00", "--zone", "Europe/Paris")
        assert program.wait_for_readings(3) == sent + late
        # A device that is gone is waited for, and a wrong name is mended.
        write(config, CONSOLE, device="br-none")
        reload(program)
        program.wait_until_said('"br-none": there is no such device')
        write(config, CONSOLE, device="any")
        reload(program)
        last = send(network, "--readings", "1", "--start", "2024-06-24T05:00")
        assert len(program.wait_for_readings(4)) == 4
        assert program.readings[3]["values"] == last[0]["values"]
        assert program.stop().code == 0


def test_a_frame_in_the_middle_of_a_reload_is_whole(network: Network, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    filters = [f"host {network.dongle.ipv4}", f"tcp and host {network.dongle.ipv4}"]
    with cloud(network), service(write(config, CONSOLE, device=BRIDGE, filter=filters[0]), network.router) as program:
        words = [sys.executable, "-m", "tests.dongle.client", "--server", f"{network.server.ipv4}:51100"]
        options = ["--readings", "20", "--split", "100,100", "--pause", "0.05", "--pace", "0.05"]
        with Program([*words, *options], where=network.dongle) as dongle:
            for number in range(1, 11):
                program.wait_for_readings(number)
                write(config, CONSOLE, device=BRIDGE, filter=filters[number % 2])
                reload(program)
            assert dongle.wait() == 0
            assert program.wait_for_readings(20) == dongle.readings
        assert program.stop().code == 0


def test_many_hups_and_one_before_it_is_ready(dongle: Dongle, tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", CONSOLE, device="lo", filter=dongle.filter)
    with Program([*PROGRAM, "run", str(config)]) as program:
        program.wait_for(lambda: blocks(program.pid, signal.SIGHUP), "begin of the command")
        os.kill(program.pid, signal.SIGHUP)
        program.wait_until_said(AGAIN)
        for _ in range(20):
            os.kill(program.pid, signal.SIGHUP)
        sent = dongle.send(1)
        assert program.wait_for_readings(1) == sent
        assert program.stop().code == 0


def test_signals_come_to_the_main_thread_alone(dongle: Dongle, tmp_path: Path) -> None:
    """Two at a time: the second that another thread took would not wake it."""
    pcap = {"device": "lo", "filter": dongle.filter}
    config = tmp_path / "c.toml"
    with FaultyServer() as server, service(write(config, CONSOLE, **pcap)) as program:
        write(config, CONSOLE, influxdb2(server.url), **pcap)
        reload(program)
        program.wait_until_said("ready to deliver")
        threads = [int(name) for name in os.listdir(f"/proc/{program.pid}/task")]
        assert len(threads) == 4
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            assert [thread for thread in threads if not blocks(program.pid, number, thread)] == [program.pid]
        os.kill(program.pid, signal.SIGHUP)
        assert program.stop().code == 0


def test_a_device_that_cannot_be_opened_keeps_no_other_setting_back(dongle: Dongle, tmp_path: Path) -> None:
    pcap = {"device": "lo", "filter": dongle.filter}
    config = write(tmp_path / "c.toml", CONSOLE, **pcap)
    with service(config, cwd=tmp_path) as program:
        one = dongle.send(1)
        in_the_way = tmp_path / "lo"
        in_the_way.touch()
        write(config, CONSOLE, device="lo", filter="tcp", timezone="Asia/Tokyo", serials=["E47R2K0193"])
        reload(program, PARTLY)
        assert program.said('"lo": a file of that name is in the working directory') == 1
        assert program.said(AGAIN) == program.said(PARTLY) == 1
        # It captures with the filter there was; the rest has changed.
        dongle.send(1)
        program.wait_until_said("[pcap] serials does not name it")
        write(config, CONSOLE, device="lo", filter="tcp", timezone="Asia/Tokyo")
        reload(program, PARTLY)
        two = dongle.send(1)
        seven_hours = 7 * 3600 * 1_000_000_000
        assert stamps(program.wait_for_readings(2)) == [*stamps(one), stamps(two)[0] - seven_hours]
        # It is tried again.
        in_the_way.unlink()
        write(config, CONSOLE, **pcap)
        reload(program, AGAIN)
        three = dongle.send(1)
        assert program.wait_for_readings(3)[2:] == three
        assert program.stop().code == 0


def test_reloads_are_held_before_anything_large_is_loaded(tmp_path: Path) -> None:
    """Each module that is loaded notes whether SIGHUP is held."""
    code = """if True:
        import signal, sys
        class Watch:
            def find_spec(name, *more):
                held = signal.SIGHUP in signal.pthread_sigmask(signal.SIG_BLOCK, ())
                print(name, held, file=sys.stderr)
        sys.meta_path.insert(0, Watch)
        from inverter_capture.__main__ import main
        sys.exit(main())
    """
    for words, held in ((["run", str(tmp_path / "none.toml")], True), (["decode", str(DAY)], False)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False
        )
        notes = dict(line.split() for line in done.stderr.splitlines() if line.count(" ") == 1)
        large = [name for name in notes if name.startswith(("argparse", "logging", "inverter_capture.commands"))]
        assert len(large) >= 3
        assert {notes[name] for name in large} == {str(held)}


def test_a_capture_file_is_read_as_it_was_begun(tmp_path: Path) -> None:
    with FaultyServer(refusing) as server:
        config = write(tmp_path / "c.toml", influxdb2(server.url, "wrong"), device=str(DAY), file=True)
        with Program([*PROGRAM, "run", str(config)]) as program:
            program.wait_until_said("token")
            server.play = well
            write(config, influxdb2(server.url), device="/dev/null", file=True)
            reload(program)
            assert program.said("[pcap] takes effect at the next start") == 1
            assert program.wait() == 0
        wanted = len(run_program("decode", DAY, "--format", "json", "--timezone", ZONE).readings)
        assert len(server.stored) == wanted


def test_a_running_capture_does_not_change_to_a_file(dongle: Dongle, tmp_path: Path) -> None:
    config = write(tmp_path / "c.toml", CONSOLE, device="lo", filter=dongle.filter)
    with service(config) as program:
        write(config, CONSOLE, device=str(DAY), file=True)
        reload(program, PARTLY)
        assert program.said("[pcap] takes effect at the next start") == 1
        dongle.send(1)
        program.wait_until_said("292-byte reports")
        assert program.stop().code == 0


def test_a_file_that_is_read_waits_for_the_settings(tmp_path: Path) -> None:
    """All of it is in memory, and the settings are mended."""
    pcap: dict[str, Any] = {"device": str(DAY), "file": True, "filter": "host 192.168.8.202"}
    with FaultyServer(refusing) as server:
        config = write(tmp_path / "c.toml", influxdb2(server.url, "wrong"), CONSOLE, **pcap)
        with Program([*PROGRAM, "run", str(config)]) as program:
            count = len(program.wait_for_readings(288))
            program.wait_until_said("token")
            server.play = taking_the_right_token
            write(config, influxdb2(server.url), CONSOLE, **pcap)
            reload(program)
            assert program.wait() == 0
        assert len(server.stored) == count


def test_a_file_does_not_wait_for_a_backend_that_went(tmp_path: Path) -> None:
    with FaultyServer(refusing) as server:
        pcap: dict[str, Any] = {"device": str(DAY), "file": True}
        config = write(tmp_path / "c.toml", CONSOLE, influxdb2(server.url, buffer="256 KiB"), **pcap)
        with Program([*PROGRAM, "run", str(config)]) as program:
            program.wait_until_said("token")
            # Until its buffer is full, and the file waits.
            program.wait_for(lambda: program.out, "readings")
            time.sleep(0.3)
            write(config, CONSOLE, **pcap)
            reload(program)
            assert program.wait() == 1, "it went with readings"
        wanted = run_program("decode", DAY, "--format", "json", "--timezone", ZONE).readings
        assert program.readings == wanted
