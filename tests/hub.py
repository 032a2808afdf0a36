"""A Hugging Face hub on loopback that has one file, and a client in a process."""

import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every branch
LOAD = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits before it tries again
from metainit.models import pretrained
answers = {}
for source in sys.argv[1:]:
    try:
        flat, about = pretrained.load(source)
    except ValueError as error:
        answers[source] = {"error": str(error)}
    else:
        values = {name: value.tolist() for name, value in flat.items()}
        answers[source] = {"flat": values, "about": about}
print(json.dumps(answers))
"""


@contextlib.contextmanager
def serve(name, content):
    """Yields the address, and the list of paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            known = self.path.startswith(f"/{name}/resolve/")
            if known and "/gone/" not in self.path:
                self.send_response(200)
                revision = self.path.split("/resolve/")[1].split("/")[0]
                commit = revision if len(revision) == 40 else COMMIT
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            else:
                self.send_response(404)
                code = "RevisionNotFound" if known else "RepoNotFound"
                self.send_header("X-Error-Code", code)
            body = content if known else b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def load(sources, endpoint, home):
    """By source, what `pretrained.load` gives in a process whose hub is `endpoint`.

    The address is read from the environment, once, when the client is imported.
    """
    environment = os.environ | {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_HUB_OFFLINE", None)
    run = subprocess.run(
        [sys.executable, "-c", LOAD, *sources],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])
