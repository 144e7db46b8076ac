"""Measure until the plan has settled: the points first that could move it most, each on as few windows as it needs.

It has settled when the plan's expected loss changed by less than 1 % over the last ten measurements, and no other is
expected to move it by more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..jobs import Job, Progress
from ..settings import CANDIDATES
from ..types import Plan, Unit
from .knowledge import Knowledge
from .planning import make_plan, open_units
from .recipe import Recipe

if TYPE_CHECKING:
    from .build import Workbench

CLOSE = 0.01  # share of the plan's expected loss
FAINT = 0.02  # nats: a loss below it counts as this; a share of it is far below what evaluations can tell
LAST = 10  # measurements
STEPS = (0.125, 0.25, 0.5, 1.0)  # of the probe windows: a point is measured on so many, then on more if it matters
FIRST = 0.3  # the candidate that every site is measured at to begin with, whatever the ratio
NEARBY = 0.25  # what a candidate counts for that the plan does not use, but could


@dataclass(frozen=True)
class Settling:
    """Where the search stands."""

    known: Knowledge
    plan: Plan
    expected: float  # nats per token above dense
    change: float  # of `expected` over the last measurements, as a share of it; infinite before there were so many
    move: float  # the largest that a further measurement is expected to make, as a share of it
    measured: int  # measurements made now
    tokens: float  # that these ran, each counted for the share of the blocks that it went through

    @property
    def settled(self) -> bool:
        return self.move < CLOSE and (self.change < CLOSE or self.measured == 0)


def settle(bench: "Workbench", recipe: Recipe, known: Knowledge) -> Job[Settling]:
    """The Settling at the end. Yields one Progress per measurement, with the Settling as its value.

    What is stored is known from the start and never measured again; what is measured is stored at once.
    """
    open_rows = [known.grid.row[u.path] for u in open_units(known.grid.units, recipe)]
    probe = yield from bench.probe()
    steps = sorted({max(1, round(s * len(probe.windows))) for s in STEPS})
    history: list[float] = []
    tokens, where = 0.0, ""
    while True:
        plan = make_plan(recipe, known)
        history.append(known.expected(plan.ranks))
        moves, windows = expected_moves(known, plan, open_rows, steps)
        scale = max(abs(history[-1]), FAINT)
        then = history[max(0, len(history) - 1 - LAST)]
        change = abs(history[-1] - then) / scale if len(history) > LAST else float("inf")
        now = Settling(known, plan, history[-1], change, float(moves.max()) / scale, len(history) - 1, tokens)
        if now.measured:
            yield Progress("settling", now.measured, 0, where, now)
        if (now.settled and known.windows[open_rows].any(1).all()) or moves.max() <= 0:
            return now
        costs = np.array([[probe.share(u)] for u in known.grid.units]) * np.maximum(windows - known.windows, 1)
        # the most movement for its work, among those that matter: a late block's point is cheaper
        worth = np.where(moves >= min(CLOSE * scale, moves.max()), moves / np.sqrt(costs), -1)
        if unseen := [i for i in open_rows if not known.windows[i].any()]:
            row, column = max(unseen, key=lambda i: known.grid.predicted[i].max()), CANDIDATES.index(FIRST)
            windows[row, column] = steps[0]
        else:
            row, column = np.unravel_index(int(worth.argmax()), worth.shape)
        unit, keep = known.grid.units[row], CANDIDATES[column]
        before, where = int(known.windows[row, column]), unit.label
        (point,) = yield from silently(bench.measure([(unit, keep)], int(windows[row, column])))
        tokens += probe.share(unit) * (point.windows - before) * probe.windows.shape[1]
        known = known.knowing(point)


def silently(job: Job) -> Job:
    """The job's result, with those of its steps passed on that carry no value of their own."""
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            return stop.value
        if progress.value is None:
            yield progress


def expected_moves(known: Knowledge, plan: Plan, rows: list[int], steps: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """(S, K) nats by which measuring each candidate is expected to move the plan's expected loss, and the windows it
    would be measured on; 0 where nothing is left to measure, or nothing hangs on it."""
    now = known.windows
    wanted = np.array(steps)[np.searchsorted(steps, now, "right").clip(max=len(steps) - 1)]
    more = np.maximum(wanted - now, 0)
    moves = known.beliefs.surprise(more) * relevance(known, plan, rows)
    return np.where(more > 0, moves, 0.0), np.maximum(wanted, now)


def relevance(known: Knowledge, plan: Plan, rows: list[int]) -> np.ndarray:
    """(S, K) what each candidate's loss counts for in the plan's: 1 at a site's planned keep, shared between the two
    candidates around it, and `NEARBY` for those that could take its place."""
    weights = np.zeros(known.grid.ranks.shape)
    keeps = np.array(CANDIDATES)
    for i in rows:
        unit = known.grid.units[i]
        keep = _keep_of(unit, plan.ranks[unit.path])
        above = int(np.searchsorted(keeps, keep - 1e-9))  # the first candidate that keeps no less
        if above < len(keeps):
            share = 1.0
            if above > 0:
                share = (keep - keeps[above - 1]) / (keeps[above] - keeps[above - 1])
            weights[i, above] = max(share, NEARBY)
        if above > 0:
            below = above - 1
            weights[i, below] = NEARBY if above == len(keeps) else max(1 - weights[i, above], NEARBY)
    return weights


def _keep_of(unit: Unit, rank: int | None) -> float:
    return 1.0 if rank is None else unit.cost(rank) / unit.parameters
