# SPDX-License-Identifier: Apache-2.0
"""A hub on this machine, as the Hugging Face hub looks to a client, with faults on request. A second server on another port is
where large files are redirected to, as to the hub's storage."""
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Repo:
    """Files of one commit. lfs: those that git-lfs keeps (a redirection, a SHA-256)."""

    def __init__(self, files, lfs=(), commit=None, gated=False, private=False):
        self.files = files
        self.lfs = set(lfs)
        self.commit = commit or hashlib.sha1(json.dumps(sorted(files)).encode()).hexdigest()
        self.gated = gated
        self.private = private

    def siblings(self):
        out = []
        for name, data in self.files.items():
            entry = {"rfilename": name, "size": len(data), "blobId": git_blob(data)}
            if name in self.lfs:
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            out.append(entry)
        return out


    def tree(self):
        out = []
        for entry in self.siblings():
            leaf = {"type": "file", "path": entry["rfilename"], "size": entry["size"], "oid": entry["blobId"]}
            if "lfs" in entry:
                leaf["lfs"] = dict(entry["lfs"], oid=entry["lfs"]["sha256"])
            out.append(leaf)
        return out


class Hub:
    """faults: name of a file to a list of faults, one for each request for it, the first first."""

    def __init__(self):
        self.repos = {}  # "org/name": {revision: Repo}
        self.token = "hf_secretsecret"
        self.faults = {}
        self.asked = []  # (server, path, Range, Authorization)
        self.info = None  # replaces the answer about a repository
        self.info_faults = []
        self.slow = 0.0
        self.ranges = True
        self.storage = self._serve("storage")
        self.hub = self._serve("hub")
        self.url = "http://127.0.0.1:%d" % self.hub.server_address[1]
        self.storage_url = "http://localhost:%d" % self.storage.server_address[1]

    def _serve(self, kind):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                owner.asked.append((kind, self.path, self.headers.get("Range"), self.headers.get("Authorization")))
                try:
                    (owner.answer if kind == "hub" else owner.store)(self)
                except OSError:
                    self.close_connection = True

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    # ---- answers ----

    def reply(self, h, status, body=b"", **headers):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        h.send_response(status)
        for k, v in headers.items():
            h.send_header(k.replace("_", "-"), v)
        if "Content_Length" not in headers:
            h.send_header("Content-Length", str(len(body)))
        h.end_headers()
        if h.command != "HEAD":
            h.wfile.write(body)

    def error(self, h, status, name, text):
        self.reply(h, status, {"error": text}, X_Error_Code=name, X_Error_Message=text)

    def find(self, h, name, revision):
        """The repository, or None when an error was sent."""
        repos = self.repos.get(name)
        allowed = h.headers.get("Authorization") == "Bearer " + self.token
        if h.headers.get("Authorization") and not allowed:
            self.reply(h, 401, {"error": "Invalid credentials in Authorization header"})
        elif repos is None or (any(r.private for r in repos.values()) and not allowed):
            if allowed:
                self.error(h, 404, "RepoNotFound", "Repository not found")
            else:
                self.error(h, 401, "RepoNotFound", "Invalid username or password.")
        elif revision not in repos and revision not in [r.commit for r in repos.values()]:
            self.error(h, 404, "RevisionNotFound", "Invalid rev id: " + revision)
        else:
            return repos.get(revision) or [r for r in repos.values() if r.commit == revision][0]
        return None

    def answer(self, h):
        path = urllib.parse.unquote(h.path.split("?")[0])
        raw = h.path.split("?")[0]
        m = re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/revision/([^/]+)", raw)
        if m:
            return self.answer_info(h, m.group(1), urllib.parse.unquote(m.group(2)))
        m = re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/tree/([^/]+)", raw)
        if m:  # huggingface_hub's way to the same list
            repo = self.find(h, m.group(1), urllib.parse.unquote(m.group(2)))
            return repo and self.reply(h, 200, repo.tree(), Content_Type="application/json")
        m = re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/([0-9a-f]{40})/(.+)", path)
        if not m:
            return self.error(h, 404, "EntryNotFound", "no such page: " + path)
        repo = self.find(h, m.group(1), m.group(2))
        if repo is None:
            return None
        name = m.group(3)
        if repo.gated and h.headers.get("Authorization") != "Bearer " + self.token:
            return self.error(h, 401, "GatedRepo", "Access to model is restricted. You must have access to it.")
        if repo.gated == "refused":
            return self.error(h, 403, "GatedRepo", "Access to model is restricted and you are not in the authorized list.")
        if name not in repo.files:
            return self.error(h, 404, "EntryNotFound", "Entry not found")
        if name in repo.lfs:
            digest = hashlib.sha256(repo.files[name]).hexdigest()
            to = "%s/%s?name=%s&signature=x" % (self.storage_url, digest, urllib.parse.quote(name))
            return self.reply(h, 302, b"Found", Location=to, X_Linked_Size=str(len(repo.files[name])), X_Linked_ETag='"%s"' % digest,
                              X_Repo_Commit=repo.commit)
        return self.send(h, name, repo.files[name], '"%s"' % git_blob(repo.files[name]), repo.commit)

    def answer_info(self, h, name, revision):
        if self.info_faults:
            fault = self.info_faults.pop(0)
            if fault == "429":
                return self.reply(h, 429, {"error": "too many"}, Retry_After="1")
            if fault == "break":
                h.close_connection = True
                return None
        repo = self.find(h, name, revision)
        if repo is None:
            return None
        if self.info is not None:
            return self.reply(h, 200, self.info, Content_Type="application/json")
        return self.reply(h, 200, {"id": name, "sha": repo.commit, "private": repo.private, "gated": bool(repo.gated), "tags": [],
                                   "siblings": repo.siblings()}, Content_Type="application/json")

    def store(self, h):
        path, _, query = h.path.partition("?")
        name = urllib.parse.parse_qs(query)["name"][0]
        for repos in self.repos.values():
            for repo in repos.values():
                data = repo.files.get(name)
                if data is not None and hashlib.sha256(data).hexdigest() == path.strip("/"):
                    return self.send(h, name, data, '"%s"' % hashlib.md5(data).hexdigest(), repo.commit)
        return self.reply(h, 404, b"NoSuchKey")

    # ---- bytes, and what may go wrong with them ----

    def send(self, h, name, data, etag, commit):
        faults = self.faults.get(name) or [None]
        fault = faults.pop(0) if len(faults) > 1 or faults[0] is not None else None
        whole = len(data)
        if fault == "429":
            return self.reply(h, 429, b"slow down", Retry_After="1")
        if fault == "503":
            return self.reply(h, 503, b"later")
        if fault == "wrong":
            data = bytes(b ^ 1 for b in data)
        if fault == "longer":
            data = data + b"more"
        if fault == "shorter":
            data = data[:-3]
        if fault == "page":
            return self.reply(h, 200, b"<!DOCTYPE html><html>sign in</html>", Content_Type="text/html")
        if fault == "other":
            etag = '"another"'
        at = 0
        m = re.fullmatch(r"bytes=(\d+)-", h.headers.get("Range") or "")
        if m and self.ranges:
            at = int(m.group(1))
            if at >= len(data):
                return self.reply(h, 416, b"", Content_Range="bytes */%d" % len(data))
            condition = h.headers.get("If-Range")
            if condition and condition != etag:
                at = 0
        h.send_response(206 if at else 200)
        h.send_header("Content-Length", str(len(data) - at))
        h.send_header("ETag", etag)
        if at:
            h.send_header("Content-Range", "bytes %d-%d/%d" % (at, len(data) - 1, len(data)))
        h.send_header("X-Repo-Commit", commit)
        h.end_headers()
        if h.command == "HEAD":
            return None
        if fault == "stall":
            h.wfile.write(data[at:at + max(1, (len(data) - at) // 2)])
            h.wfile.flush()
            time.sleep(8)
            h.close_connection = True
            return None
        if fault == "break":
            h.wfile.write(data[at:at + max(1, (len(data) - at) // 2)])
            h.wfile.flush()
            h.connection.shutdown(2)
            h.close_connection = True
            return None
        step = 1 << 14 if self.slow else whole or 1
        for i in range(at, len(data), step):
            h.wfile.write(data[i:i + step])
            h.wfile.flush()
            time.sleep(self.slow)
        return None
