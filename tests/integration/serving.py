# SPDX-License-Identifier: Apache-2.0
"""A server under test, and a plain client of it. Standard library only.

    with Server("-m", model) as s:
        status, body = s.post("/v1/completions", {"prompt": "abc"})
        for event in s.stream("/v1/completions", {...}): ...
"""
import http.client
import json
import os
import signal
import socket
import subprocess
import time

from tiny import PACO


class Server:
    """paco serve on a free port, or whatever the arguments say; ready when entered."""

    def __init__(self, *args, port=0, wait=True, env=None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PACO_")}
        clean.update(HF_HUB_OFFLINE="1", **(env or {}))
        address = [] if "--host" in args and "unix:" in str(args[args.index("--host") + 1]) else ["--port", str(port)]
        self.process = subprocess.Popen([PACO, "serve", *map(str, args), *address], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True, env=clean)
        self.host, self.port, self.said = "127.0.0.1", port, []
        if wait:
            self.ready()

    def ready(self):
        for line in self.process.stderr:
            self.said.append(line)
            if "is served at" in line:
                if "://" in line:
                    self.port = int(line.rstrip().rsplit(":", 1)[1])
                return
        raise RuntimeError("the server did not start: " + "".join(self.said))

    def hear(self, words):
        """The next line it says with these words."""
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise RuntimeError("the server did not say %r: %s" % (words, "".join(self.said)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def end(self, number=signal.SIGTERM, timeout=30):
        """Ask it to end; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def connect(self, timeout=60):
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, raw body)"""
        c = self.connect(timeout)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def post(self, path, body, headers=None):
        """(status, parsed body); body is sent as it is when it is no dict."""
        raw = json.dumps(body).encode() if isinstance(body, dict) else body
        status, _, reply = self.ask("POST", path, raw, {"Content-Type": "application/json", **(headers or {})})
        return status, json.loads(reply)

    def get(self, path, headers=None):
        status, _, reply = self.ask("GET", path, None, headers)
        return status, json.loads(reply)

    def stream(self, path, body, headers=None):
        """The events of a stream, parsed, up to [DONE], which comes as a string; comments are left out."""
        c = self.connect()
        try:
            c.request("POST", path, json.dumps({**body, "stream": True}).encode(), {"Content-Type": "application/json", **(headers or {})})
            r = c.getresponse()
            if r.status != 200:
                raise RuntimeError("status %d: %s" % (r.status, r.read()))
            for line in r:
                if line.startswith(b"data: "):
                    text = line[6:].decode().strip()
                    yield text if text == "[DONE]" else json.loads(text)
        finally:
            c.close()

    def metrics(self):
        text = self.ask("GET", "/metrics")[2].decode()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}

    def raw(self, data, half_close=False, timeout=30):
        """Send bytes over a connection of its own; what comes back until it is closed."""
        with socket.create_connection((self.host, self.port), timeout) as c:
            back = b""
            try:
                c.sendall(data)
                if half_close:
                    c.shutdown(socket.SHUT_WR)
                while True:
                    part = c.recv(65536)
                    if not part:
                        return back
                    back += part
            except OSError:  # it may close before all is sent
                return back

    def rss(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS"))


def until(condition, seconds=10):
    """Whether condition() became true in time. A server that refuses to be asked is asked again; and once more in the end, since this
    process may have been the one that did not run."""
    end, late = time.monotonic() + seconds, False
    while True:
        try:
            if condition():
                return True
        except OSError:
            pass
        if late:
            return False
        late = time.monotonic() > end
        time.sleep(0.02)
