"""A headless Chromium driven through chromedriver, and a server for the pages that it opens: plain HTTP, no client library."""

import contextlib
import functools
import http.server
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.export.loopback import loopback

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how the protocol marks a reference to an element
KEYS = {"Enter": "\ue007", "Space": " ", "Tab": "\ue004", "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015"}
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"),
)
# wasm of a foreign origin is refused by the page's own policy; a server needs no more than the right types.
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


def missing():
    """Why no browser can be driven here, or None."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed: apt-get install chromium chromium-driver" if absent else None


@contextlib.contextmanager
def served(folder):
    """Serves a folder on this machine; gives its address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, **_TYPES}

        def log_message(self, *_):
            pass

    with loopback(functools.partial(Handler, directory=str(folder))) as address:
        yield f"http://{address}/"


class Browser:
    """One window. `data`: an empty folder for the profile.

    Every name but those of this machine is made unknown to it, so a page that asked for another host would fail.
    """

    def __init__(self, data, width=1200, height=900):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._base = f"http://127.0.0.1:{port}"
        self._wait_for_driver()
        flags = [*_FLAGS, f"--user-data-dir={data}", f"--window-size={width},{height}"]
        flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": flags},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        try:
            answer = self._send("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._driver.terminate()
            raise
        self._base += f"/session/{answer['sessionId']}"

    def _wait_for_driver(self):
        for _ in range(200):
            with contextlib.suppress(OSError):
                if self._send("GET", "/status")["ready"]:
                    return
            time.sleep(0.1)
        raise RuntimeError("chromedriver did not start in 20 s")

    def _send(self, method, path, body=None):
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["value"]["message"].splitlines()[0]) from None

    def open(self, address):
        self._send("POST", "/url", {"url": "about:blank"})  # an address that differs in its fragment alone loads nothing
        self._send("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        """The value of a function body, `arguments[i]` its arguments."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        """What a function body gives to `done`."""
        body = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().catch((e) => done('' + e));"
        return self._send("POST", "/execute/async", {"script": body, "args": list(arguments)})

    def wait_for(self, condition, seconds=30):
        """Waits until a JavaScript expression is true."""
        until = time.monotonic() + seconds
        while not self.run(f"return Boolean({condition})"):
            if time.monotonic() > until:
                text = self.run("return document.body.innerText")
                raise AssertionError(f"not in {seconds} s: {condition}; the page says {text}")
            time.sleep(0.03)

    def press(self, *keys):
        """Presses keys, by name or character, one after another, wherever the focus is."""
        actions = [{"type": kind, "value": KEYS.get(key, key)} for key in keys for kind in ("keyDown", "keyUp")]
        self._send("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def drag(self, selector, points):
        """Draws with the mouse over an element; points are fractions of its width and height."""
        box = self.run("const b = document.querySelector(arguments[0]); b.scrollIntoView({block: 'center'});"
                       "const r = b.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]", selector)  # fmt: skip
        moves = [
            {"type": "pointerMove", "duration": 30, "x": round(box[0] + x * box[2]), "y": round(box[1] + y * box[3])}
            for x, y in points
        ]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        self._send("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": actions}]})

    def resize(self, width, height):
        """Makes the page so wide and high, as on a telephone's screen; a window cannot be as narrow."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self.command("Emulation.setDeviceMetricsOverride", metrics)

    def command(self, name, parameters):
        return self._send("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def picture(self, path):
        """Writes a PNG of the whole page."""
        import base64

        shot = self.command("Page.captureScreenshot", {"captureBeyondViewport": True})
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    def log(self, kind="browser"):
        """What was logged since the last call: the console's lines, or with "performance" what the network did."""
        return self._send("POST", "/se/log", {"type": kind})

    def requests(self):
        """Addresses asked for since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]

    def close(self):
        with contextlib.suppress(Exception):
            self._send("DELETE", "")
        self._driver.terminate()
        self._driver.wait(10)
