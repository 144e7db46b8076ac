"""Lesson 6, second part: ASVD's search on the bundled model, replayed from its measured points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..allocation import Problem
from ..allocation.strs import Probe, entries_of, probes
from ..study.knowledge import Knowledge
from ..study.recipe import Recipe
from ..types import Unit, cost
from .base import Control, percent
from .bundled import bundled


@dataclass(frozen=True)
class Replay:
    """One step of the search: the table as it is sorted, the cut that is tried, and the plan it means."""

    losses: np.ndarray  # (pairs,) nats above dense of every (layer, keep), falling
    names: tuple[str, ...]  # of the pairs
    cut: int | None  # from here on everything is applied; None once the search is over
    low: int
    high: int
    units: tuple[Unit, ...]
    ranks: Mapping[str, int | None]
    caption: str


@lru_cache(maxsize=1)
def _problem() -> tuple[Problem, dict]:
    study, ratio = bundled(), Recipe().ratio
    known = Knowledge.of(study.units, study.spectra, study.points)
    table = known.table(study.units)
    return Problem(study.units, ratio, known.curves, table), table


@lru_cache(maxsize=1)
def steps() -> tuple[Probe, ...]:
    """The cuts that the binary search tries."""
    return tuple(probes(*_problem()))


def control() -> Control:
    """One position for each cut that is tried, and one for the plan in the end."""
    return Control("Step of the search", 1, len(steps()) + 1, 1, 1, len(steps()) + 1)


def replay(step: float) -> Replay:
    """The Replay at a step, 1 being the first."""
    problem, table = _problem()
    study, entries = bundled(), entries_of(problem, table)
    labels = {u.path: u.label for u in study.units}
    names = tuple(f"{labels[path]} at keep {percent(keep, 0)}" for _, path, keep in entries)
    losses = np.array([loss for loss, _, _ in entries])
    total = sum(u.parameters for u in problem.sites)
    if step <= len(steps()):
        p = steps()[int(step) - 1]
        verdict = "That fits: try fewer." if p.fits else "Too large: apply more."
        caption = (
            f"Step {step:g}: of {len(names)} pairs, apply those from place {p.cut} on. {percent(p.kept / total)} of "
            f"the parameters stay, {percent(problem.budget / total)} may. {verdict} The answer lies in the shade. "
            f"Each measured; what is negative lies at the bottom. {study.setting}."
        )
        return Replay(losses, names, p.cut, p.low, p.high, study.units, p.ranks, caption)
    last = max((p for p in steps() if p.fits), key=lambda p: p.cut)
    ranks = study.plan("strs").ranks
    kept = sum(cost(u, ranks[u.path]) for u in study.units)
    caption = f"Found: place {last.cut}; what is left of the budget is spent, {percent(kept / total)} stay. {judged()}"
    return Replay(losses, names, last.cut, last.cut, last.cut, study.units, ranks, caption)


def judged() -> str:
    """The measured perplexities of the search's plan and of the same ratio everywhere."""
    study = bundled()
    found, even, dense = study.judged("strs"), study.judged("uniform"), study.dense()
    return (
        f"Measured perplexity {found.perplexity:.2f}; {even.perplexity:.2f} with the same ratio everywhere, "
        f"{dense.perplexity:.2f} dense. {found.setting}."
    )
