"""A stand-in for the Hub on 127.0.0.1: one model's repository, and the ways in which it may fail."""

import hashlib
import http.server
import json
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Hub:
    """The files of one model, and what the server does about them."""

    id: str
    files: dict[str, bytes]
    refusal: tuple[int, str] | None = None  # status and error code of everything
    refused_files: tuple[int, str] | None = None  # the same, of files but not of the model's description
    token: str | None = None  # that opens what is refused
    sent: dict[str, bytes] = field(default_factory=dict)  # what is sent in place of a file
    stalled: bool = False  # whether large files stop in the middle
    pace: float = 0.0  # seconds between two pieces of a large file
    sizes: dict[str, int] = field(default_factory=dict)  # what the description says in place of a file's size
    revisions: tuple[str, ...] = ("main",)
    asked: list[str] = field(default_factory=list)  # method and path, in order
    tokens: list[str | None] = field(default_factory=list)  # that came with them

    @classmethod
    def of(cls, folder: Path, id: str = "owner/tiny", **values) -> "Hub":
        """A repository that holds a folder's files."""
        return cls(id, {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file()}, **values)

    @property
    def commit(self) -> str:
        """What every revision resolves to."""
        return hashlib.sha1(b"".join(name.encode() + raw for name, raw in self.files.items())).hexdigest()

    def size(self, name: str) -> int:
        return self.sizes.get(name, len(self.files[name]))


def large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        bearer = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.append(bearer)
        opened = self.hub.token is not None and bearer == self.hub.token
        if self.hub.refusal and not opened:
            return self.refuse(*self.hub.refusal)
        about, files = f"/api/models/{self.hub.id}", f"/{self.hub.id}/resolve/"
        if path.startswith(about):
            return self.describe(path.removeprefix(about).removeprefix("/revision/") or "main")
        if path.startswith(files):
            if self.hub.refused_files and not opened:
                return self.refuse(*self.hub.refused_files)
            return self.file(*path.removeprefix(files).split("/", 1))
        self.refuse(404, "RepoNotFound")

    def describe(self, revision: str) -> None:
        if revision not in (*self.hub.revisions, self.hub.commit):
            return self.refuse(404, "RevisionNotFound")
        siblings = [self.entry(name) for name in self.hub.files]
        self.say({"id": self.hub.id, "sha": self.hub.commit, "private": False, "tags": [], "siblings": siblings})

    def entry(self, name: str) -> dict:
        raw = self.hub.files[name]
        git = hashlib.sha1(f"blob {len(raw)}\0".encode() + raw).hexdigest()
        found = {"rfilename": name, "size": self.hub.size(name), "blobId": git}
        if large(name):
            found["lfs"] = {"sha256": hashlib.sha256(raw).hexdigest(), "size": self.hub.size(name), "pointerSize": 130}
        return found

    def file(self, revision: str, name: str) -> None:
        if name not in self.hub.files:
            return self.refuse(404, "EntryNotFound")
        raw, entry = self.hub.sent.get(name, self.hub.files[name]), self.entry(name)
        first = 0
        if asked := self.headers.get("Range"):
            first = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{entry["lfs"]["sha256"] if large(name) else entry["blobId"]}"')
        size = self.hub.size(name) if self.command == "HEAD" else len(raw) - first
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        if not large(name) or not (self.hub.pace or self.hub.stalled):
            self.wfile.write(raw[first:])
            return
        for at in range(first, len(raw), 4096):
            self.wfile.write(raw[at : at + 4096])
            self.wfile.flush()
            time.sleep(self.hub.pace)
            if self.hub.stalled:
                self.server.ended.wait(20)
                return

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Message" if " " in code else "X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def say(self, value) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def serving(hub: Hub, handler: Callable = Handler) -> Iterator[str]:
    """The address the model is served at."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (handler,), {"hub": hub}))
    server.daemon_threads, server.block_on_close, server.ended = True, False, threading.Event()
    server.handle_error = lambda *a: None  # a client that hangs up is what some tests are about
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
