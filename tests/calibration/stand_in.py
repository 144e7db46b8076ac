"""A stand-in for the Hub on 127.0.0.1: one data set's files, served as the Hub's own clients ask for them."""

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager

COMMIT = "c" * 40  # what every revision resolves to


class Hub:
    """The files of one data set repository, and what was asked of them."""

    def __init__(self, repository: str, files: dict[str, bytes]):
        self.repository, self.files = repository, files
        self.asked: list[str] = []  # method and path, in order
        self.sent = 0  # bytes of files

    def entries(self, folder: str) -> list[dict] | None:
        """The files and folders right below a folder, as the Hub's tree lists them; None where there is none."""
        found = {}
        prefix = folder.strip("/") + "/" if folder.strip("/") else ""
        for path, raw in self.files.items():
            if path.startswith(prefix):
                name, _, rest = path.removeprefix(prefix).partition("/")
                found[prefix + name] = entry(prefix + name, None if rest else raw)
        return list(found.values()) or None


def entry(path: str, raw: bytes | None) -> dict:
    kind = "directory" if raw is None else "file"
    return {"type": kind, "oid": "0" * 40, "size": len(raw or b""), "path": path}


class Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        self.hub.asked.append(f"{self.command} {url.path}")
        for prefix, reply in (
            (f"/api/datasets/{self.hub.repository}/revision/", self.revision),
            (f"/api/datasets/{self.hub.repository}/tree/", self.tree),
            (f"/api/datasets/{self.hub.repository}/paths-info/", self.paths_info),
            (f"/datasets/{self.hub.repository}/resolve/", self.file),
        ):
            if url.path.startswith(prefix):
                revision, _, rest = url.path.removeprefix(prefix).partition("/")
                return reply(urllib.parse.unquote(revision), urllib.parse.unquote(rest), body)
        self.missing("RepoNotFound")

    def revision(self, revision: str, rest: str, body: bytes) -> None:
        names = [{"rfilename": f} for f in self.hub.files]
        self.say({"id": self.hub.repository, "sha": COMMIT, "private": False, "tags": [], "siblings": names})

    def tree(self, revision: str, rest: str, body: bytes) -> None:
        found = self.hub.entries(rest)
        self.missing("EntryNotFound") if found is None else self.say(found)

    def paths_info(self, revision: str, rest: str, body: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        asked = json.loads(body)["paths"] if "json" in kind else urllib.parse.parse_qs(body.decode())["paths"]
        asked = [asked] if isinstance(asked, str) else asked
        self.say([entry(p, self.hub.files[p]) for p in asked if p in self.hub.files])

    def file(self, revision: str, rest: str, body: bytes) -> None:
        raw = self.hub.files.get(rest)
        if raw is None:
            return self.missing("EntryNotFound")
        first, last = 0, len(raw) - 1
        if asked := self.headers.get("Range"):
            first, last = (int(n) if n else last for n in asked.removeprefix("bytes=").split("-"))
        part = raw[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{len(raw)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(raw)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)
            self.hub.sent += len(part)

    def say(self, value) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """The address the data set is served at."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
