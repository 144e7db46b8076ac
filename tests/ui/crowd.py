"""Eight visitors at once on a public studio: `python -m tests.ui.crowd [--seconds 180] [--clients 8]`.

They drag, chat, load, cancel and send nonsense through `gradio_client`, and each checks what comes back: its own words,
the right reply, no failure that is not its own. The studio runs in a process of its own that tells how it is.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

from ..tiny import tiny_llama

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = ("cow", "fox", "boat", "owl", "sky", "river", "eight", "thank you")
MODELS = {"tiny/one": {}, "tiny/two": {"num_hidden_layers": 2, "tie_word_embeddings": False}}
LINK = {"windows": "8", "window": "64", "probe_windows": "2"}  # small enough to be measured while one looks
OURS = "The studio failed"
COMMIT = "e" * 40
SERVER = """
import json, os, sys
from pathlib import Path
import lowrank_core
from dataclasses import replace
from lowrank_core.ui.build import launch
from lowrank_core.ui.host import PUBLIC
from lowrank_core.ui.house import House

house = House(host=replace(PUBLIC, slice_seconds=0.5))
print(launch(block=False, house=house), flush=True)
for line in sys.stdin:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(json.dumps({
        "line": len(house.line), "held": house.line.held, "device": house._device.locked(),
        "visits": len(house.visits), "models": house.models.bytes, "users": sum(house.models._users.values()),
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
    }), flush=True)
"""


def downloaded(home: Path) -> None:
    """Two tiny models in the Hub's cache below `home`, as if they had been downloaded."""
    for name, config in MODELS.items():
        folder = home / "hub" / f"models--{name.replace('/', '--')}"
        tiny_llama(folder / "snapshots" / COMMIT, **config)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)


