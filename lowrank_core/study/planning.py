"""From spectra and points to a plan, in milliseconds (numpy only)."""

from collections.abc import Mapping
from statistics import median

import numpy as np

from ..allocation import ALLOCATORS, Problem
from ..allocation.base import sequence_of_sites
from ..errors import BadValue
from ..settings import CANDIDATES
from ..types import Plan, Point, Spectrum, Unit, cost, rank_at
from .recipe import Recipe

Points = Mapping[str, Mapping[float, Point]]  # path → keep → Point
TRUSTED = 1e-4  # nats: a smaller predicted loss says nothing about the scale of the predictions


def open_units(units: tuple[Unit, ...], recipe: Recipe) -> tuple[Unit, ...]:
    """The units whose rank the allocator may choose: none of their sites kept dense, not overridden."""
    return tuple(
        u
        for u in units
        if u.block not in recipe.dense_blocks
        and u.path not in recipe.overrides
        and not any(s.role in recipe.dense_roles for s in u.sites)
    )


def loss_curves(spectra: Mapping[str, Spectrum], points: Points) -> dict[str, np.ndarray]:
    """path → (max rank + 1,) expected loss above dense at every rank: predicted, scaled to the site's own points.

    A site with measured points has its curve multiplied by their ratio to the prediction, drawn towards the ratio of
    all sites by one pseudo-point.
    """
    curves, ratios = {}, {}
    for path, s in spectra.items():
        curves[path] = np.asarray(s.predicted(np.arange(len(s.sigma) + 1)))
        ratios[path] = [
            p.delta_nll / float(curves[path][p.rank])
            for p in points.get(path, {}).values()
            if curves[path][p.rank] > TRUSTED
        ]
    everything = [r for rs in ratios.values() for r in rs]
    overall = float(np.clip(median(everything), 0.1, 10)) if everything else 1.0
    return {
        path: curve * (float(np.clip((sum(ratios[path]) + overall) / (len(ratios[path]) + 1), 0.05, 20)))
        for path, curve in curves.items()
    }


def loss_table(
    units: tuple[Unit, ...], curves: Mapping[str, np.ndarray], points: Points
) -> dict[str, dict[float, float]]:
    """path → keep → loss above dense: measured where it is measured, the scaled prediction elsewhere."""
    table = {}
    for u in units:
        measured = points.get(u.path, {})
        table[u.path] = {
            k: measured[k].delta_nll if k in measured else float(curves[u.path][rank_at(u, k)]) for k in CANDIDATES
        }
    return table


def make_plan(
    units: tuple[Unit, ...],
    recipe: Recipe,
    spectra: Mapping[str, Spectrum],
    points: Points,
    pace: Mapping[str, int] | None = None,
) -> Plan:
    """The plan of a recipe from what is known: its overrides kept, its dense sites dense, the budget met by the rest.

    `pace`: unit path → the largest rank that is as fast as dense, which a recipe that is never slower asks for; what
    it keeps dense counts in the budget. Points count only where the allocator measures, so that a recipe means one plan
    wherever it is read. The ratio counts over all units; BudgetNotFeasible or BadValue where the open ones cannot bear
    it.
    """
    fixed: dict[str, int | None] = {u.path: None for u in units}
    for path, rank in recipe.overrides.items():
        unit = next((u for u in units if u.path == path), None)
        if unit is None or (rank is not None and not 1 <= rank <= unit.max_rank):
            raise BadValue(f"The override {path} = {rank} fits no site.", "Give a rank from 1 to the site's largest.")
        fixed[path] = rank
    roles = {s.role for u in units for s in u.sites}
    for what, asked, there in (
        ("role", (*recipe.dense_roles, *recipe.role_methods), roles),
        ("block", recipe.dense_blocks, {u.block for u in units}),
    ):
        if unknown := sorted(set(asked) - there):
            raise BadValue(f"The model has no {what} {unknown[0]!r}.", f"It has {', '.join(map(str, sorted(there)))}.")
    chosen = sequence_of_sites(open_units(units, recipe))
    open_total = sum(u.parameters for u in chosen)
    elsewhere = sum(cost(u, fixed[u.path]) for u in units if u not in chosen)
    budget = (1 - recipe.ratio) * sum(u.parameters for u in units) - elsewhere
    inner = 1 - budget / open_total
    if inner >= 1:
        raise BadValue(
            f"The ratio {recipe.ratio:g} is out of reach with these layers kept dense.", "Open more roles or blocks."
        )
    if inner <= 0:
        return Plan(fixed)
    points = points if ALLOCATORS[recipe.allocator].measures else {}
    curves = loss_curves({u.path: spectra[u.path] for u in chosen}, points)
    stable = {u.path: spectra[u.path].stable_rank for u in chosen}
    most = dict(pace or {}) if recipe.never_slower else {}
    problem = Problem(chosen, inner, curves, loss_table(chosen, curves, points), recipe.multiple, stable, most)
    return Plan({**fixed, **ALLOCATORS[recipe.allocator].plan(problem).ranks})


def predicted_nll(plan: Plan, spectra: Mapping[str, Spectrum]) -> float:
    """Summed predicted loss above dense, nats per token: from spectra alone, no measurement in it."""
    return float(sum(spectra[p].predicted(r) for p, r in plan.ranks.items() if r is not None))


def measuring_order(
    units: tuple[Unit, ...], recipe: Recipe, spectra: Mapping[str, Spectrum]
) -> list[tuple[Unit, float]]:
    """Every (unit, keep) of the table, the decisive ones first: near the present keep, and large where predicted so."""
    keep = 1 - recipe.ratio
    pairs = [(u, k) for u in open_units(units, recipe) for k in CANDIDATES]
    pairs.sort(key=lambda x: (round(abs(x[1] - keep), 6), -float(spectra[x[0].path].predicted(rank_at(*x)))))
    return pairs
