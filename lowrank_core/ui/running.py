"""What runs for a visitor, in words: a job's progress with the time that is left, and all jobs for the header."""

from __future__ import annotations

import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

from ..jobs import Progress, left
from .words import size

FRAME = 0.7  # seconds between statuses, and between redrawn plots
SURE = 2.0  # seconds of a stage after which it is said how long the rest of it takes
LONGEST = 70  # characters of a status in the header
IDLE = '<span class="idle">idle</span>'
PAGES = {"see": "See", "chat": "Chat", "measure": "Measure", "measure/sweep": "Sweep", "measure/export": "Export"}

States = Generator[tuple[Any, str], None, Any]  # what is shown, or None, and the status beside it


class Beat:
    """Says every so often that something is due."""

    def __init__(self):
        self.last = 0.0

    def due(self) -> bool:
        """Whether the last time was long enough ago; then this is the last time."""
        if time.monotonic() - self.last < FRAME:
            return False
        self.last = time.monotonic()
        return True


class Clock:
    """Tells from a stage's steps so far how long the others take."""

    def __init__(self):
        self._job, self._began, self._first, self._last = ("", 0), 0.0, 0, 0

    def line(self, progress: Progress) -> str:
        """A job's progress in words."""
        stage = progress.stage.capitalize()
        if progress.unit == "bytes":  # whoever counts them says how long they take
            return f"{stage}: {size(progress.done)} of {size(progress.total)}, {progress.item}"
        now = time.monotonic()
        job = progress.stage, progress.total
        if job != self._job or progress.done < self._last:  # another job may have a stage of the same name
            self._job, self._began, self._first = job, now, progress.done
        self._last = progress.done
        spent, done, rest = now - self._began, progress.done - self._first, progress.total - progress.done
        wait = f", {left(spent / done * rest)} left" if spent > SURE and done > 0 and rest > 0 else ""
        place = f" ({progress.item})" if progress.item else ""
        return f"{stage}: {progress.done} of {progress.total}{place}{wait}"


def told(steps: Generator) -> States:
    """A job's progress as statuses, a few a second; returns what the job returns."""
    beat, clock = Beat(), Clock()
    while True:
        try:
            progress = next(steps)
        except StopIteration as stop:
            return stop.value
        line = clock.line(progress)
        if beat.due():
            yield None, line


@dataclass(eq=False)
class Running:
    """A job that runs for a visit, and what it last said."""

    lane: str
    said: str = ""

    def following(self, states: States) -> States:
        """The states, as they come, with what they say kept."""
        try:
            while True:
                try:
                    state = next(states)
                except StopIteration as stop:
                    return stop.value
                self.said = state[1] or getattr(state[0], "status", "")
                yield state
        finally:
            states.close()

    def line(self) -> str:
        """The page that it belongs to and the first sentence of its status, as HTML."""
        page = PAGES.get(self.lane.partition("/")[2])
        first = re.sub(r"[*_`…]", "", self.said).split(". ")[0].strip(" .") or "at work"
        said = escape(first if len(first) <= LONGEST else first[: LONGEST - 1] + "…", quote=False)
        return f"<b>{page}</b> {said}" if page else said


class Jobs:
    """The jobs that run for all visitors, the newest last."""

    def __init__(self):
        self._running: list[Running] = []

    @contextmanager
    def running(self, lane: str) -> Iterator[Running]:
        """Book a job of a lane while it runs."""
        mine = Running(lane)
        self._running.append(mine)
        try:
            yield mine
        finally:
            self._running.remove(mine)

    def any(self) -> bool:
        """Whether anybody's runs."""
        return bool(self._running)

    def of(self, session: str) -> list[Running]:
        """Those of a session and its lanes."""
        return [r for r in tuple(self._running) if r.lane.partition("/")[0] == session]

    def line(self, session: str) -> str:
        """What runs for a session, for the header, as HTML."""
        mine = self.of(session)
        if not mine:
            return IDLE
        more = f" and {len(mine) - 1} more" if len(mine) > 1 else ""
        return f'<span class="running">{mine[-1].line()}{more}</span>'
