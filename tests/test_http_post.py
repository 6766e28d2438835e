"""Requests over TLS and without: each way to fail has a message of its own, and no secret is ever in it."""

from __future__ import annotations

import gc
import gzip
import logging
import re
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest

from inverter_capture.backends.influxdb2.http_post import ABANDONED_MAX, TOTAL_TIMEOUTS, Answer, HttpClient, HttpError
from tests.certificates import NAMES, Authority
from tests.databases import free_port
from tests.faulty_server import Exchange, FaultyServer, answering
from tests.network import wait_for

TOKEN = 'aG91"2U-_c2V/cmV0+=='
BODY = b"inverter x=1 1"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The token never stands in it."""
    caplog.set_level(logging.DEBUG)
    yield
    assert TOKEN not in caplog.text
    assert "Traceback" not in caplog.text


def post(url: str, *, verify: bool | str | Path = True, timeout: float = 5.0) -> Answer:
    with closing(new_client(verify=str(verify) if isinstance(verify, Path) else verify, timeout=timeout)) as client:
        return ask(client, url)


def new_client(*, verify: bool | str = True, timeout: float = 5.0) -> HttpClient:
    return HttpClient(timeout=timeout, verify=verify, secrets=(TOKEN,))


def ask(client: HttpClient, url: str) -> Answer:
    return client.post(url + "/write", {"a": "b c"}, {"Authorization": f"Token {TOKEN}"}, BODY)


def failure(url: str, *, verify: bool | str | Path = True, timeout: float = 5.0) -> HttpError:
    """Why no answer comes. Whatever programs show of the error, the token is not in it."""
    with pytest.raises(HttpError) as caught:
        post(url, verify=verify, timeout=timeout)
    error = caught.value
    assert TOKEN not in "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert str(error).isprintable()
    assert len(str(error)) < 400
    return error


# TLS


def test_an_authority_out_of_a_file(authority: Authority) -> None:
    with FaultyServer(tls=authority.server()) as server:
        assert post(server.url, verify=authority.file).status == 204
        assert post(server.url.replace("localhost", "127.0.0.1"), verify=authority.file).status == 204
        assert server.exchanges[0].body == BODY


def test_an_unknown_authority(authority: Authority) -> None:
    with FaultyServer(tls=authority.server()) as server:
        error = failure(server.url)
    assert "certificate is not trusted (" in str(error)
    assert str(error).endswith("set verify to the file of its CA certificate")
    assert not error.passing


def test_no_verification(authority: Authority) -> None:
    """Nor does it warn at each request."""
    with FaultyServer(tls=authority.server("20200101000000Z", "20200201000000Z", "DNS:other")) as server:
        assert post(server.url, verify=False).status == 204


@pytest.mark.parametrize(
    ("begin", "end", "names", "said", "passing"),
    [
        (
            "20200101000000Z",
            "20991231235959Z",
            "DNS:other",
            "the server's certificate is for another name: set host",
            False,
        ),
        (
            "20200101000000Z",
            "20991231235959Z",
            "IP:127.0.0.2",
            "the server's certificate is for another name: set host",
            False,
        ),
        (
            "20200101000000Z",
            "20200201000000Z",
            NAMES,
            "the server's certificate has expired: renew it, or correct this system's clock",
            False,
        ),
        # As it is for a router whose clock stands at 1970 until it has found the time.
        (
            "20980101000000Z",
            "20991231235959Z",
            NAMES,
            "the server's certificate is not valid yet: check this system's clock",
            True,
        ),
    ],
)
def test_wrong_certificates(begin: str, end: str, names: str, said: str, passing: bool, authority: Authority) -> None:
    with FaultyServer(tls=authority.server(begin, end, names)) as server:
        error = failure(server.url, verify=authority.file)
        assert server.exchanges == []
    assert str(error).startswith(said)
    assert error.passing == passing


def test_a_wrong_name_for_an_address(authority: Authority) -> None:
    with FaultyServer(tls=authority.server(names="DNS:localhost")) as server:
        error = failure(server.url.replace("localhost", "127.0.0.1"), verify=authority.file)
    assert "set host to a name in the certificate" in str(error)


def test_http_where_tls_is_spoken(authority: Authority) -> None:
    with FaultyServer(tls=authority.server()) as server:
        error = failure(server.url.replace("https", "http"))
    broken = (
        "the connection was closed, or the server does not speak HTTP: check host",
        "cannot be reached (Connection reset by peer): check host, and that the server is running",
    )
    assert str(error) in broken
    assert error.passing


def test_tls_where_http_is_spoken(authority: Authority) -> None:
    with FaultyServer() as server:
        error = failure(server.url.replace("http", "https"), verify=authority.file)
    assert "does not use TLS on this port (" in str(error)
    assert error.passing


def test_files_of_no_authority(authority: Authority, tmp_path: Path) -> None:
    empty, garbage, directory = tmp_path / "empty", tmp_path / "garbage", tmp_path / "directory"
    empty.touch()
    garbage.write_text("-----BEGIN CERTIFICATE-----\nxxx\n")
    directory.mkdir()
    with FaultyServer(tls=authority.server()) as server:
        for path in (tmp_path / "missing", empty, garbage):
            error = failure(server.url, verify=path)
            assert re.match(rf'verify = "{path}": (cannot be read|contains no certificate in PEM)', str(error)), error
            assert not error.passing
        # A folder of certificates would do; this one has none.
        assert "certificate is not trusted" in str(failure(server.url, verify=directory))


def test_a_silent_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        error = failure(url, timeout=0.3)
    assert str(error) == "no answer within 0.3 s: check host, and whether a firewall blocks the way"
    assert error.passing


def test_a_dripping_handshake(authority: Authority) -> None:
    """Each byte comes in time, but they are never enough."""
    ended = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(b"\x16\x03\x03\x40\x00")
                while not ended.wait(0.05):
                    connection.sendall(b"\2")
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip)
        thread.start()
        error = failure(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3)
        ended.set()
        thread.join(5)
    assert str(error).partition(":")[0] in ("no answer within 0.3 s", "no complete response within 0.9 s")
    assert error.passing


# Without


def test_nobody_there() -> None:
    error = failure(f"http://127.0.0.1:{free_port()}")
    said = "cannot be reached (Connection refused): check host, and that the server is running"
    assert (str(error), error.passing) == (said, True)


def test_a_name_that_cannot_be_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """As socket.getaddrinfo says it, with and without a network."""
    for reason in (socket.EAI_NONAME, socket.EAI_AGAIN):

        def resolve(*arguments: object, **more: object) -> None:
            raise socket.gaierror(reason, "Name or service not known")  # noqa: B023 (used at once)

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        error = failure("http://no-such-host.invalid:8086")
        said = "cannot resolve the name in host (Name or service not known): correct it, or use the IP address"
        assert (str(error), error.passing) == (said, True)


def test_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority) -> None:
    (tmp_path / ".netrc").write_text("machine localhost login other password stolen\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authority.file))
    with FaultyServer() as server:
        assert post(server.url).status == 204
        assert server.exchanges[0].headers["authorization"] == f"Token {TOKEN}"
        assert server.exchanges[0].target == "/write?a=b+c"
    with FaultyServer(tls=authority.server()) as server:
        assert "not trusted" in str(failure(server.url))
        assert post(server.url, verify=authority.file).status == 204


def test_redirects_are_not_followed() -> None:
    with FaultyServer() as other, FaultyServer(answering(307, Location=f"{other.url}/x")) as server:
        answer = post(server.url)
        assert (answer.status, answer.location) == (307, f"{other.url}/x")
        assert other.exchanges == []


def test_the_body_of_a_redirect_is_not_read() -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 308 Over There\r\nLocation: /there\r\nContent-Length: 4000000000\r\n\r\n")
        exchange.send(b"x" * 1000)
        exchange.send(b"x" * 2000)
        exchange.hang()

    with FaultyServer(play) as server:
        answer = post(server.url)
    assert (answer.status, answer.location) == (308, "/there")
    assert answer.explanation.startswith("xxx")


def test_a_connection_is_kept_and_replaced_when_the_server_closes_it() -> None:
    with FaultyServer() as server, closing(new_client()) as client:
        for _ in range(3):
            assert client.post(server.url, {}, {}, BODY).status == 204
        assert server.connections == 1
        server.play = lambda exchange: exchange.answer(204, headers={"Connection": "close"})
        for _ in range(3):
            assert client.post(server.url, {}, {}, BODY).status == 204
        assert server.connections == 3


# Answers that do not end

TIMEOUT = 0.8
BOUND = TIMEOUT * TOTAL_TIMEOUTS
FOR_EVER = {
    "status line": lambda exchange: exchange.drip(b"HTTP/1.1 "),
    "headers": lambda exchange: (exchange.send(b"HTTP/1.1 204 Yes\r\n"), exchange.drip(b"X-Y: z\r\n")),
    "continues": lambda exchange: exchange.drip(b"HTTP/1.1 100 Continue\r\n\r\n", 0.001),
}


@pytest.mark.parametrize("how", FOR_EVER)
def test_an_answer_that_drips_is_abandoned_in_time(how: str) -> None:
    with FaultyServer(FOR_EVER[how]) as server, closing(new_client(timeout=TIMEOUT)) as client:
        began = time.monotonic()
        with pytest.raises(HttpError, match=f"within {BOUND:g} s") as caught:
            ask(client, server.url)
        assert BOUND * 0.9 <= time.monotonic() - began < BOUND + 5
        assert caught.value.passing


def test_abandoned_requests_are_bounded() -> None:
    """They end with their connections, and then requests are sent again."""
    before = threading.active_count()
    client = new_client(timeout=TIMEOUT)
    with FaultyServer(FOR_EVER["headers"]) as server:
        for _ in range(ABANDONED_MAX + 3):
            with pytest.raises(HttpError, match="no complete response") as caught:
                ask(client, server.url)
            assert caught.value.passing
        assert len(server.exchanges) == server.connections == ABANDONED_MAX
        # Each of them, and the server's for it.
        assert threading.active_count() <= before + 1 + 2 * ABANDONED_MAX
    wait_for(lambda: threading.active_count() <= before, "end of the threads")
    with FaultyServer() as server, closing(client):
        assert ask(client, server.url).status == 204


def test_a_connection_with_conflicting_headers_is_closed() -> None:
    """urllib3 leaves it open until garbage is collected."""
    closed = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 999 No\r\nContent-Length: -1\r\nContent-Length: 99\r\n\r\n" + b"x" * 99)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            closed.set()

    gc.disable()
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=serve, daemon=True).start()
            with closing(new_client()) as client, pytest.raises(HttpError):
                ask(client, f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert closed.wait(10)
    finally:
        gc.enable()


def test_an_abandoned_answer_goes_to_nobody() -> None:
    """What comes of it later is not taken for the answer to another request."""
    late = threading.Event()

    def play(exchange: Exchange) -> None:
        while not late.wait(0.05):
            exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        exchange.answer(204)

    with FaultyServer(play) as server, closing(new_client(timeout=TIMEOUT)) as client:
        with pytest.raises(HttpError):
            ask(client, server.url)
        server.play = answering(503)
        late.set()
        assert ask(client, server.url).status == 503
        assert server.connections == 2


# Answers


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("", ""),
        ("database not found\n", "database not found"),
        ('{"code":"invalid","message":"a\\nb"}', "a b"),
        ('{"error":"no  \\u001b[1m"}', "no \\x1b[1m"),
        ('{"error":"","message":"x"}', "x"),
        ('{"other":1}', '{"other":1}'),
        ('["message"]', '["message"]'),
        ('{"message":{"text":"x"}}', "{'text': 'x'}"),
        ('"text"', '"text"'),
        ("[" * 100_000, "[" * 200),
        ("\xff\xfe", "\ufffd\ufffd"),
        (gzip.compress(b"x", mtime=0), None),
    ],
)
def test_explanations(body: str | bytes, said: str | None) -> None:
    data = body.encode("latin-1") if isinstance(body, str) else body
    with FaultyServer(lambda exchange: exchange.answer(400, data)) as server:
        explanation = post(server.url).explanation
        assert server.exchanges[0].headers["accept-encoding"] == "identity"
    assert explanation.isprintable() or "\ufffd" in explanation
    if said is not None:
        assert explanation == said


@pytest.mark.parametrize("form", [TOKEN, quote(TOKEN), quote(TOKEN, safe=""), TOKEN.replace('"', '\\"')])
def test_the_token_sent_back(form: str) -> None:
    """In any form, anywhere."""
    for filling in ("", "x" * 180, "x " * 95, " " * 2030, "x" * 195, " " * 1990):
        for text in (f"{filling}{form}", f"{filling}bad token {form}; {form}"):
            with FaultyServer(answering(401, text, Location=f"http://x/?token={form}")) as server:
                answer = post(server.url)
            assert form[:6] not in answer.explanation
            assert form[:6] not in answer.location


def test_ours_is_the_only_socket(authority: Authority) -> None:
    """Nothing stays open, however it ends."""
    import os

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with FaultyServer(Exchange.reset, tls=authority.server()) as server:
            failure(server.url, verify=authority.file)
        failure(f"http://127.0.0.1:{free_port()}")
    assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert ssl.OPENSSL_VERSION


def test_a_plain_connection_that_fails_makes_no_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory would not be returned."""
    monkeypatch.setattr(ssl, "SSLContext", None)
    with pytest.raises(HttpError, match="cannot be reached"):
        post(f"http://127.0.0.1:{free_port()}")
