"""A Hugging Face hub on loopback that has one file, and its client's settings."""

import contextlib
import hashlib
import http.server
import threading
import time

from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every branch


@contextlib.contextmanager
def serve(name, content):
    """Yields the address, and the list of paths that were asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            repository, _, rest = self.path.partition("/resolve/")
            revision = rest.split("/")[0]
            body = content if repository == f"/{name}" and revision != "gone" else b""
            self.send_response(200 if body else 404)
            if body:
                commit = revision if len(revision) == 40 else COMMIT
                self.send_header("X-Repo-Commit", commit)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            else:
                code = "RevisionNotFound" if revision == "gone" else "RepoNotFound"
                self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def use(patch, endpoint, home):
    """The client asks that address, with a cache of its own, and waits for nothing."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(home),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        patch.setattr(constants, name, value)
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setattr(time, "sleep", lambda seconds: None)  # it waits before it tries again
