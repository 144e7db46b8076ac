"""What all visitors share: the store, the loaded models, the device; and what each of them has under way.

torch is imported by the first call that needs a model, or by `warm_up` behind the opened page.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..calibration.texts import read_text
from ..jobs import Job, Progress, finish
from ..store import Store
from ..study.read import open_store
from ..study.recipe import Recipe, recipe_of
from ..types import Plan
from .host import LOCAL, Host
from .line import Line
from .residents import Residents, Way
from .running import Jobs
from .saved import refuse, saved_at
from .view import View, best_view
from .visits import Visit, Visits
from .words import size

if TYPE_CHECKING:
    from torch import nn

    from ..models.loading import LoadedModel
    from ..study.build import Workbench

KEPT_BENCHES = 3
FACTORS_SHARE = 4  # a workbench may keep factors in a quarter of the bytes that models may take
GIVING_WAY = 0.2  # seconds between two looks whether visitors' jobs have ended
KEPT_MADE = 4  # compressed models: factors alone, all else is the dense model's


class House:
    """One per process."""

    def __init__(self, store: Store | None = None, host: Host = LOCAL):
        self.store, self.host = store or open_store(), host
        self.models = Residents(host, self._forget)
        self.visits, self.jobs = Visits(), Jobs()
        self.line = None if host.slice_seconds is None else Line(host.slice_seconds)
        self.zero: Callable[..., Generator] | None = None  # on ZeroGPU: runs a handler in a worker
        self._device = threading.Lock()  # held for one step of a job at a time, so that jobs take turns
        self._importing = threading.Lock()
        self._tables = threading.Lock()  # around the dicts below, never during work
        self._guards: dict[str, threading.Lock] = {}
        self._benches: OrderedDict[str, Workbench] = OrderedDict()
        self._made: OrderedDict[tuple, nn.Module] = OrderedDict()
        self._fastest: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()  # model → what runs in its place
        self._warm = False

    def in_worker(self) -> House:
        """This house in a forked worker: whatever other threads held or waited for stayed behind."""
        if self.zero is not None:
            self.line = self.zero = None
            self._device, self._tables, self._importing = threading.Lock(), threading.Lock(), threading.Lock()
            self._guards = {}
            self.visits.after_fork()
            self.models.after_fork()
        return self

    # --- visitors ---------------------------------------------------------------------------------------------

    def visit(self, session: str) -> Visit:
        """The Visit of a session."""
        return self.visits.get(session)

    def leave(self, session: str) -> None:
        """Forget a session."""
        self.visits.leave(session)

    def next_turn(self, session: str) -> int:
        """A new turn number: whatever ran for the session under an older one stops at its next step."""
        visit = self.visit(session)
        visit.turn += 1
        visit.stopped = False
        return visit.turn

    def stop(self, session: str) -> None:
        """Whatever runs for a session stops at its next step."""
        for lane in {session, *(job.lane for job in self.jobs.of(session))}:
            self.next_turn(lane)
            self.visit(lane).stopped = True

    def recipe(self, values: dict[str, Any]) -> Recipe:
        """The Recipe of untrusted values, where this host follows it."""
        return self.host.check(recipe_of(values))

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
        with self._tables:
            first, self._warm = not self._warm, True
        if not first:
            return

        def work() -> None:
            time.sleep(delay)
            bench = self.bench(Recipe())
            if self.zero:  # the device is in the workers
                return
            self.behind(bench.calibrate)
            self.behind(bench.probe)

        threading.Thread(target=work, daemon=True, name="warm-up").start()

    def model(self, name: str) -> LoadedModel:
        """A loaded model; raises what `Residents.opening` raises and keeps the others."""
        return finish(self.opening(name))

    def opening(self, name: str, token: str | None = None, way: Way | None = None) -> Job[LoadedModel]:
        """The same as a job, which may take long: it downloads. `way`: the device and dtype asked for by hand."""
        with self._importing:  # transformers cannot be imported by two threads at once
            from ..evaluation import speed  # noqa: F401
            from ..models import loading  # noqa: F401
            from ..study import compress  # noqa: F401

        return (yield from self.models.opening(name, token, way))

    def loaded(self, name: str) -> LoadedModel | None:
        """The model if it is in memory, without loading it."""
        return self.models.get(name)

    def _forget(self, loaded: LoadedModel) -> None:
        """Give up the workbenches that would keep a model in memory."""
        with self._tables:
            for key in [k for k, bench in self._benches.items() if bench.loaded is loaded]:
                self._drop_made(self._benches.pop(key))

    def _drop_made(self, bench: Workbench) -> None:
        """Give up the compressed models of a workbench: they would keep its model in memory."""
        for key in [k for k in self._made if k[0] is bench]:
            del self._made[key]

    def bench(self, recipe: Recipe, dense: bool = True) -> Workbench:
        """The Workbench of a recipe's model and text, shared by everybody who works on both.

        ModelUnsupported for a model that was saved compressed, unless `dense` is not asked for.
        """
        self.host.check(recipe)
        loaded = self.model(recipe.model)
        from ..study.compress import open_workbench

        if dense and loaded.folder.compressed is not None:
            raise refuse(recipe.model)
        words = (recipe.model, recipe.text, recipe.windows, recipe.window, recipe.probe_windows, recipe.seed)
        key = "|".join(map(str, words))
        with self._guard(key):
            bench = self._benches.get(key)
            if bench is None or bench.loaded is not loaded or bench.study.text != read_text(recipe.text):
                held = (self.host.resident_bytes or 0) // FACTORS_SHARE
                bench = open_workbench(recipe, self.store, loaded=loaded, held=held)
            with self._tables:
                self._benches[key] = bench
                self._benches.move_to_end(key)
                while len(self._benches) > KEPT_BENCHES:
                    self._drop_made(self._benches.popitem(last=False)[1])
            return bench

    def fastest(self, model: nn.Module) -> Job[nn.Module]:
        """A model in the forms that are fastest on this machine, made once; or itself, see `beside`."""
        from ..generation.ready import beside

        known = self._fastest.get(model)
        if known is None:
            known = yield from beside.steps(model, self.store)
            if known is not model:
                self._fastest[model] = known
        return known

    def made(self, bench: Workbench, recipe: Recipe, plan: Plan) -> nn.Module | None:
        """The compressed model of a plan if it was made lately, by anybody."""
        key = _made_key(bench, recipe, plan)
        with self._tables:
            if key in self._made:
                self._made.move_to_end(key)
            return self._made.get(key)

    def keep_made(self, bench: Workbench, recipe: Recipe, plan: Plan, model: nn.Module) -> None:
        """Keep a compressed model for the next one who asks; the last few are kept."""
        with self._tables:
            self._made[_made_key(bench, recipe, plan)] = model
            while len(self._made) > KEPT_MADE:
                self._made.popitem(last=False)

    def _guard(self, name: str) -> threading.Lock:
        with self._tables:
            return self._guards.setdefault(name, threading.Lock())

    def view(self, recipe: Recipe) -> View:
        """What is stored about a recipe, as measured on the device its model is loaded on."""
        self.host.check(recipe)
        loaded = self.loaded(recipe.model)
        if loaded is None:
            return best_view(recipe, self.store, "cuda" if self.zero else "cpu", None)
        return best_view(recipe, self.store, loaded.device.type, loaded.dtype)

    def seen(self, name: str, session: str) -> View:
        """The View of a session's model on the text that it was loaded with, or that Squeeze last showed."""
        last, values = self.visit(session).recipe, {"model": name}
        if last is not None and last.model == name:
            values |= {field: getattr(last, field) for field in ("text", "windows", "window", "seed")}
        return self.view(self.recipe(values))

    def dense_view(self, name: str, session: str) -> View:
        """The same; in place of a saved model, the View of its dense one, or else of the bundled one."""
        own = saved_at(name)
        if own is None:
            return self.seen(name, session)
        found = self.view(self.recipe({"model": own.base})) if own.dense(self.host) else None
        return found if found and found.ready else self.view(self.recipe({}))

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
        return self._steps(job, session, turn, self._device)

    def behind(self, begin: Callable[[], Job]) -> None:
        """A job that nobody waits for: given up where a visitor's begins, and begun anew when none runs."""
        ended = False
        while not ended:
            while self.jobs.any():
                time.sleep(GIVING_WAY)
            steps = self.steps(begin(), "behind", 0)
            while not self.jobs.any():
                try:
                    next(steps)
                except StopIteration:
                    ended = True
                    break
            steps.close()

    def waiting(self, job: Job, session: str, turn: int) -> Generator[Progress, None, Any]:
        """The same of a job that waits rather than computes, such as an upload: the device stays free for others."""
        return self._steps(job, session, turn, nullcontext())

    def _steps(self, job: Job, session: str, turn: int, held: AbstractContextManager) -> Generator[Progress, None, Any]:
        visit = self.visit(session)
        try:
            while visit.turn == turn:
                with held:
                    try:
                        progress = next(job)
                    except StopIteration as stop:
                        return stop.value
                yield progress
            return None
        finally:
            job.close()


def _made_key(bench: Workbench, recipe: Recipe, plan: Plan) -> tuple:
    """What decides a compressed model in this process; the workbench itself, so that its number is not used again."""
    return bench, json.dumps([recipe.decisive(), dict(plan.ranks)], sort_keys=True)
