"""A web server on this machine with the faults of real ones, for the tests of downloads."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves ``files`` by path, by ranges too; ``asked`` lists the requests as (path, first byte)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}  # to be sent besides
        self.asked: list[tuple[str, int]] = []
        self.drops: list[int] = []  # break off the next answers after so many bytes
        self.statuses: list[int] = []  # answer the next requests with these
        self.answered: list[int] = []  # with these
        self.ignores_range = self.shifts_range = self.hides_length = False
        self.hides_version = self.weak_version = False
        self.gate = threading.Event()  # answers wait for it
        self.gate.set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def url(self, path: str, data: bytes | None = None) -> str:
        if data is not None:
            self.files[f"/{path}"] = data
        return f"{self.address}/{path}"

    def serve_hub(self, repo: str, commit: str, files: dict[str, bytes], revision: str | None = None):
        """A dataset repository, as far as the hub's client asks for it."""
        sizes = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
        tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()]
        about = f"/api/datasets/{repo}" + (f"/revision/{revision}" if revision else "")
        self.files[about] = json.dumps({"id": repo, "sha": commit, "siblings": sizes}).encode()
        self.files[f"/api/datasets/{repo}/tree/{commit}"] = json.dumps(tree).encode()
        for name, data in files.items():
            path = f"/datasets/{repo}/resolve/{commit}/{name}"
            self.files[path], self.headers[path] = data, {"X-Repo-Commit": commit}

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.gate.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self):
        server, path = self.server, self.path.split("?")[0]
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        server.asked.append((path, start))
        server.gate.wait(10)
        data = server.files.get(path)
        status = server.statuses.pop(0) if server.statuses else 200 if data is not None else 404
        if status != 200:
            self.send_response(status)
            for name, value in {"Content-Length": "0", **server.headers.get(path, {})}.items():
                self.send_header(name, value)
            return self.end_headers()
        version = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
        changed = self.headers.get("If-Range") not in (None, version)  # a weak one never matches
        version = f"W/{version}" if server.weak_version else version
        ranged = bool(wanted) and not changed and not server.ignores_range
        if ranged and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = start - server.shifts_range if ranged else 0
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if not server.hides_length:
            self.send_header("Content-Length", str(len(data) - start))
        if not server.hides_version:
            self.send_header("ETag", version)
        for name, value in server.headers.get(path, {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            stop = start + server.drops.pop(0) if server.drops else len(data)
            self.wfile.write(data[start:stop])

    do_HEAD = do_GET

    def send_response(self, code, message=None):
        self.server.answered.append(code)
        super().send_response(code, message)

    def log_message(self, *_):
        """Keep quiet."""
