"""A stand-in for the Hub on 127.0.0.1 that takes uploads as the Hub's own client sends them: create, LFS, commit."""

import base64
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

TOKEN = "hf_" + "s" * 34
COMMIT = "d" * 40


@dataclass
class Upload:
    """Repositories by name, and what was asked for."""

    repositories: dict[str, dict] = field(default_factory=dict)  # name → {"private": …, "files": {path: bytes}}
    models: dict[str, dict] = field(default_factory=dict)  # name → card data of models that are there already
    asked: list[str] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)  # oid → content
    refuse: dict[str, int] = field(default_factory=dict)  # a piece of a path → the status it is answered with

    def existing(self, name: str) -> None:
        self.repositories[name] = {"private": False, "files": {"README.md": b"mine"}}


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Upload

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, hub = self.path.split("?")[0], self.hub
        hub.asked.append(f"{self.command} {path}")
        for piece, status in hub.refuse.items():
            if piece in path:
                return self.say({"error": f"refused {TOKEN}"}, status)
        if path.startswith("/lfs/"):
            hub.stored[path.removeprefix("/lfs/")] = body
            return self.say({})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.say({"error": "who are you?"}, 401)
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            return self.say({"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"] and len(parts) == 4 and "/".join(parts[2:]) in hub.models:
            name = "/".join(parts[2:])
            return self.say({"id": name, "cardData": hub.models[name], "siblings": [], "tags": []})
        if parts[-2:] == ["preupload", "main"]:
            files = json.loads(body)["files"]
            return self.say({"files": [self.mode(f["path"]) for f in files]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.say({"transfer": "basic", "objects": [self.lfs(o) for o in json.loads(body)["objects"]]})
        if parts[-2:] == ["commit", "main"]:
            return self.commit("/".join(parts[2:4]), body)
        self.say({"error": "not here"}, 404)

    def create(self, asked: dict) -> None:
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        if name in self.hub.repositories:
            return self.say({"error": "You already created this model repo"}, 409)
        self.hub.repositories[name] = {"private": asked.get("visibility") == "private", "files": {}}
        self.say({"url": f"{self.home}/{name}", "name": name})

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @staticmethod
    def mode(path: str) -> dict:
        return {
            "path": path,
            "uploadMode": "lfs" if path.endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }

    def lfs(self, asked: dict) -> dict:
        return {**asked, "actions": {"upload": {"href": f"{self.home}/lfs/{asked['oid']}", "header": {}}}}

    def commit(self, name: str, body: bytes) -> None:
        files = self.hub.repositories[name]["files"]
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                content = self.hub.stored[line["value"]["oid"]]
                assert hashlib.sha256(content).hexdigest() == line["value"]["oid"]
                files[line["value"]["path"]] = content
        self.say({"commitUrl": f"{self.home}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def say(self, value: dict, status: int = 200) -> None:
        raw = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)


@contextmanager
def serving(hub: Upload) -> Iterator[str]:
    """The address the stand-in listens at."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("UploadHandler", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
