"""Long work as generators of Progress: exhausted by the library, drawn by the command line, relayed by the studio.

A job yields at least once per site or token; `close()` cancels it, and whatever it hooked or swapped is undone in
its `finally` blocks. The core knows no user interface.
"""

import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Progress:
    """How far a job is: `done` of `total` steps of a stage, the item at hand, and what it just found, if anything."""

    stage: str
    done: int
    total: int
    item: str = ""
    value: Any = None
    unit: str = ""  # of done and total where they are no steps: "bytes"


Job = Generator[Progress, None, T]


def left(seconds: float) -> str:
    """A time to wait as people read it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def finish(job: Job[T], on_progress: Callable[[Progress], None] | None = None) -> T:
    """What the job returns, after running it to its end."""
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return stop.value
        if on_progress:
            on_progress(progress)


class job(Generic[P, T]):
    """Decorator: a generator function that is called like a plain one (`f(x)`) and stepped with `f.steps(x)`."""

    def __init__(self, function: Callable[P, Job[T]]):
        self.steps = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return finish(self.steps(*args, **kwargs))
