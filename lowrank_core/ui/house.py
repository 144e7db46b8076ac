"""What all visitors share: the store, the loaded models, the device; and what each of them has under way.

torch is imported by the first call that needs a model, or by `warm_up` behind the opened page.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..jobs import Job, Progress
from ..store import Store
from ..study.read import open_store
from ..study.recipe import Recipe
from ..types import Plan
from .view import View, best_view
from .words import size

if TYPE_CHECKING:
    from ..models.loading import LoadedModel
    from ..study.build import Workbench

KEPT_MODELS = 3


@dataclass
class Visit:
    """One open page: a counter that supersedes running work, and the plan it last settled on."""

    turn: int = 0
    stopped: bool = False  # by the visitor, rather than by newer work
    recipe: Recipe | None = None
    plan: Plan | None = None
    measured: list[dict[str, Any]] = field(default_factory=list)  # the solid points of the trade-off


class House:
    """One per process."""

    def __init__(self, store: Store | None = None):
        self.store = store or open_store()
        self._device = threading.Lock()  # held for one step of a job at a time, so that jobs take turns
        self._loading = threading.Lock()
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._benches: OrderedDict[str, Workbench] = OrderedDict()
        self._visits: dict[str, Visit] = {}
        self._warm = False

    # --- visitors ---------------------------------------------------------------------------------------------

    def visit(self, session: str) -> Visit:
        """The Visit of a session."""
        return self._visits.setdefault(session, Visit())

    def leave(self, session: str) -> None:
        """Forget a session."""
        for name in [n for n in self._visits if n.partition("/")[0] == session]:
            self._visits.pop(name).turn += 1

    def next_turn(self, session: str) -> int:
        """A new turn number: whatever ran for the session under an older one stops at its next step."""
        visit = self.visit(session)
        visit.turn += 1
        visit.stopped = False
        return visit.turn

    @staticmethod
    def memory_line() -> str:
        """The process's resident memory as a piece of the header strip; empty where the system does not tell."""
        try:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            return ""
        return f"<span>memory {size(pages * os.sysconf('SC_PAGE_SIZE'))}</span>"

    # --- models -----------------------------------------------------------------------------------------------

    def warm_up(self, delay: float = 2.0) -> None:
        """Import torch, load the bundled model and run it once, behind a page that has just been opened: only the
        first call does anything, and it waits `delay` seconds so that the page is drawn first."""
        with self._loading:
            first, self._warm = not self._warm, True
        if not first:
            return

        def work() -> None:
            time.sleep(delay)
            bench = self.bench(Recipe())
            for job in (bench.calibrate(), bench.probe()):
                for _ in self.steps(job, "warm-up", 0):
                    pass

        threading.Thread(target=work, daemon=True, name="warm-up").start()

    def model(self, name: str) -> LoadedModel:
        """A loaded model, the last few of which are kept; raises what `load_model` raises and keeps the others."""
        from ..models.loading import load_model

        with self._loading:
            if name not in self._models:
                self._models[name] = load_model(name)
                while len(self._models) > KEPT_MODELS:
                    self._models.popitem(last=False)
            self._models.move_to_end(name)
            return self._models[name]

    def loaded(self, name: str) -> LoadedModel | None:
        """The model if it is in memory, without loading it."""
        return self._models.get(name)

    def bench(self, recipe: Recipe) -> Workbench:
        """The Workbench of a recipe's model and text, shared by everybody who works on both."""
        from ..study.compress import open_workbench

        loaded = self.model(recipe.model)
        key = "|".join(
            map(str, (recipe.model, recipe.text, recipe.windows, recipe.window, recipe.probe_windows, recipe.seed))
        )
        with self._loading:
            bench = self._benches.get(key)
            if bench is None or bench.loaded is not loaded:
                bench = self._benches[key] = open_workbench(recipe, self.store, loaded=loaded)
                while len(self._benches) > KEPT_MODELS:
                    self._benches.popitem(last=False)
            return bench

    def view(self, recipe: Recipe) -> View:
        """What is stored about a recipe, as measured on the device its model is loaded on."""
        loaded = self.loaded(recipe.model)
        if loaded is None:
            return best_view(recipe, self.store, "cpu", None)
        return best_view(recipe, self.store, loaded.device.type, loaded.dtype)

    # --- the device -------------------------------------------------------------------------------------------

    @contextmanager
    def device(self) -> Iterator[None]:
        """The device to oneself, briefly."""
        with self._device:
            yield

    def steps(self, job: Job, session: str, turn: int) -> Generator[Progress, None, Any]:
        """The job's progress, one step at a time on the device, until it ends or a newer turn begins.

        Returns what the job returns, or None where it was superseded; the job is closed either way.
        """
        visit = self.visit(session)
        try:
            while visit.turn == turn:
                with self._device:
                    try:
                        progress = next(job)
                    except StopIteration as stop:
                        return stop.value
                yield progress
            return None
        finally:
            job.close()
