"""ZeroGPU: handlers run in forked workers that have the GPU for a while, and their states come back as values.

A worker is forked from this process: it has the house with its loaded models and factors, but nothing it changes comes
back, and no tensor crosses the border. So a handler is named, its arguments are recipes, plans and words, the visit's
state goes along and comes back, and what is measured lands in the store on disk. Turn counters lie in memory that
parent and workers share, so that Stop and a newer drag reach a worker.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .house import House

SECONDS = 120  # that a GPU is asked for
SPENT = 90.0  # after which a worker gives it back and the job goes on in another one
ROUNDS = 40  # and no more of them for one job
VISITS = 4096
TURNS = multiprocessing.RawArray("q", VISITS)  # the turn of each visit, shared with forked workers
FREE_TURNS = list(range(VISITS))  # places in TURNS that no visit has; a place is never set back, only counted on

_HANDLERS: dict[str, Callable[..., Generator]] = {}
_house: House | None = None  # the one that workers find; set before any is forked


def available() -> bool:
    """Whether this is a Space on ZeroGPU."""
    return bool(os.environ.get("SPACES_ZERO_GPU")) and importlib.util.find_spec("spaces") is not None


def offer(handler: Callable[..., Generator]) -> str:
    """The name by which workers find a handler."""
    name = f"{handler.__module__}.{handler.__qualname__}"
    _HANDLERS[name] = handler
    return name


def serve(house: House) -> None:
    """Make this the house of the workers; they are forked from now on."""
    global _house
    _house = house


def _work(name: str, session: str, state: dict, arguments: list) -> Generator[tuple, None, None]:
    """In a worker: the handler's states, each with the session's state after it; "again" where its time is spent."""
    house, began = _house.in_worker(), time.monotonic()
    house.visits.put(state)
    steps = _HANDLERS[name](house, *arguments)
    try:
        while True:
            try:
                shown = next(steps)
            except StopIteration as stop:
                yield "end", stop.value, house.visits.state(session)
                return
            yield "state", shown, house.visits.state(session)
            if time.monotonic() - began > SPENT:
                yield "again", None, house.visits.state(session)
                return
    finally:
        steps.close()


def on_gpu() -> Callable[..., Generator]:
    """`_work` as the host's library runs it in a worker; imported only on such a host, before torch."""
    import spaces

    return spaces.GPU(duration=SECONDS)(_work)


def steps(house: House, name: str, session: str, arguments: list) -> Generator[Any, None, Any]:
    """The states of a handler that runs in workers; the visits here are brought up to each of them."""
    for _ in range(ROUNDS):
        run = house.zero(name, session, house.visits.state(session), arguments)
        try:
            for kind, value, state in run:
                house.visits.put(state)
                if kind == "end":
                    return value
                if kind == "again":
                    break
                yield value
            else:
                return None  # the worker was taken away
        finally:
            run.close()
    return None
