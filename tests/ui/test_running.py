"""What runs, in words."""

import threading
from unittest.mock import ANY

import gradio as gr
import pytest

from lowrank_core.jobs import Progress
from lowrank_core.ui import running
from lowrank_core.ui.head import telling
from lowrank_core.ui.running import IDLE, Clock, Jobs, told


@pytest.fixture
def clock(monkeypatch):
    """The seconds that the module's clock shows, as a list of one."""
    now = [100.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_that_of_the_stage_at_hand(clock):
    said = Clock()
    assert said.line(Progress("statistics", 10, 50, "block 0")) == "Statistics: 10 of 50 (block 0)"
    clock[0] += 4
    assert said.line(Progress("statistics", 20, 50)) == "Statistics: 20 of 50, 12 s left"
    assert said.line(Progress("gradients", 20, 50)) == "Gradients: 20 of 50"
    clock[0] += 4
    assert said.line(Progress("gradients", 5, 50)) == "Gradients: 5 of 50"  # another job, or begun again
    clock[0] += 4
    assert said.line(Progress("gradients", 50, 50)) == "Gradients: 50 of 50"
    assert said.line(Progress("download", 10, 50, "a.safetensors, 3 s left", unit="bytes")).endswith(", 3 s left")


def test_the_head_tells_the_newest_job_of_a_session(house):
    jobs = Jobs()
    with jobs.running("a") as squeezing, jobs.running("a/chat") as chatting, jobs.running("b"):
        states = squeezing.following(s for s in [(None, "Measuring: *12* <new> points. Expected …"), (None, "x")])
        next(states)
        assert jobs.line("a") == '<span class="running"><b>Chat</b> at work and 1 more</span>'
        jobs._running.remove(chatting)
        assert jobs.line("a") == '<span class="running">Measuring: 12 &lt;new&gt; points</span>'
        jobs._running.append(chatting)
    assert jobs.line("a") == jobs.line("b") == IDLE


def test_a_stopped_session_stops_in_every_lane(house):
    def work():
        while True:
            yield Progress("work", 0, 1)

    kept = [told(house.steps(work(), lane, house.visit(lane).turn)) for lane in ("s", "s/chat", "t")]
    with house.jobs.running("s") as one, house.jobs.running("s/chat") as two, house.jobs.running("t") as other:
        states = [job.following(steps) for job, steps in zip((one, two, other), kept, strict=True)]
        assert all(next(s)[1] == "Work: 0 of 1" for s in states)
        house.stop("s")
        assert [list(s) for s in states[:2]] == [[], []]
        assert house.visit("s").stopped and next(states[2])


def test_what_nobody_waits_for_gives_way_to_visitors(house):
    begun, visitor = [], house.jobs.running("s")

    def work():
        begun.append(house.jobs.any())
        for step in range(3):
            if len(begun) == 1 and step == 1:  # a visitor's job begins, and ends a little later
                visitor.__enter__()
                threading.Timer(0.1, visitor.__exit__, (None, None, None)).start()
            yield Progress("work", step, 3)
        begun.append("done")

    house.behind(work)
    assert begun == [False, False, "done"]


def test_a_handler_tells_what_runs_beside_its_values(house):
    def handler(request: gr.Request, more):
        with house.jobs.running("a") as job:
            yield from ([state[1]] for state in job.following(s for s in [(None, f"First{more}"), (None, "Second")]))

    values = list(telling(house, handler)(gr.Request(session_hash="a"), "!"))
    first, second = (f'<span class="running">{said}</span>' for said in ("First!", "Second"))
    assert values == [["First!", first], ["Second", second], ["Second", IDLE]]


def test_a_file_is_not_handed_over_twice(house, tmp_path):
    file = tmp_path / "model.zip"
    file.write_text("weights")

    def handler(request: gr.Request):
        yield [gr.File(value=str(file)), "Packed."]
        file.unlink()

    one, two = telling(house, handler)(gr.Request(session_hash="a"))
    assert one[:2] == [ANY, "Packed."] and two == [gr.skip(), "Packed.", IDLE]
