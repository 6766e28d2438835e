"""A router's web server for one browser: the app's files, the stand-in for LuCI's runtime, and ubus over HTTP."""

from __future__ import annotations

import json
import re
import runpy
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openwrt.tools.jsmin import jsmin
from openwrt.tools.luci_translations import APP, PLUGIN

Json = dict[str, Any]
Method = Callable[[Json], Json]

HERE = Path(__file__).parent
STATUS_FILE = "/var/run/inverter-capture/status.json"
PACKAGE = "inverter-capture"
TYPES = {".js": "text/javascript", ".css": "text/css"}
PAGE = """<!DOCTYPE html>
<html lang="{language}" data-darkmode="{dark}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inverter Capture</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/stand-in/runtime.css">
</head>
<body><header>{menu}</header><div id="maincontent"><div id="view"></div></div><div id="modal" role="dialog"></div>
<script type="application/json" id="environment">{environment}</script><script src="/stand-in/runtime.js"></script>
</body></html>"""


class Router:
    """What the pages ask for, and what they have done. Everything can be changed while a page is open."""

    def __init__(self) -> None:
        self.state: Json = {"enabled": True, "running": True, "device": True, "backends": 1}
        self.status: Json | None = None
        self.now = round(time.time())
        """The router's clock, which does not advance."""
        self.log = ""
        self.problems: list[str] = []
        self.writable = True
        self.dark = False
        self.language = "en"
        self.translations: dict[str, str] = {}
        self.sections: list[Json] = [
            {".type": "service", ".name": "service", "enabled": "0"},
            {".type": "pcap", ".name": "pcap", "device": "br-lan"},
            {".type": "metrics", ".name": "metrics"},
            {".type": "log", ".name": "log"},
        ]
        self.applied = 0
        self.actions: list[str] = []
        """What the service was told."""
        self.calls: list[tuple[str, str, Json]] = []
        self.plugin: dict[str, Method] = {}
        """Answers in place of the usual ones, by method."""
        self._plugin = runpy.run_path(str(PLUGIN))

    def call(self, object: str, method: str, arguments: Json) -> Json:
        """What ubus answers. Raises KeyError for what the pages have no right to."""
        self.calls.append((object, method, arguments))
        if object == PACKAGE and method in self.plugin:
            return self.plugin[method](arguments)
        methods: dict[tuple[str, str], Method] = {
            (PACKAGE, "state"): self._state,
            (PACKAGE, "problems"): lambda _: {"problems": [{"message": message} for message in self.problems]},
            (PACKAGE, "service"): self._service,
            (PACKAGE, "settings"): self._plugin["settings"],
            (PACKAGE, "fields"): self._plugin["fields"],
            (PACKAGE, "check"): lambda _: {"problems": [], "right": True},
            ("file", "read"): self._read,
            ("cgi-io", "exec"): self._exec,
            ("luci", "getTimezones"): lambda _: {"Europe/Berlin": {}, "Africa/Johannesburg": {}, "America/Lima": {}},
            ("luci-rpc", "getNetworkDevices"): lambda _: {
                "br-lan": {"devtype": "bridge"},
                "eth0": {"devtype": "ethernet"},
            },
            ("uci", "get"): lambda _: {"values": {section[".name"]: section for section in self.sections}},
            ("uci", "set"): self._set,
            ("uci", "add"): self._add,
            ("uci", "delete"): self._delete,
            ("uci", "order"): self._order,
            ("uci", "apply"): self._apply,
        }
        return methods[object, method](arguments)

    def section(self, name: str) -> Json:
        """A section of the saved settings."""
        (found,) = (section for section in self.sections if section[".name"] == name)
        return found

    def _state(self, _: Json) -> Json:
        return self.state | {"now": self.now}

    def _service(self, arguments: Json) -> Json:
        action = arguments["action"]
        self.actions.append(action)
        if action in ("enable", "disable"):
            self.state["enabled"] = action == "enable"
        self.state["running"] = action in ("start", "restart", "enable")
        return {"problems": []}

    def _read(self, arguments: Json) -> Json:
        assert arguments == {"path": STATUS_FILE}
        return {"data": "" if self.status is None else json.dumps(self.status)}

    def _exec(self, arguments: Json) -> Json:
        assert arguments == {"command": "/sbin/logread", "params": ["-t", "-e", PACKAGE]}
        return {"stdout": self.log}

    def _set(self, arguments: Json) -> Json:
        self.section(arguments["section"]).update(arguments["values"])
        return {}

    def _add(self, arguments: Json) -> Json:
        self.sections.append({".type": arguments["type"], ".name": arguments["name"]})
        return {}

    def _delete(self, arguments: Json) -> Json:
        section = self.section(arguments["section"])
        for option in arguments.get("options", []):
            section.pop(option, None)
        if "options" not in arguments:
            self.sections.remove(section)
        return {}

    def _order(self, arguments: Json) -> Json:
        self.sections.sort(key=lambda section: arguments["sections"].index(section[".name"]))
        return {}

    def _apply(self, _: Json) -> Json:
        self.applied += 1
        return {}


class Server:
    """Serves a router on loopback; a context manager."""

    def __init__(self) -> None:
        self.router = Router()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def url(self, page: str) -> str:
        """Of a page of the app."""
        return f"http://127.0.0.1:{self._http.server_port}/cgi-bin/luci/admin/services/inverter-capture/{page}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                if path.startswith("/luci-static/resources/"):
                    self._send_file(APP / "htdocs" / path[1:])
                elif path.startswith("/stand-in/"):
                    self._send_file(HERE / path.removeprefix("/stand-in/"))
                else:
                    self._send("text/html; charset=utf-8", server.page(path.rpartition("/")[2]).encode())

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                _, name, method, arguments = request["params"]
                try:
                    result = [0, server.router.call(name, method, arguments)]
                except KeyError:
                    result = [6]
                self._send("application/json", json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode())

            def _send_file(self, path: Path) -> None:
                if not path.is_file():
                    self.send_error(404)
                    return
                data = path.read_bytes()
                # As the package has it.
                self._send(TYPES[path.suffix], jsmin(data) if path.suffix == ".js" and APP in path.parents else data)

            def _send(self, type: str, data: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", type)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        return Handler

    def page(self, name: str) -> str:
        """The HTML in which the runtime shows a page."""
        router = self.router
        environment = {
            "page": name,
            "session": "0" * 32,
            "writable": router.writable,
            "language": router.language,
            "translations": router.translations,
        }
        menu = " ".join(f'<a href="{self.url(page)}">{page.title()}</a>' for page in ("overview", "settings", "log"))
        text = json.dumps(environment).replace("<", "\\u003c")
        return PAGE.format(language=router.language, dark=json.dumps(router.dark), menu=menu, environment=text)


def po_translations(path: Path) -> dict[str, str]:
    """The texts of a .po file and their translations."""
    entries = re.findall(r'^msgid (".*"(?:\n".*")*)\nmsgstr (".*"(?:\n".*")*)$', path.read_text(), re.MULTILINE)
    texts = [tuple("".join(json.loads(line) for line in part.splitlines()) for part in entry) for entry in entries]
    return {original: translation for original, translation in texts if original}
