# SPDX-License-Identifier: Apache-2.0
"""A stand-in for paco serve, for the chat page: the page as the build joins it, models that are made up, and answers that the
last message asks for by name. Standard library only. Run by itself it serves on the port given, for a look in a browser:
python3 tests/integration/chat_double.py 8080

    double = Double()       # double.origin, double.asked (requests to chat), double.key, double.models
    double.close()
"""
import http.server
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HOSTILE_NAME = "<img src=x onerror=alert(1)>"

MARKDOWN = """# Shearing an alpaca

It takes *about* **ten minutes**, once a year; see [the guide](https://example.org/shear "title") and `paco help`.

1. Lay it on its side
   - calmly
   - on a mat
2. Shear from the belly up

| part | grade | weight |
| :--- | :---: | ---: |
| blanket | A | 1.8 kg |
| neck | B | 0.6 kg |

> Fleece is sorted at once.

```python
def fleece(parts):
    return sum(p.weight for p in parts if p.grade <= "B")  # a line that is long enough to need scrolling on a phone
```

Then let it go.
"""

HOSTILE = """<script>window.hacked = 1</script>
<img src="/hacked.png" onerror="window.hacked = 1"> ![picture](/hacked.png) ![other](http://example.invalid/hacked.png)

[click](javascript:window.hacked=1) [click](JaVaScRiPt:window.hacked=1) [click](data:text/html,<script>window.hacked=1</script>)
[click](vbscript:x) [click](//example.invalid/x) [click]( \tjavascript:window.hacked=1) [user](https://example.org@example.invalid/)
<javascript:window.hacked=1> <https://ok.example/"onmouseover="window.hacked=1> [https://bank.example](https://example.invalid/)

```"><script>window.hacked=1</script>
</code></pre><script>window.hacked = 1</script>
```
`</code><svg onload=window.hacked=1>`

| <svg onload=window.hacked=1> | b |
| --- | --- |
| </td><script>window.hacked=1</script> | [x](javascript:window.hacked=1) |

# </h4><iframe src=/hacked.html></iframe>
"""

ARABIC = "مرحبا! هذا جواب بالعربية، مع كلمة alpaca في الوسط.\n\nAnd a paragraph in English."


def tool():
    """tools/chat-page as a module."""
    loader = importlib.machinery.SourceFileLoader("chat_page_tool", os.path.join(ROOT, "tools", "chat-page"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def page():
    """(page, headers), from the files that the build names."""
    folder = os.path.join(ROOT, "src", "serve", "chat")
    with open(os.path.join(folder, "meson.build"), encoding="utf-8") as f:
        paths = re.findall(r"'(chat\w*\.(?:html|css|js))'", f.read())
    return tool().join(*(os.path.join(folder, p) for p in paths))


def pieces(text):
    """Words with the space before them, as tokens are."""
    return [p.encode() for p in re.findall(r"\n|[ ]?[^\s]+|\s", text)]


def spelt(raw, logprob):
    return {"token": raw.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(raw)}


def entry(raw, i):
    """The likelihood of a token: the same for the same place, from nearly sure to rare."""
    logprob = (-0.01, -0.3, -0.9, -1.8, -3.5)[i % 5]
    others = [spelt(o, -1.2 - k) for k, o in enumerate((b" other", b"\n", b" <b>bold</b>"))]
    top = [spelt(raw, logprob), *others]
    return {**spelt(raw, logprob), "top_logprobs": sorted(top, key=lambda t: -t["logprob"])}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, headers, raw):
        self.send_response(status)
        for name, value in [*headers, ("Content-Length", str(len(raw)))]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def json(self, status, value, *headers):
        self.reply(status, [("Content-Type", "application/json"), *headers], json.dumps(value).encode())

    def fault(self, status, message, code=None, *headers):
        self.json(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}, *headers)

    def refused(self):
        double = self.server.double
        if double.down:
            self.close_connection = True
            return True
        if double.key and self.headers.get("Authorization") != f"Bearer {double.key}":
            self.fault(401, "Incorrect API key provided.", "invalid_api_key")
            return True
        return False

    def do_GET(self):
        double = self.server.double
        double.paths.append(self.path)
        if self.path == "/":
            raw, headers = page()
            self.reply(200, headers, raw)
        elif self.path == "/v1/models":
            if double.loading > 0:
                double.loading -= 1
                self.fault(503, "Loading model")
            elif not self.refused():
                self.json(200, {"object": "list", "data": [{"id": m, "object": "model"} for m in double.models]})
        else:
            self.fault(404, "no such path")

    def do_POST(self):
        double = self.server.double
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        double.paths.append(self.path)
        double.asked.append(body)
        if self.refused():
            return
        wish = body["messages"][-1]["content"]
        if wish == "busy":
            self.fault(429, "The queue is full.", None, ("Retry-After", "7"))
        elif wish == "too long":
            self.fault(400, "This model's maximum context length is 2048 tokens. However, your messages resulted in 3071 tokens. "
                       "Please reduce its length.", "context_length_exceeded")
        elif wish == "unknown":
            self.fault(404, f"The model '{body['model']}' does not exist.", "model_not_found")
        elif wish == "web page":
            self.reply(502, [("Content-Type", "text/html")], b"<h1>Bad gateway</h1>")
        else:
            self.stream(body, wish)

    def stream(self, body, wish):
        texts = {"markdown": MARKDOWN, "hostile": HOSTILE, "arabic": ARABIC, "slow": "one more word " * 500,
                 "long": "A sentence of some length, and then another. " * 400, "torn": "Look: 🦙!", "vanish": "cut off here"}
        text = texts.get(wish, f"{body['model']} was told {wish!r} after {len(body['messages']) - 1} messages.")
        tokens = pieces(text)
        if wish == "torn":
            tokens = [b"Look:", b" \xf0\x9f", b"\xa6", b"\x99", b"!"]
        limit = body.get("max_tokens") or len(tokens)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.events(body, wish, tokens[:limit], "length" if limit < len(tokens) else "stop")
        except OSError:  # the page stopped it
            self.server.double.stopped += 1

    def event(self, value):
        self.wfile.write(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")
        self.wfile.flush()

    def chunk(self, delta, entries=None, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": {"content": entries} if entries else None}
        self.event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], "usage": None})

    def events(self, body, wish, tokens, finish):
        self.wfile.write(b": ping\r\n\r\n")
        self.chunk({"role": "assistant", "content": ""})
        held = b""
        for i, raw in enumerate(tokens):
            held += raw
            try:
                text, held = held.decode(), b""
            except UnicodeDecodeError:  # waits for the rest of the character
                text = ""
            self.chunk({"content": text}, [entry(raw, i)] if body.get("logprobs") else None)
            if wish == "slow":
                time.sleep(0.02)
        if wish == "vanish":
            return
        if wish == "fails midway":
            self.event({"error": {"message": "The engine ran out of memory.", "type": "server_error", "param": None, "code": None}})
            return
        self.chunk({}, finish=finish)
        self.event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [],
                    "usage": {"prompt_tokens": 9, "completion_tokens": len(tokens), "total_tokens": 9 + len(tokens)}})
        self.event(b"[DONE]")


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A browser that is closed leaves in the middle of things."""


class Double:
    def __init__(self, port=0):
        self.models = ["llama-7b", "llama-7b-tuned", HOSTILE_NAME]
        self.key, self.loading, self.stopped, self.down = None, 0, 0, False
        self.asked, self.paths = [], []
        self.server = Quiet(("127.0.0.1", port), Handler)
        self.server.double = self
        self.origin = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    print(Double(int(sys.argv[1])).origin)
    threading.Event().wait()