class Studio:
    """A public studio in a process of its own."""

    def __init__(self, cache: Path, **environment: str):
        downloaded(cache / "home")
        environment = {"HF_HOME": str(cache / "home"), "HF_HUB_OFFLINE": "1", **environment}
        known = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        known |= {"LOWRANK_CACHE": str(cache), "GRADIO_TEMP_DIR": str(cache / "uploads"), "PYTHONPATH": str(ROOT)}
        self.log = open(cache / "studio.log", "w")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], cwd=cache, env=known | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
        )  # fmt: skip
        self.url = self._said(lambda line: line.startswith("http")).strip().rstrip("/")

    def state(self) -> dict:
        """The line, the device, the visits and the memory of this moment."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self._said(lambda line: line.startswith("{")))

    def _said(self, wanted) -> str:
        for line in self.process.stdout:
            if wanted(line):
                return line
        raise RuntimeError(f"the studio ended: {Path(self.log.name).read_text()[-2000:]}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout, self.log):
            file.close()


class Visitor:
    """One page, through `gradio_client`: the handlers of its buttons, its chat, its own random choices."""

    def __init__(self, url: str, number: int):
        from gradio_client import Client

        self.client = Client(url, verbose=False, httpx_kwargs={"params": LINK, "timeout": 60})
        for endpoint in self.client.endpoints.values():  # what a browser may call, we may
            endpoint.is_valid = True
        self.number, self.rng, self.model = number, random.Random(number), "demo"
        self.done: dict[str, int] = {}
        self.elements = {c["props"].get("elem_id"): c["id"] for c in self.client.config["components"]}
        self.dependencies = self.client.config["dependencies"]

    def event(self, element: str, kind: str) -> dict:
        """The handler behind an element's event."""
        target = [self.elements[element], kind]
        return next(d for d in self.dependencies if target in [list(t) for t in d["targets"]])

    def after(self, first: dict) -> dict:
        return next(d for d in self.dependencies if d.get("trigger_after") == first["id"])

    def values(self, dependency: dict, **changed) -> list:
        """The page's first values for a handler's inputs, some changed by element, label or type; None for states."""
        components, values = {c["id"]: c for c in self.client.config["components"]}, []
        for number in dependency["inputs"]:
            kind, props = components[number]["type"], components[number]["props"]
            name = (props.get("elem_id") or props.get("label") or "").replace("-", "_")
            values.append(None if kind == "state" else changed.get(name, changed.get(kind, props.get("value"))))
        return values

    def submit(self, dependency: dict, **changed):
        """Call a handler with these values, as a browser does."""
        kinds = {c["id"]: c["type"] for c in self.client.config["components"]}
        values = zip(dependency["inputs"], self.values(dependency, **changed), strict=True)
        return self.client.submit(*(v for n, v in values if kinds[n] != "state"), fn_index=dependency["id"])

    def post(self, dependency: dict, **changed) -> str:
        """The same by hand, with nothing uploaded or checked on this side; everything that came back."""
        import httpx

        root, session = f"{self.client.src.rstrip('/')}/gradio_api/queue", self.client.session_hash
        data = {"data": self.values(dependency, **changed), "fn_index": dependency["id"], "session_hash": session}
        httpx.post(f"{root}/join", json=data, timeout=60).raise_for_status()
        said = []
        with httpx.stream("GET", f"{root}/data", params={"session_hash": session}, timeout=60) as lines:
            for line in lines.iter_lines():
                said.append(line)
                if "process_completed" in line or "unexpected_error" in line:
                    break
        return "\n".join(said)

    def open_link(self) -> None:
        """What the page's load event does with the query of a link."""
        for d in self.dependencies:
            if any(list(t)[1] == "load" for t in d["targets"]) and len(d["outputs"]) > 1:
                self.submit(d).result(60)

    def drag(self, patience: float) -> str:
        """A drag and what follows when it rests, as long as one has patience; the last status."""
        ratio = round(self.rng.uniform(0.1, 0.7), 2)
        method = self.rng.choice(["asvd-i", "svd", "nsvd-i"])
        preview = self.event("ratio", "input")
        settings = {"ratio": ratio, "method": method, "seed": self.number % 3}
        self.submit(preview, **settings).result(60)
        job = self.submit(self.after(preview), **settings)
        until = time.monotonic() + patience
        while not job.done() and time.monotonic() < until:
            time.sleep(0.05)
        if not job.done():
            self.submit(self.event("stop", "click")).result(60)
        return self.checked(job.outputs())

    def chat(self, patience: float) -> list[tuple[str, str]]:
        """One question: its words and the reply on either side, where they came before the patience was over."""
        job = self.submit(self.event("chat-send", "click"), chat_box=self.question, chat_dense=[], chat_compressed=[])
        until = time.monotonic() + patience
        while not job.done() and time.monotonic() < until:
            time.sleep(0.05)
        if not job.done():
            self.submit(self.event("chat-stop", "click")).result(60)
            return []
        found = job.outputs()
        self.checked(found)
        whole = [o for o in found if len(o) > 6 and o[6] == "" and all(map(_is_chat, o[:2]))]
        return [(words(c[0]), words(c[-1])) for c in whole[-1][:2]] if whole else []

    @property
    def question(self) -> str:
        return QUESTIONS[self.number % len(QUESTIONS)]

    def load(self, name: str) -> None:
        said = self.checked([self.submit(self.event("model-load", "click"), model_name=name).result(90)])
        if "earlier model stays" not in said:
            self.model = name

    def checked(self, outputs) -> str:
        """All that was said, as one string; fails where the studio failed."""
        said = json.dumps(outputs, default=str)
        assert OURS not in said, said[:2000]
        return said


def _is_chat(value) -> bool:
    return isinstance(value, list) and value and isinstance(value[0], dict) and "role" in value[0]


def words(message: dict) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)


