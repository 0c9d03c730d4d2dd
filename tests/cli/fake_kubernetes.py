"""A Kubernetes API server of one node without a GPU: a job that is created runs at once, as a process in its own folder."""

import json
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Cluster:
    """``with Cluster(environment) as cluster``: ``cluster.url``; ``cluster.jobs``, what was submitted; ``cluster.logs``."""

    def __init__(self, environment):
        self.environment, self.jobs, self.ended, self.logs, self.secrets = environment, {}, {}, {}, []

    def run(self, job):
        (container,) = job["spec"]["template"]["spec"]["containers"]
        if "nvidia.com/gpu" in container["resources"]["limits"]:
            self.ended[job["metadata"]["name"]] = {"failed": 1}
            return
        with tempfile.TemporaryDirectory() as folder:
            pod = subprocess.run(
                [*container["command"], *container["args"]],
                cwd=folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.logs[job["metadata"]["name"]] = pod.stdout
        self.ended[job["metadata"]["name"]] = {"failed": 1} if pod.returncode else {"succeeded": 1}

    def answer(self, method, path, body):
        place, _, name = path.partition("?")[0].rpartition("/")
        if method == "POST" and name == "jobs":
            self.jobs[body["metadata"]["name"]] = body
            threading.Thread(target=self.run, args=[body]).start()
        elif method == "POST":
            self.secrets.append(body["metadata"]["name"])
        elif name == "status":
            job = place.rpartition("/")[2]
            return {**self.jobs[job], "status": self.ended.get(job, {"active": 1})}
        elif name == "pods":
            return {"items": []}
        elif method == "DELETE" and name in self.secrets:
            self.secrets.remove(name)
        return body or {}

    def __enter__(self):
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self):
                length = int(self.headers.get("Content-Length") or 0)
                answer = cluster.answer(self.command, self.path, json.loads(self.rfile.read(length) or "null"))
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = handle_any
            log_message = lambda *ignored: None

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
