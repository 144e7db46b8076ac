"""The open pages: of each a turn counter, and names and numbers of what it last settled on. No text, chat or model."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from ..study.recipe import Recipe
from ..types import Plan
from .zero import FREE_TURNS, TURNS

FIRST = "first"  # the visit behind the first screen


@dataclass
class Visit:
    """One open page: a counter that supersedes running work, and the plan it last settled on."""

    slot: int = 0  # where its turn is kept, in memory that workers see, too
    stopped: bool = False  # by the visitor, rather than by newer work
    said: str = ""  # the status of the newest drag
    settling: int = 0  # the turn that is being measured, so that it is measured once
    recipe: Recipe | None = None  # the one that `plan` is of
    plan: Plan | None = None
    measured: list[dict[str, Any]] = field(default_factory=list)  # the solid points of the trade-off
    tried: dict[str, Recipe] = field(default_factory=dict)  # label → the recipe of a measured plan

    @property
    def turn(self) -> int:
        return TURNS[self.slot]

    @turn.setter
    def turn(self, value: int) -> None:
        TURNS[self.slot] = value

    def settle_on(self, recipe: Recipe, plan: Plan) -> Plan:
        """Make this the session's present plan, and return it."""
        self.recipe, self.plan = recipe, plan
        return plan


class Visits:
    """The last few thousand visits by name: a session's, and those of its lanes, `session/chat`."""

    def __init__(self):
        self._lock = threading.Lock()
        self._visits: OrderedDict[str, Visit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._visits)

    def get(self, name: str) -> Visit:
        """The Visit of a name; a new one starts with the points that the first screen shows."""
        with self._lock:
            if name not in self._visits:
                if not FREE_TURNS:
                    self._drop(next(n for n in self._visits if n != FIRST))
                first = self._visits.get(FIRST)
                measured, tried = ([dict(m) for m in first.measured], dict(first.tried)) if first else ([], {})
                self._visits[name] = Visit(FREE_TURNS.pop(0), measured=measured, tried=tried)
            self._visits.move_to_end(name)
            return self._visits[name]

    def leave(self, session: str) -> None:
        """Forget a session and its lanes; what runs for them stops at its next step."""
        with self._lock:
            for name in self._of(session):
                self._drop(name)

    def state(self, session: str) -> dict[str, tuple[int, Visit]]:
        """Name → turn and Visit of a session and its lanes, as they go to a worker and come back."""
        with self._lock:
            return {name: (self._visits[name].turn, self._visits[name]) for name in self._of(session)}

    def put(self, state: dict[str, tuple[int, Visit]]) -> None:
        """Take over a state, but for visits that have begun a newer turn since."""
        with self._lock:
            for name, (turn, visit) in state.items():
                if TURNS[visit.slot] == turn:
                    vars(self._visits.setdefault(name, visit)).update(vars(visit))

    def after_fork(self) -> None:
        """A lock that nobody holds: other threads stayed behind."""
        self._lock = threading.Lock()

    def _of(self, session: str) -> list[str]:
        return [n for n in self._visits if n.partition("/")[0] == session]

    def _drop(self, name: str) -> None:
        visit = self._visits.pop(name)
        visit.turn += 1
        FREE_TURNS.append(visit.slot)
