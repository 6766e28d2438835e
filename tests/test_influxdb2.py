"""The InfluxDB backend with a server that plays everything a server can do: nothing lost, doubled or out of order."""

from __future__ import annotations

import email.utils
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from inverter_capture.backends import backend as base
from inverter_capture.backends import backoff
from inverter_capture.backends.influxdb2 import buffer
from inverter_capture.backends.influxdb2 import delivery as influxdb2
from inverter_capture.backends.influxdb2.buffer import IMPORT_BATCH_BYTES_MAX, SMALL_BATCH_BYTES_MAX, Buffer
from inverter_capture.backends.influxdb2.delivery import InfluxDb2
from inverter_capture.backends.influxdb2.write_api import WriteApi
from inverter_capture.config.schema import InfluxDb2Config
from inverter_capture.protocol.readings import Reading
from tests.faulty_server import Exchange, FaultyServer, Play, answering, well
from tests.network import wait_for

SERIAL = "2211229876"
TOKEN = "aG91c2U-_c2VjcmV0=="
TIMEOUT = 0.2
BOUND = 3 * TIMEOUT

BROKEN = {
    "hangs": Exchange.hang,
    "closes": Exchange.close,
    "resets": Exchange.reset,
    "resets in the status line": lambda exchange: (exchange.send(b"HTTP/1.1 20"), exchange.reset()),
    "drips the status line": lambda exchange: exchange.drip(b"HTTP/1.1 "),
    "drips headers": lambda exchange: (exchange.send(b"HTTP/1.1 503 No\r\n"), exchange.drip(b"X-Y: z\r\n")),
    "drips continues": lambda exchange: exchange.drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
    "drips an error": lambda exchange: (
        exchange.send(b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n"),
        exchange.drip(b"trouble "),
    ),
    "sends garbage": lambda exchange: (exchange.send(b"\x15\x03\x01\0\x02\x02" * 50), exchange.close()),
    "sends headers without end": lambda exchange: exchange.send(b"HTTP/1.1 503 No\r\n" + b"X: " + b"y" * 200_000),
    "sends a huge error": lambda exchange: exchange.send(
        b"HTTP/1.1 500 No\r\nContent-Length: 4000000000\r\n\r\n" + b"x" * 1_000_000
    ),
    "has trouble": answering(500, "engine: cannot write"),
    "is overloaded": answering(503),
    "is a proxy": answering(502, "<html>Bad Gateway</html>"),
    "limits": answering(429, Retry_After="0"),
    "redirects": answering(301, Location="http://localhost:1/"),
    "redirects as it is": answering(308, Location="/other"),
    "is a web page": answering(200, "<html>Welcome</html>", Content_Type="text/html; charset=utf-8"),
    "wants another token": answering(401, '{"code":"unauthorized","message":"unauthorized access"}'),
    "permits nothing": answering(403, '{"code":"forbidden","message":"insufficient permissions for write"}'),
    "has no bucket": answering(404, '{"code":"not found","message":"bucket \\"solar\\" not found"}'),
    "wants no POST": answering(405),
    "refuses all": answering(400, '{"code":"invalid","message":"unable to parse"}'),
    "cannot process anything": answering(422, "field type conflict"),
    "finds all too large": answering(413),
}


HOLDING = ("hangs", "drips the status line", "drips headers", "drips continues", "drips an error")
"""Those of them that only we can end."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours become seconds."""
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(backoff, "LONGEST_SECONDS", 0.1)
    monkeypatch.setattr(backoff, "LASTING_SECONDS", 0.1)
    monkeypatch.setattr(backoff, "ASKED_SECONDS_MAX", 0.4)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log, in which the token never stands, nor an error of ours."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    text = "".join(str(vars(record)) for record in caplog.get_records("call")) + caplog.text
    assert TOKEN not in text
    assert "Traceback" not in text


def errors(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as server:
        yield server


def section(url: str, **settings: Any) -> InfluxDb2Config:
    given = {"host": url, "org": "home", "bucket": "solar", "token": TOKEN, "timeout": 5.0}
    return InfluxDb2Config(**given | settings)


@contextmanager
def delivering(server: FaultyServer, **settings: Any) -> Iterator[InfluxDb2]:
    backend = InfluxDb2(section(server.url, **settings))
    backend.start()
    try:
        yield backend
    finally:
        server.ended.set()
        backend.stop()
        backend.join(10)


def reading(number: int) -> Reading:
    return Reading.of(SERIAL, number, {"grid_power": number, "grid_frequency": 50.01})


def line(number: int) -> str:
    return f"inverter,serial={SERIAL} grid_power={number},grid_frequency=50.01 {number}"


def lines(count: int, first: int = 0) -> list[str]:
    return [line(number) for number in range(first, first + count)]


def put(backend: InfluxDb2, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        backend.put(reading(number))


def written(server: FaultyServer) -> list[Exchange]:
    """The requests that had something to store."""
    return [exchange for exchange in server.exchanges if exchange.lines]


def each_once(stored: list[str]) -> list[str]:
    """In the order in which they came first."""
    return list(dict.fromkeys(stored))


def poisoned(*numbers: int, status: int = 400, then: Play = well) -> Play:
    """A server that takes nothing in which one of these readings is."""
    poison = {line(number) for number in numbers}

    def play(exchange: Exchange) -> None:
        bad = poison & set(exchange.lines)
        if bad:
            exchange.answer(status, f"unable to parse '{min(bad)}': bad timestamp")
        else:
            then(exchange)

    return play


# A server that is well


def test_what_is_sent(server: FaultyServer) -> None:
    with delivering(server) as backend:
        put(backend, 1)
        assert server.wait_for_stored(1) == [line(0)]
        assert backend.wait_until_empty(30)
    exchange = written(server)[0]
    assert exchange.target.startswith("/api/v2/write?")
    assert exchange.params == {"org": "home", "bucket": "solar", "precision": "ns"}
    assert exchange.headers["authorization"] == f"Token {TOKEN}"
    assert exchange.headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-encoding" not in exchange.headers


@pytest.mark.parametrize(
    ("settings", "authorization", "params"),
    [
        ({"authentication": "bearer"}, f"Bearer {TOKEN}", {"org": "home", "bucket": "solar", "precision": "ns"}),
        ({"authentication": "basic", "token": "jörg:x"}, "Basic asO2cmc6eA==", None),
        ({"authentication": "none", "token": "", "org": "", "bucket": ""}, None, None),
        ({"db": "a b&c/d"}, f"Token {TOKEN}", {"db": "a b&c/d", "precision": "ns"}),
        ({"org": "Höhe & Co", "bucket": "a/b c"}, f"Token {TOKEN}", None),
        ({"path": "/influx/write"}, f"Token {TOKEN}", None),
    ],
)
def test_other_servers_ways(
    settings: dict[str, str], authorization: str | None, params: dict[str, str] | None, server: FaultyServer
) -> None:
    if authorization == "Basic asO2cmc6eA==":
        import base64

        authorization = "Basic " + base64.b64encode("jörg:x".encode()).decode()
    with delivering(server, **settings) as backend:
        put(backend, 1)
        server.wait_for_stored(1)
    exchange = written(server)[0]
    assert exchange.headers.get("authorization") == authorization
    if params is not None:
        assert exchange.params == params
    for name in ("org", "bucket"):
        if settings.get(name):
            assert exchange.params[name] == settings[name]
        elif name in settings:
            assert name not in exchange.params
    assert exchange.target.startswith(settings.get("path", "/api/v2/write") + "?")


def test_a_reading_arrives_at_once(server: FaultyServer) -> None:
    seconds = []
    with delivering(server) as backend:
        server.wait_for_exchanges(1)
        for number in range(20):
            began = time.monotonic()
            put(backend, 1, number)
            while len(server.stored) <= number:
                time.sleep(0.0005)
            seconds.append(time.monotonic() - began)
            assert backend.wait_until_empty(30)
    print(f"{sorted(seconds)[10] * 1000:.1f} ms, at most {max(seconds) * 1000:.1f} ms")
    # On a busy machine one may be late.
    assert sorted(seconds)[10] < 1


def test_an_attempt_after_a_failure_is_small(server: FaultyServer) -> None:
    """Each takes twice the memory of what it sends, and most fail."""
    server.play = answering(503)
    backend = InfluxDb2(section(server.url))
    backend.start()
    put(backend, 10_000)
    server.wait_for_exchanges(3)
    server.play = well
    assert server.wait_for_stored(10_000) == lines(10_000)
    backend.stop()
    assert backend.join(5) == 0
    failed, last = server.exchanges[2], max(server.exchanges, key=lambda exchange: len(exchange.body))
    assert len(failed.body) < SMALL_BATCH_BYTES_MAX < len(last.body)


@pytest.mark.parametrize(
    ("host", "compressed"), [("[::ffff:127.0.0.1]", True), ("localhost", False), ("127.0.0.1", False)]
)
def test_a_backlog_goes_in_few_requests_on_one_connection(host: str, compressed: bool, server: FaultyServer) -> None:
    """They are compressed, but not for this machine, of which the first is an unusual address."""
    backend = InfluxDb2(section(server.url.replace("localhost", host)))
    put(backend, 10_000)
    began = len(server.exchanges)
    backend.start()
    assert server.wait_for_stored(10_000) == lines(10_000)
    backend.stop()
    assert backend.join(5) == 0
    requests = server.exchanges[began + 1 :]
    assert len(requests) <= 6
    assert all((exchange.size < len(exchange.body) / 4) == compressed for exchange in requests)
    # One for the check at the start.
    assert server.connections == 2


def test_several_backends_go_their_own_ways(server: FaultyServer) -> None:
    with FaultyServer(Exchange.hang) as other, delivering(other) as stuck, delivering(server) as backend:
        for number in range(10):
            stuck.put(reading(number))
            backend.put(reading(number))
        assert server.wait_for_stored(10) == lines(10)
        assert not stuck.wait_until_empty(0)


# A server that is not


@pytest.mark.parametrize("how", BROKEN)
def test_nothing_is_lost(how: str, server: FaultyServer, log: pytest.LogCaptureFixture) -> None:
    """The server is well, then is not, then is again."""
    broken: Play = BROKEN[how]
    holds = how in HOLDING
    with delivering(server, buffer=64 * 1024, timeout=TIMEOUT if holds else 5.0) as backend:
        put(backend, 5)
        server.wait_for_stored(5)
        assert backend.wait_until_empty(30)
        server.play = broken
        before = len(server.exchanges)
        put(backend, 10, 5)
        server.wait_for_exchanges(before + 1)
        put(backend, 10, 15)
        server.wait_for_exchanges(before + 2)
        wait_for(lambda: errors(log), "line")
        server.play = well
        server.wait_for_stored(25, 20)
        assert backend.wait_until_empty(30)
        wait_for(lambda: "delivering again" in log.text, "line about that")
    assert each_once(server.stored) == lines(25)
    assert backend.delivered == 25
    if not holds:
        assert len(server.stored) == 25
    assert backend.refused == 0
    assert len(errors(log)) == 1, errors(log)
    assert errors(log)[0].startswith(f"influxdb2 {server.url}: ")
    assert re.search(r"waiting: (10|[1-9]|1\d|20) readings?$", errors(log)[0])


@pytest.mark.parametrize(
    "how", ["hangs", "drips the status line", "drips headers", "drips continues", "drips an error"]
)
def test_no_answer_holds_the_thread(how: str, server: FaultyServer) -> None:
    server.play = BROKEN[how]
    with delivering(server, timeout=TIMEOUT) as backend:
        put(backend, 1)
        times = [exchange.time for exchange in server.wait_for_exchanges(3, 3 * (BOUND + 1))]
        gaps = [after - before for before, after in pairwise(times)]
        assert all(gap < BOUND + 1 for gap in gaps), gaps


@pytest.mark.parametrize(
    "then",
    [
        Exchange.reset,
        Exchange.hang,
        lambda exchange: exchange.send(b"HTTP/1.1 "),
    ],
)
def test_an_answer_that_is_lost(then: Play, server: FaultyServer) -> None:
    """Only then something is stored twice, and it comes in order."""

    def play(exchange: Exchange) -> None:
        exchange.store()
        server.play = well
        then(exchange)

    with delivering(server, timeout=TIMEOUT) as backend:
        server.wait_for_exchanges(1)
        server.play = play
        put(backend, 3)
        server.wait_for_stored(4)
        assert backend.wait_until_empty(30)
    assert each_once(server.stored) == lines(3)
    assert len(server.stored) <= 6


def test_a_drip_after_the_confirmation(server: FaultyServer) -> None:
    """The status is all that counts."""

    def play(exchange: Exchange) -> None:
        exchange.store()
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
        exchange.drip(b"thanks ")

    server.play = play
    with delivering(server, timeout=TIMEOUT) as backend:
        put(backend, 3)
        assert backend.wait_until_empty(30)
    assert each_once(server.stored) == lines(3)
    assert len(server.stored) == 3


def test_a_server_that_comes_and_goes(server: FaultyServer) -> None:
    """Everything arrives once, oldest first, while readings keep coming."""
    turn = iter(range(1_000_000))

    def play(exchange: Exchange) -> None:
        (well if next(turn) % 3 == 2 else answering(503))(exchange)

    with delivering(server) as backend:
        server.play = play
        for number in range(300):
            put(backend, 1, number)
            time.sleep(0.001)
        server.wait_for_stored(300, 20)
        assert backend.wait_until_empty(30)
    assert server.stored == lines(300)


def test_a_server_that_cannot_be_reached(log: pytest.LogCaptureFixture) -> None:
    with FaultyServer() as server:
        server.refuse()
        with delivering(server) as backend:
            put(backend, 10)
            wait_for(lambda: errors(log), "line")
            time.sleep(0.5)
            assert len(errors(log)) == 1
            said = r"cannot be reached \(Connection refused\): check host, and that the server is running"
            said = rf"influxdb2 {server.url}: {said}; waiting: \d+ readings?"
            assert re.fullmatch(said, errors(log)[0])
            server.listen()
            assert server.wait_for_stored(10) == lines(10)
            assert backend.wait_until_empty(30)


# What a server refuses


@pytest.mark.parametrize("status", [400, 422])
def test_only_what_is_refused_is_dropped(status: int, server: FaultyServer, log: pytest.LogCaptureFixture) -> None:
    bad = (0, 1, 2, 40, 99)
    server.play = poisoned(*bad, status=status)
    backend = InfluxDb2(section(server.url))
    put(backend, 100)
    backend.start()
    assert backend.wait_until_empty(30)
    assert each_once(server.stored) == [line(number) for number in range(100) if number not in bad]
    # Those that showed that the server takes others.
    assert len(server.stored) <= 95 + len(bad)
    assert backend.refused == 5
    put(backend, 1, 100)
    backend.stop()
    assert backend.join(5) == len(bad), "the refused ones are lost"
    assert server.stored[-1] == line(100)
    assert len(errors(log)) == 1, errors(log)
    assert "refuses a reading" in errors(log)[0]
    assert "bad timestamp" in errors(log)[0]
    assert backend.delivered == 96


def test_a_poisoned_reading_by_itself(server: FaultyServer) -> None:
    """As it is when the server is well otherwise."""
    with delivering(server) as backend:
        put(backend, 3)
        server.wait_for_stored(3)
        server.play = poisoned(3)
        put(backend, 1, 3)
        wait_for(lambda: backend.refused == 1, "refusal")
        put(backend, 3, 4)
        assert backend.wait_until_empty(30)
    assert each_once(server.stored) == lines(3) + lines(3, 4)


def test_many_poisoned_readings_hold_up_nothing(server: FaultyServer) -> None:
    """Such as those that are older than what the server keeps."""
    server.play = poisoned(*range(50), status=422)
    backend = InfluxDb2(section(server.url))
    put(backend, 60)
    backend.start()
    assert backend.wait_until_empty(30)
    backend.stop()
    # The newest showed each time that the server takes others.
    assert server.stored == [line(59)] * 50 + lines(10, 50)
    assert backend.refused == 50


def test_poisoned_readings_after_a_failure_hold_up_nothing(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fill the small batch of an attempt after a failure, so that only a later reading can be stored."""
    monkeypatch.setattr(buffer, "SMALL_BATCH_BYTES_MAX", 1000)
    server.play = answering(503)
    backend = InfluxDb2(section(server.url))
    backend.start()
    put(backend, 60)
    server.wait_for_exchanges(2)
    server.play = poisoned(*range(50), status=422)
    assert backend.wait_until_empty(30)
    backend.stop()
    assert backend.refused == 50


def test_each_reading_is_in_one_count_at_any_moment(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is asked for by other threads, also in the moment between a confirmation and the removal."""
    server.play = poisoned(3)
    remove = Buffer.remove
    sums: list[int] = []

    with delivering(server) as backend:

        def count() -> None:
            status = backend.status()
            sums.append(status.delivered + status.waiting + status.dropped)

        def remove_and_count(buffer: Buffer, number: int) -> None:
            # This is the thread that delivers: what others see is what it would see.
            count()
            remove(buffer, number)

        monkeypatch.setattr(Buffer, "remove", remove_and_count)
        with backend._changed:
            for number in range(8):
                backend.put(reading(number))
        assert backend.wait_until_empty(30)
        count()
        assert (backend.delivered, backend.refused) == (7, 1)
    assert set(sums) == {8}


@pytest.mark.parametrize("status", [400, 422, 413])
@pytest.mark.parametrize("count", [1, 20])
def test_a_server_that_refuses_all_loses_nothing(
    status: int, count: int, server: FaultyServer, log: pytest.LogCaptureFixture
) -> None:
    """From its start. That it has been well before is another test's."""
    server.play = answering(status, "unable to parse")
    with delivering(server) as backend:
        wait_for(lambda: "ready to deliver" in log.text or errors(log), "check")
        put(backend, count)
        server.wait_for_exchanges(6 if count == 1 else 20)
        assert len(backend._buffer) == count
        assert len([text for text in errors(log) if not text.endswith("waiting: 0 readings")]) == 1, errors(log)
        server.play = well
        server.wait_for_stored(count)
        assert backend.wait_until_empty(30)
    # Some may come early, to see whether the server takes anything.
    assert sorted(each_once(server.stored)) == sorted(lines(count))
    assert backend.refused == 0


def test_a_server_that_refuses_all_for_a_moment(server: FaultyServer) -> None:
    """It is mended between the refusal of a reading and the question whether it takes others."""
    for number in range(1, 6):
        refusals = iter(range(number))

        def play(exchange: Exchange, refusals: Iterator[int] = refusals) -> None:
            (well if next(refusals, None) is None else answering(400))(exchange)

        backend = InfluxDb2(section(server.url))
        put(backend, 3, number)
        server.stored.clear()
        server.play = play
        backend.start()
        assert backend.wait_until_empty(30)
        backend.stop()
        assert sorted(each_once(server.stored)) == lines(3, number)
        assert backend.refused == 0


def test_what_is_too_old_is_dropped_by_itself(server: FaultyServer) -> None:
    """The server would take none of them, but it is well; as when a year is imported."""

    def play(exchange: Exchange) -> None:
        late = [text for text in exchange.lines if int(text.rpartition(" ")[2]) >= 50]
        server.stored += late
        count = len(exchange.lines) - len(late)
        exchange.answer(*((422, f"partial write: points beyond retention policy dropped={count}") if count else (204,)))

    server.play = play
    with delivering(server) as backend:
        put(backend, 50)
        assert backend.wait_until_empty(30)
        put(backend, 10, 50)
        assert backend.wait_until_empty(30)
        assert backend.refused == 50
    assert each_once(server.stored) == lines(10, 50)


def test_too_large_requests_are_halved(server: FaultyServer) -> None:
    def play(exchange: Exchange) -> None:
        (answering(413) if len(exchange.lines) > 30 else well)(exchange)

    server.play = play
    backend = InfluxDb2(section(server.url))
    put(backend, 1000)
    backend.start()
    assert backend.wait_until_empty(30)
    assert server.stored == lines(1000)
    assert backend.refused == 0
    backend.stop()


# Pacing


@pytest.mark.parametrize("as_date", [False, True])
def test_the_wait_that_a_server_asks_for(as_date: bool, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "ASKED_SECONDS_MAX", 300.0)

    def play(exchange: Exchange) -> None:
        server.play = well
        asked = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1.5"
        exchange.answer(429, headers={"Retry-After": asked})

    with delivering(server) as backend:
        server.wait_for_exchanges(1)
        server.play = play
        put(backend, 1)
        first, second = (exchange.time for exchange in server.wait_for_exchanges(3)[1:])
        assert 0.9 < second - first < 5
        assert backend.wait_until_empty(30)


@pytest.mark.parametrize("asked", ["86400", "1e400", "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_the_wait_that_a_server_asks_for_is_capped(asked: str, server: FaultyServer) -> None:
    server.play = answering(503, Retry_After=asked)
    with delivering(server) as backend:
        put(backend, 1)
        server.wait_for_exchanges(2)
        times = [exchange.time for exchange in server.wait_for_exchanges(4)[1:]]
        assert all(0.35 < after - before < 3 for before, after in pairwise(times)), times


@pytest.mark.parametrize(
    "asked", ["", "soon", "-5", "nan", "1,5", "Fri, 99 Dec 2199", "Thu, 01 Jan 1970 00:00:00 GMT", "\xff"]
)
def test_a_wait_that_makes_no_sense(asked: str, server: FaultyServer) -> None:
    def play(exchange: Exchange) -> None:
        server.play = well
        head = f"HTTP/1.1 503 No\r\nContent-Length: 0\r\nRetry-After: {asked}\r\n\r\n"
        exchange.send(head.encode("latin-1"))

    server.play = play
    with delivering(server) as backend:
        put(backend, 1)
        server.wait_for_stored(1)


def test_retries_are_paced(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_SECONDS", 0.1)
    monkeypatch.setattr(backoff, "LONGEST_SECONDS", 0.4)
    server.play = answering(503)
    with delivering(server) as backend:
        put(backend, 1)
        wait_for(lambda: len(written(server)) >= 4, "attempts")
        # Nor do new readings make it hurry.
        put(backend, 20, 1)
        time.sleep(0.2)
        times = [exchange.time for exchange in written(server)]
    # 0.1, 0.2 and 0.4 s, less up to a half by chance.
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap >= least for gap, least in zip(gaps, [0.05, 0.1] + [0.2] * 20, strict=False)), gaps


def test_what_an_operator_must_mend_is_tried_slowly(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "LASTING_SECONDS", 30.0)
    server.play = answering(401)
    with delivering(server) as backend:
        put(backend, 1)
        wait_for(lambda: written(server), "attempt")
        time.sleep(0.3)
        assert len(written(server)) == 1


def test_an_attempt_at_once_when_asked_for(
    server: FaultyServer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that are unchanged may have become right."""
    monkeypatch.setattr(backoff, "LASTING_SECONDS", 300.0)
    server.play = answering(401)
    with delivering(server) as backend:
        put(backend, 3)
        wait_for(lambda: written(server) and errors(log), "line")
        backend.retry()
        wait_for(lambda: len(errors(log)) == 2, "line about the token once more")
        server.play = well
        backend.retry()
        assert server.wait_for_stored(3) == lines(3)


# What the log says


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (answering(401), "correct token (401)"),
        (
            answering(403, '{"message":"no\\npower"}'),
            'bucket = "solar" or org = "home": set another token (403: no power)',
        ),
        (
            answering(404, "what?"),
            'check bucket = "solar" or org = "home", and path = "/api/v2/write" (404: what?)',
        ),
        (answering(405), 'check host, and path = "/api/v2/write" (405)'),
        (answering(301, Location="https://db.example/"), "https://db.example/: set host"),
        (answering(200, "", Content_Type="text/html"), "a web page, not a database's: check host and path"),
        (answering(400, "Client sent an HTTP request to an HTTPS server."), "set host to https://"),
        (answering(500, '{"error":"disk full"}'), "temporary server error (500: disk full)"),
        (answering(503, "\x1b[31m\0\u202e" + "x" * 5000), "temporary server error (503: \\x1b[31m\\x00\\u202exx"),
        (Exchange.hang, "no answer within 0.2 s"),
        (BROKEN["drips continues"], "within 0.6 s"),
        (BROKEN["sends garbage"], "does not speak HTTP: check host"),
    ],
)
def test_the_reason_is_told(how: Play, said: str, server: FaultyServer, log: pytest.LogCaptureFixture) -> None:
    server.play = how
    assert said in (InfluxDb2(section(server.url, timeout=TIMEOUT)).check() or "")
    with delivering(server, timeout=TIMEOUT) as backend:
        put(backend, 1)
        wait_for(lambda: written(server), "delivery")
        wait_for(lambda: errors(log), "line")
        assert said in errors(log)[0]
        assert all(len(text) < 500 and text.isprintable() for text in errors(log))


def test_a_new_reason_is_told_and_an_old_one_is_not_repeated(
    server: FaultyServer, log: pytest.LogCaptureFixture
) -> None:
    numbers = iter(range(1000))
    with delivering(server) as backend:
        server.wait_for_exchanges(1)
        server.play = lambda exchange: exchange.answer(500, f"error number {next(numbers)}")
        put(backend, 1)
        wait_for(lambda: len(written(server)) >= 4, "attempts")
        assert len(errors(log)) == 1, errors(log)
        server.play = answering(401)
        wait_for(lambda: len(errors(log)) == 2, "line about the token")
        server.play = well
        server.wait_for_stored(1)
        wait_for(lambda: "delivering again" in log.text, "line")
        assert backend.wait_until_empty(30)
        server.play = answering(401)
        put(backend, 1, 1)
        wait_for(lambda: len(errors(log)) == 3, "line about the token once more")


def test_reminders(server: FaultyServer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influxdb2, "REPORT_SECONDS", 0.3)
    monkeypatch.setattr(backoff, "LASTING_SECONDS", 30.0)
    server.play = answering(401)
    with delivering(server) as backend:
        put(backend, 7)
        wait_for(lambda: len(errors(log)) >= 3, "reminders")
        first, *others = errors(log)
        assert "correct token (401)" in first
        for text in others:
            assert re.fullmatch(
                rf"influxdb2 {server.url}: nothing delivered since \d{{4}}-\d\d-\d\d \d\d:\d\d "
                r"\(.*correct token \(401\)\); waiting: 7 readings, dropped: 0 readings",
                text,
            ), text


def test_a_server_that_fails_again_and_again_is_not_told_each_time(
    server: FaultyServer, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with delivering(server) as backend:

        def fail(number: int) -> None:
            server.play = answering(503)
            put(backend, 1, number)
            wait_for(lambda: backend.status().failing_since, "failure")

        def recover() -> None:
            server.play = well
            wait_for(lambda: not backend.status().failing_since, "delivery")

        for number in range(10):
            fail(number)
            recover()
        assert len(errors(log)) == 4
        assert "failure number 4, from now on logged only after an hour without a change" in errors(log)[-1]
        assert log.text.count("delivering again") == 3
        # It stays well,
        monkeypatch.setattr(base, "STABLE_SECONDS", 0.2)
        time.sleep(0.3)
        put(backend, 1, 10)
        wait_for(lambda: "delivering for an hour without a failure, after 10 failures; waiting: 0" in log.text, "line")
        monkeypatch.undo()
        # or fails for good.
        for number in range(11, 20):
            fail(number)
            recover()
        assert len(errors(log)) == 8
        fail(20)
        monkeypatch.setattr(base, "STABLE_SECONDS", 0.2)
        wait_for(lambda: len(errors(log)) == 9, "line about the lasting failure")
        recover()
        wait_for(lambda: log.text.count("delivering again") == 7, "line")


def test_a_full_buffer_drops_the_oldest(server: FaultyServer, log: pytest.LogCaptureFixture) -> None:
    server.play = answering(503)
    with delivering(server, buffer=16 * 1024) as backend:
        put(backend, 1000)
        wait_for(lambda: backend.status().failing_since, "failure")
        put(backend, 3000, 1000)
        server.play = well
        assert backend.wait_until_empty(30)
        wait_for(lambda: "delivering again" in log.text, "line")
        count = len(server.stored)
        # What the buffer holds, and as many that may have been in flight.
        assert 200 < count < 2500
        assert each_once(server.stored)[-1] == line(3999)
        # What is in flight is not dropped; but that is known to be refused now.
        assert server.stored == sorted(server.stored, key=lambda text: int(text.rpartition(" ")[2]))
        assert log.text.count("the buffer is full") == 1
        assert f"dropped: {4000 - count}" in log.text


# The end


def test_the_end_tries_again_what_fails_meanwhile(server: FaultyServer) -> None:
    refuse = threading.Event()

    def play(exchange: Exchange) -> None:
        if exchange.lines:
            refuse.wait(30)
        exchange.answer(503)

    server.play = play
    backend = InfluxDb2(section(server.url))
    backend.start()
    put(backend, 5)
    wait_for(lambda: any(exchange.lines for exchange in server.exchanges), "an attempt")
    backend.stop()
    server.play = well
    refuse.set()
    assert backend.join(10) == 0
    assert len(server.stored) == 5


def test_the_end_delivers_what_waits(server: FaultyServer) -> None:
    server.play = answering(503)
    backend = InfluxDb2(section(server.url))
    backend.start()
    put(backend, 500)
    server.wait_for_exchanges(3)
    server.play = well
    backend.stop()
    assert backend.join(4) == 0
    assert server.stored == lines(500)


@pytest.mark.parametrize("how", ["hangs", "has trouble", "wants another token", "drips headers"])
def test_the_end_does_not_wait_for_a_server_that_is_not_well(how: str, server: FaultyServer) -> None:
    server.play = BROKEN[how]
    backend = InfluxDb2(section(server.url, timeout=10.0))
    backend.start()
    put(backend, 5)
    server.wait_for_exchanges(1)
    backend.stop()
    began = time.monotonic()
    assert backend.join(1) == 5
    assert time.monotonic() - began < 3
    server.ended.set()
    backend.join(10)


def test_the_end_of_nothing(server: FaultyServer) -> None:
    backend = InfluxDb2(section(server.url))
    backend.start()
    server.wait_for_exchanges(1)
    backend.stop()
    assert backend.join(5) == 0


# Inside


def test_an_error_of_ours_ends_nothing(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influxdb2, "RESTART_SECONDS", 0.2)
    failures = iter([RuntimeError("first"), RuntimeError("second")])
    messages: list[str] = []
    monkeypatch.setattr(influxdb2._log, "exception", lambda text, *rest: messages.append(text % rest))
    original: Callable[..., Any] = WriteApi.write

    def write(*arguments: Any) -> Any:
        for failure in failures:
            raise failure
        return original(*arguments)

    monkeypatch.setattr(WriteApi, "write", write)
    with delivering(server) as backend:
        put(backend, 3)
        began = time.thread_time(), time.process_time()
        assert server.wait_for_stored(3) == lines(3)
        # It rested.
        assert time.process_time() - began[1] < 0.3
    assert len(messages) == 2


@contextmanager
def reading_a_file(backend: InfluxDb2, count: int, at_a_time: int = 64) -> Iterator[threading.Thread]:
    """Readings of a file are put in a thread of their own, which has ended then."""
    backend.begin_import()

    def read() -> None:
        for first in range(0, count, at_a_time):
            backend.put(*map(reading, range(first, min(first + at_a_time, count))))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    yield reader
    reader.join(30)
    assert not reader.is_alive()


@pytest.mark.parametrize(("buffer", "at_a_time"), [(4 * 1024 * 1024, 64), (64 * 1024, 1), (16 * 1024, 1000)])
def test_a_file_waits_for_a_server_that_is_not_well(server: FaultyServer, buffer: int, at_a_time: int) -> None:
    """However long that takes, nothing is dropped, and little memory is needed."""
    server.play = answering(503)
    with delivering(server, buffer=buffer) as backend:
        with reading_a_file(backend, 20_000, at_a_time) as reader:
            server.wait_for_exchanges(5)
            reader.join(0.5)
            assert reader.is_alive()
            assert not backend.wait_until_empty(0)
            assert backend._buffer.size <= min(3 * IMPORT_BATCH_BYTES_MAX, buffer * 3 // 4)
            server.play = well
        backend.end_import()
        assert backend.wait_until_empty(30)
        assert server.stored == lines(20_000)
        if buffer == 4 * 1024 * 1024:
            assert len(written(server)) < 60


@pytest.mark.parametrize("end", [InfluxDb2.end_import, InfluxDb2.stop])
def test_the_end_of_an_import_ends_the_wait_for_room(server: FaultyServer, end: Callable[[InfluxDb2], None]) -> None:
    """Of a service that is stopped, or a backend that the configuration no longer has."""
    server.play = answering(503)
    with delivering(server, buffer=64 * 1024) as backend, reading_a_file(backend, 1000) as reader:
        reader.join(0.5)
        assert reader.is_alive()
        end(backend)


def test_a_file_that_comes_slowly(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As out of a pipe: what came is not kept until there is a batch."""
    monkeypatch.setattr(influxdb2, "COLLECT_SECONDS", 0.05)
    with delivering(server) as backend:
        backend.begin_import()
        for number in range(3):
            backend.put(reading(number))
            assert server.wait_for_stored(number + 1) == lines(number + 1)
            # It finds that there is nothing more.
            time.sleep(0.3)


def test_a_file_and_a_buffer_that_becomes_smaller(server: FaultyServer) -> None:
    server.play = answering(503)
    with delivering(server) as backend:
        with reading_a_file(backend, 20_000) as reader:
            reader.join(0.5)
            assert reader.is_alive()
            backend.reconfigure(section(server.url, buffer=64 * 1024), None)
            server.play = well
        backend.end_import()
        assert backend.wait_until_empty(30)
        assert backend.status().dropped == 0
        assert server.stored == lines(20_000)


def test_a_smaller_buffer_drops_what_does_not_fit(server: FaultyServer) -> None:
    server.play = answering(503)
    with delivering(server) as backend:
        put(backend, 5000)
        assert backend.status().dropped == 0
        backend.reconfigure(section(server.url, buffer=16 * 1024), None)
        put(backend, 1, 5000)
        assert 0 < backend.status().dropped < 5000


def test_a_value_a_line(server: FaultyServer) -> None:
    with delivering(server, schema="narrow", measurement="m", tags={"a": "b c"}) as backend:
        put(backend, 1, 7)
        server.wait_for_stored(2)
        assert backend.wait_until_empty(30)
    assert server.stored == [
        f"m,a=b\\ c,group=Grid,name=Power,serial={SERIAL},unit=W value=7 7",
        f"m,a=b\\ c,group=Grid,name=Frequency,serial={SERIAL},unit=Hz value=50.01 7",
    ]


def test_readings_without_values_are_left_out(server: FaultyServer) -> None:
    with delivering(server) as backend:
        backend.put(Reading.of(SERIAL, 5, {}))
        put(backend, 1)
        assert server.wait_for_stored(1) == [line(0)]


def test_the_token_is_hidden(server: FaultyServer, log: pytest.LogCaptureFixture) -> None:
    """The server says it, whole or at the end of what is shown."""
    for filling in ("", "x " * 90, "x" * 190, " " * 2040):
        server.play = answering(401, f"{filling}bad token {TOKEN} {TOKEN!r}")
        said = InfluxDb2(section(server.url)).check() or ""
        assert TOKEN[:8] not in said
    server.play = answering(307, Location="http://x/?token=" + TOKEN.replace("=", "%3D"))
    assert TOKEN[:8] not in (InfluxDb2(section(server.url)).check() or "")
    backend = InfluxDb2(section(server.url))
    assert TOKEN not in repr(vars(backend)) + repr(backend)
    assert not threading.main_thread().name.startswith("influxdb2")