NONSENSE = {
    "a ratio of 0": lambda v: v.submit(v.event("ratio", "input"), ratio=0).result(60),
    "a ratio of words": lambda v: v.submit(v.event("ratio", "input"), ratio="much").result(60),
    "a method that is none": lambda v: v.submit(v.event("ratio", "input"), method="magic").result(60),
    "a folder": lambda v: v.submit(v.event("model-load", "click"), model_name="/etc").result(60),
    "an empty message": lambda v: v.submit(v.event("chat-send", "click"), chat_box=" ").result(60),
    "a million tokens": lambda v: v.submit(v.event("chat-send", "click"), chat_box="hi", chat_length=10**6).result(60),
}


def visit(url: str, number: int, seconds: float, ready, replies: dict, failures: list, counts: dict) -> None:
    """One visitor's time, from when all have loaded a model: a question first, then its own random choices."""
    try:
        visitor = Visitor(url, number)
        visitor.open_link()
        visitor.load(list(MODELS)[number % 2])
        ready.wait(180)
        until, deed = time.monotonic() + seconds, "chat"
        while time.monotonic() < until:
            counts[deed] = counts.get(deed, 0) + 1
            try:
                act(visitor, deed, replies, counts)
            except CancelledError:  # gradio's client: a stream that the server ends as idle may take a new call along
                counts["cut off"] = counts.get("cut off", 0) + 1
            deed = visitor.rng.choice(("drag", "drag", "chat", "chat", "load", "nonsense", "cancel"))
    except BaseException as error:
        failures.append(f"visitor {number}: {type(error).__name__}: {error}")


def act(visitor: Visitor, deed: str, replies: dict, counts: dict) -> None:
    """One deed, and what came back of it."""
    if deed == "drag":
        visitor.drag(4.0)
    elif deed == "cancel":
        (visitor.drag if visitor.rng.random() < 0.5 else visitor.chat)(0.3)
    elif deed == "chat":
        for side, (asked, answered) in enumerate(visitor.chat(60.0)):
            assert asked == visitor.question, f"somebody else's words: {asked}"
            counts["answered"] = counts.get("answered", 0) + 1
            if side == 0:  # the dense model says the same whenever it is asked
                replies.setdefault(f"{visitor.model}: {asked}", set()).add(answered)
    elif deed == "load":
        visitor.load(visitor.rng.choice((*MODELS, "../x", "no/such-model")))
    else:
        nonsense(visitor, visitor.rng.choice(list(NONSENSE)))


def nonsense(visitor: Visitor, name: str) -> None:
    """Something that is refused: by our sentence, or before our handlers by gradio, which raises."""
    from gradio_client.exceptions import AppError

    with contextlib.suppress(AppError):
        visitor.checked([NONSENSE[name](visitor)])


def crowd(studio: Studio, clients: int, seconds: float) -> dict:
    """What happened: counts, failures, replies, and the studio's state before, while and after."""
    replies, failures, counts, states = {}, [], {}, []
    ready = threading.Barrier(clients)
    threads = [
        threading.Thread(target=visit, args=(studio.url, i, seconds, ready, replies, failures, counts), daemon=True)
        for i in range(clients)
    ]
    began = time.monotonic()
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads) and time.monotonic() < began + seconds + 300:
        time.sleep(1)
        states.append({**studio.state(), "at": round(time.monotonic() - began, 1)})
    stuck = sum(t.is_alive() for t in threads)
    end = time.monotonic() + 20
    after = studio.state()
    while (after["line"] or after["held"] or after["device"] or after["users"]) and time.monotonic() < end:
        time.sleep(0.5)
        after = studio.state()
    return {"counts": counts, "failures": failures, "stuck": stuck, "states": states, "after": after,
            "replies": {k: sorted(v) for k, v in replies.items()}}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        studio = Studio(Path(cache))
        try:
            found = crowd(studio, options.clients, options.seconds)
        finally:
            studio.close()
    print(json.dumps({k: v for k, v in found.items() if k != "states"}, indent=1))
    print("memory, MB, each second:", [round(s["memory"] / 1e6) for s in found["states"]])
    print(f"longest line: {max(s['line'] for s in found['states'])}")


if __name__ == "__main__":
    main()
