"""Handlers on ZeroGPU, in a process of its own whose library `spaces` is a stand-in that forks."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_core.ui import zero

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import json, os, sys, threading, time
import torch
torch.set_num_threads(1)
import spaces
from lowrank_core.errors import LowRankError
from lowrank_core.store import Store
from lowrank_core.study.recipe import Recipe
from lowrank_core.ui import chat_handlers, squeeze_handlers, zero
from lowrank_core.ui.host import Host
from lowrank_core.ui.house import House

house = House(Store(sys.argv[1]), Host(slice_seconds=5.0))
assert zero.available()
house.zero = zero.on_gpu()
zero.serve(house)
# the device here is a CPU: what a page reads is named by it
from lowrank_core.ui import house as rooms
real_view = rooms.best_view
rooms.best_view = lambda recipe, store, device, dtype: real_view(recipe, store, "cpu", dtype)
recipe = Recipe(model=sys.argv[2], text=sys.argv[3], windows=4, window=32, probe_windows=2, ratio=0.4,
                allocator="strs", measure="table")
found = {}
"""
DRAG = """
said = found["drag"] = {}
began_calls = len(spaces.CALLS)
house.model(recipe.model)
turn = house.next_turn("a")
states = [(shown is not None, status) for shown, status in squeeze_handlers.settle(house, recipe, "a", turn, None)]
said["drawn"] = sum(shown for shown, _ in states)
view = house.view(recipe)
said["points"] = sum(map(len, view.points.values()))
said["plan"] = house.visit("a").plan is not None and house.visit("a").recipe == recipe
said["measured"] = [m["now"] for m in house.visit("a").measured]
said["benches"], said["calls"] = len(house._benches), len(spaces.CALLS) - began_calls
"""
CHAT = """
said = found["chat"] = {}
began_calls = len(spaces.CALLS)
bench = house.bench(recipe)
from lowrank_core.ui.sides import Side
from lowrank_core.ui.chat_handlers import Options
pair = (Side("Dense"), Side("Small", recipe))
def ask():
    last = None
    for turned, status in chat_handlers.reply(house, pair, recipe, "a", [], [], "the fox", Options(max_tokens=8)):
        last = turned or last
    return [last.left[-1]["content"], last.right[-1]["content"]]
said["there"] = ask()
said["calls"] = len(spaces.CALLS) - began_calls
house.zero, kept = None, house.zero
said["here"] = ask()
house.zero = kept
"""
STOP = """
said = found["stop"] = {}
began_calls = len(spaces.CALLS)
house.model(recipe.model)
recipe = recipe.model_copy(update={"seed": 1})
turn = house.next_turn("a")
steps = squeeze_handlers.settle(house, recipe, "a", turn, None)
for shown, status in steps:
    if shown is not None:
        break
house.next_turn("a")
began = time.monotonic()
said["after"] = len(list(steps))
said["seconds"] = time.monotonic() - began
before = sum(map(len, house.view(recipe).points.values()))
time.sleep(0.5)
said["still"] = sum(map(len, house.view(recipe).points.values())) - before
"""
SPENT = """
said = found["spent"] = {}
from pathlib import Path
from lowrank_core.ui.device import one_job
done = Path(sys.argv[1]) / "done"
done.write_text("0")

@one_job()
def counting(house, recipe, session, upto):
    while (n := int(done.read_text())) < upto:
        done.write_text(str(n + 1))
        yield None, str(n + 1)
    return "all"

def through():
    said["returned"] = yield from counting(house, recipe, "a", 3)

began_calls, zero.SPENT = len(spaces.CALLS), 0.0
said["states"] = [status for _, status in through()]
zero.SPENT, said["calls"] = 90.0, len(spaces.CALLS) - began_calls
"""
MISTAKE = """
said = found["mistake"] = {}
began_calls = len(spaces.CALLS)
wrong = recipe.model_copy(update={"text": "nowhere.txt"})
try:
    list(squeeze_handlers.settle(house, wrong, "a", house.next_turn("a"), None))
except LowRankError as error:
    said["error"] = [type(error).__name__, error.message, error.hint]
"""
LOCKS = """
said = found["locks"] = {}
began_calls = len(spaces.CALLS)
house.model(recipe.model)
recipe = recipe.model_copy(update={"seed": 3})
turn, state = house.next_turn("b"), house.visits.state("b")
with house.device(), house._tables, house.models._tables:
    run = house.zero("lowrank_core.ui.squeeze_handlers.calibrated", "b", state, [recipe, "b", turn])
    said["first"] = next(run)[0]
    run.close()
"""
END = """
found["calls"], found["line"], found["held"] = len(spaces.CALLS), len(house.line), house.line.held
found["dead"] = all(not p.is_alive() for p in spaces.CALLS)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tiny, tiny_file, tmp_path_factory):
    """What each of the pieces above said, on such a host."""
    root = tmp_path_factory.mktemp("zero")
    shutil.copy(Path(__file__).with_name("spaces_stand_in.py"), root / "spaces.py")
    known = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(root)]), "SPACES_ZERO_GPU": "1"}
    script = "".join([BEGIN, DRAG, CHAT, STOP, SPENT, MISTAKE, LOCKS, END])
    command = [sys.executable, "-c", script, str(root / "store"), str(tiny), str(tiny_file)]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_only_there(monkeypatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not zero.available() and "spaces" not in sys.modules


def test_nothing_is_left_behind(found) -> None:
    assert found["line"] == 0 and not found["held"] and found["dead"]


def test_a_drag_is_measured_in_a_worker_and_what_it_found_is_here(found) -> None:
    said = found["drag"]
    assert said["drawn"] > 1 and said["points"] == 9 * 21 and said["plan"] and said["measured"] == [True]
    assert said["calls"] == 1 and said["benches"] == 0, "nothing of it ran in this process"


def test_a_chat_rebuilds_its_model_from_ranks(found) -> None:
    said = found["chat"]
    assert said["there"] == said["here"] and all(said["here"]) and said["calls"] == 1


def test_stop_and_newer_drags_reach_a_worker(found) -> None:
    said = found["stop"]
    assert said["after"] <= 3 and said["seconds"] < 5 and said["still"] == 0


def test_a_spent_worker_gives_the_gpu_back_and_the_job_goes_on(found) -> None:
    said = found["spent"]
    assert said == {"states": ["1", "2", "3"], "returned": "all", "calls": 4}


def test_a_visitor_s_mistake_comes_back_as_it_was(found) -> None:
    said = found["mistake"]
    assert said["error"][0] == "TextNotFound" and "nowhere.txt" in said["error"][1] and said["error"][2]


def test_locks_that_others_hold_do_not_stop_a_worker(found) -> None:
    """A fork copies locks as they are: the worker's are new."""
    said = found["locks"]
    assert said["first"] == "state"

