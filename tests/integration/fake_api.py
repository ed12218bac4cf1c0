# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible endpoint for chats on this machine. Its answer is `answer`, in pieces; `faults` are for the next requests, the first
first."""
import http.server
import json
import threading
import time


class Api:
    def __init__(self):
        self.answer = ["Hel", "lo ", "w\u00f6rld"]
        self.faults = []
        self.asked = []  # (path, body, Authorization)
        self.delay = 0.0
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.asked.append((self.path, body, self.headers.get("Authorization")))
                try:
                    owner.reply(self)
                except OSError:
                    owner.broken = True

        self.broken = False
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d/v1" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def head(self, h, status=200, kind="text/event-stream", **headers):
        h.send_response(status)
        h.send_header("Content-Type", kind)
        for k, v in headers.items():
            h.send_header(k.replace("_", "-"), v)
        h.end_headers()

    def event(self, h, data, end="\n\n"):
        h.wfile.write(("data: %s%s" % (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False), end)).encode())
        h.wfile.flush()

    def delta(self, **delta):
        return {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def reply(self, h):
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            self.head(h, fault, "application/json", **({"Retry_After": "1"} if fault == 429 else {}))
            h.wfile.write(json.dumps({"error": {"message": "no such model: sk-secret", "type": "x"}}).encode())
            return
        if fault == "whole":
            self.head(h, kind="application/json")
            h.wfile.write(json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"}],
                                      "usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode())
            return
        if fault == "page":
            self.head(h, kind="text/html")
            h.wfile.write(b"<!DOCTYPE html><html>sign in</html>")
            return
        self.head(h)
        end = "\r\n\r\n" if fault == "crlf" else "\n\n"
        self.event(h, self.delta(role="assistant", content=""), end)
        if fault == "comments":
            h.wfile.write(b": ping\n\nevent: x\nid: 7\n\n")
        for i, piece in enumerate(self.answer):
            time.sleep(self.delay)
            if fault == "break" and i == 1:
                h.connection.shutdown(2)
                return
            if fault == "error" and i == 1:
                self.event(h, {"error": {"message": "the cards caught fire", "code": 500}})
                return
            if fault == "nonsense" and i == 1:
                self.event(h, "{not json")
                return
            if fault == "bytes":  # every byte on its own
                for byte in ("data: " + json.dumps(self.delta(content=piece), ensure_ascii=False) + "\n\n").encode():
                    h.wfile.write(bytes([byte]))
                    h.wfile.flush()
                continue
            self.event(h, self.delta(content=piece), end)
        if fault == "no end":
            return
        self.event(h, {"choices": [{"index": 0, "delta": {}, "finish_reason": "length" if fault == "length" else "stop"}],
                       "usage": {"prompt_tokens": 5, "completion_tokens": 3}}, end)
        self.event(h, "[DONE]", end)
