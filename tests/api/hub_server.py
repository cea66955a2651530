"""A small server that answers as Hugging Face's hub does, for its own library to talk to."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch
from safetensors.torch import save

INDEX = "model.safetensors.index.json"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def packed(*names, size=16):
    return save({name: torch.randn(size, size) for name in names}, {"format": "pt"})


def sharded():
    shards = {f"model-{number}-of-2.safetensors": packed(name) for number, name in enumerate("ab", 1)}
    places = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    index = {"metadata": {"total_size": 2048}, "weight_map": places}
    return {INDEX: json.dumps(index).encode(), "config.json": b"{}", **shards}


class Hub:
    """What the hub answers: repositories of files, and which of them are gated. files: that were fetched, in order."""

    def __init__(self):
        self.repositories, self.gated, self.files, self.requests = {}, set(), [], 0

    def answer(self, path):
        """Status, headers and content."""
        self.requests += 1
        for name, files in self.repositories.items():
            if path.startswith(f"/api/models/{name}"):
                return self._listing(files, path.removeprefix(f"/api/models/{name}"))
            if path.startswith(f"/{name}/resolve/"):
                return self._file(name, files, path.removeprefix(f"/{name}/resolve/"))
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _listing(self, files, rest):
        if rest.startswith("/tree/"):
            return self._json([{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in files.items()])
        if rest not in ("", "/revision/main", "/revision/v1", f"/revision/{COMMIT}"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        return self._json({"id": "any", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]})

    def _file(self, name, files, rest):
        file = rest.partition("/")[2]
        if name in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if file not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        self.files.append(file)
        return 200, {"ETag": f'"{file.replace("/", "-")}"', "X-Repo-Commit": COMMIT}, files[file]

    @staticmethod
    def _json(data):
        return 200, {"Content-Type": "application/json"}, json.dumps(data).encode()


class Server:
    """Answers as `hub` does, which every test replaces; address: always the same, as the library keeps the first one."""

    def __init__(self):
        self.hub = Hub()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    owner: Server

    def do_GET(self):
        status, headers, content = self.owner.hub.answer(self.path.partition("?")[0])
        self.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass
