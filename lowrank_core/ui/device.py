"""A visitor's work on the device as one job: its place in the line, the model it holds, and where it runs."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import zero
from .running import States

if TYPE_CHECKING:
    from .house import House

BEAT = 0.5  # seconds between two looks at a place in the line


def own_lane(session: str) -> str:
    """The lane of a session's dragging and loading."""
    return session


def one_job(lane: Callable[[str], str] = own_lane) -> Callable[[Callable[..., States]], Callable[..., States]]:
    """Decorator of a handler's generator: its states, with those of waiting for the device first.

    It takes the house, a `recipe` or a `grid`, and a `session`, by these names. Its model is not evicted before it
    ends. Where the house stands in line, states come only while it is this job's turn. On ZeroGPU the handler runs in
    a forked worker: its arguments and states are values, no models.
    `lane` names the visit whose next turn, such as Stop, ends the waiting.
    """

    def decorate(handler: Callable[..., States]) -> Callable[..., States]:
        signature = inspect.signature(handler)
        name = zero.offer(handler)

        @functools.wraps(handler)
        def run(house: House, *args, **kwargs) -> States:
            bound = signature.bind(house, *args, **kwargs).arguments
            own = lane(bound["session"])
            model = (bound.get("recipe") or bound["grid"]).model
            with house.models.using(model), house.jobs.running(own) as job:
                rest = [v for k, v in bound.items()][1:]
                steps = zero.steps(house, name, bound["session"], rest) if house.zero else handler(*bound.values())
                steps = steps if house.line is None else _in_line(house, house.visit(own), steps)
                return (yield from job.following(steps))

        return run

    return decorate


def _in_line(house: House, visit, steps: States) -> States:
    """The states of a job while it is its turn, and its place while it is not."""
    line, before = house.line, visit.turn
    ticket = line.join()
    began = False
    try:
        while True:
            while not line.enter(ticket, BEAT):
                if not began and visit.turn != before:
                    yield None, "Stopped."
                    return None
                yield None, waiting(*line.place(ticket))
            began = True
            try:
                state = next(steps)
            except StopIteration as stop:
                return stop.value
            finally:
                line.exit(ticket)
            yield state
    finally:
        steps.close()
        line.leave(ticket)


def waiting(before: int, length: int) -> str:
    """A place in the line in words."""
    return f"Queued: place {before} of {length - 1}. Meanwhile: See and Learn need no device."
