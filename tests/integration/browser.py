# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, driven through chromedriver's own protocol (W3C WebDriver) with the standard library.

    browser = Browser()                 # None-like: raises Missing when there is no Chromium
    browser.go(url)
    browser.type("#prompt", "hello" + ENTER)
    browser.until("return document.title === 'x'")
"""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ENTER, ESCAPE, TAB, SHIFT = "\ue007", "\ue00c", "\ue004", "\ue008"
LEFT, RIGHT, HOME, END = "\ue012", "\ue014", "\ue011", "\ue010"


class Missing(Exception):
    """Why there is no browser."""


class Refused(Exception):
    """What the driver said."""


class Browser:
    def __init__(self, width=1200, height=800):
        driver, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
        if not driver or not chromium:
            raise Missing("no " + ("chromedriver" if chromium else "Chromium") + ": tools/install-deps ci")
        self.folder = tempfile.TemporaryDirectory(prefix="paco-browser.")
        # A pipe that nobody reads would fill up: the driver's words go to a file.
        self.log = open(os.path.join(self.folder.name, "driver.log"), "w+", encoding="utf-8")
        self.driver = subprocess.Popen([driver, "--port=0"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.session = ""
        try:
            self.base = f"http://127.0.0.1:{self.port()}"
            arguments = ["--headless=new", f"--window-size={width},{height}", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                         "--disable-background-networking", f"--user-data-dir={self.folder.name}/profile"]
            if os.geteuid() == 0:
                arguments.append("--no-sandbox")
            wanted = {"browserName": "chrome", "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
                      "goog:chromeOptions": {"binary": chromium, "args": arguments}}
            self.session = "/session/" + self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.close()
            raise

    def port(self):
        for _ in range(200):
            with open(self.log.name, encoding="utf-8") as f:
                found = re.search(r"started successfully on port (\d+)", f.read())
            if found:
                return found.group(1)
            if self.driver.poll() is not None:
                break
            time.sleep(0.05)
        raise Missing("chromedriver does not start")

    def close(self):
        if self.session:
            self.call("DELETE", "")
        self.driver.terminate()
        self.driver.wait()
        self.log.close()
        self.folder.cleanup()

    def call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + self.session + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=90) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as e:
            value = json.load(e)["value"]
            raise Refused(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def go(self, url):
        self.call("POST", "/url", {"url": url})

    def run(self, script, *args):
        """The value of a script, which may be a promise; it has the page's names and `arguments`."""
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def until(self, script, *args, seconds=20):
        """Whether a script comes to be true in time."""
        end = time.monotonic() + seconds
        while not self.run(script, *args):
            if time.monotonic() > end:
                return False
            time.sleep(0.03)
        return True

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector, text):
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def press(self, *keys, held=None):
        """Keys to what has the focus, one after the other, with another one held meanwhile."""
        actions = [{"type": kind, "value": k} for k in keys for kind in ("keyDown", "keyUp")]
        if held:
            actions = [{"type": "keyDown", "value": held}, *actions, {"type": "keyUp", "value": held}]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def point(self, selector, kind="mouse", press=False):
        """Move a mouse onto an element, or touch it."""
        steps = [{"type": "pointerMove", "duration": 0, "origin": {ELEMENT: self.find(selector)}, "x": 0, "y": 0}]
        if press:
            steps += [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.call("POST", "/actions", {"actions": [{"type": "pointer", "id": kind, "parameters": {"pointerType": kind}, "actions": steps}]})

    def devtools(self, command, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width, height, phone=False):
        self.devtools("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.devtools("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, **features):
        """Media features: prefer(prefers_color_scheme="dark")."""
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": k.replace("_", "-"), "value": v} for k, v in features.items()])

    def requested(self):
        """Addresses that were asked for since the last call."""
        events = [json.loads(e["message"])["message"] for e in self.call("POST", "/se/log", {"type": "performance"})]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def complaints(self):
        """What the browser's console says since the last call: errors, and what the policy refused."""
        return [e["message"] for e in self.call("POST", "/se/log", {"type": "browser"}) if e["level"] in ("SEVERE", "WARNING")]

    def shot(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("GET", "/screenshot")))
