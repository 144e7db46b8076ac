"""From spectra and points to a plan, in milliseconds (numpy only)."""

from collections.abc import Mapping
from statistics import median

import numpy as np

from ..allocation import ALLOCATORS, Problem
from ..allocation.base import sequence_of_sites
from ..errors import BadValue
from ..settings import CANDIDATES
from ..types import Plan, Point, Site, Spectrum, cost, rank_at
from .recipe import Recipe

Points = Mapping[str, Mapping[float, Point]]  # path → keep → Point
TRUSTED = 1e-4  # nats: a smaller predicted loss says nothing about the scale of the predictions


def open_sites(sites: tuple[Site, ...], recipe: Recipe) -> tuple[Site, ...]:
    """The sites whose rank the allocator may choose: not kept dense, not overridden."""
    return tuple(
        s
        for s in sites
        if s.role not in recipe.dense_roles and s.block not in recipe.dense_blocks and s.path not in recipe.overrides
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
    sites: tuple[Site, ...], curves: Mapping[str, np.ndarray], points: Points
) -> dict[str, dict[float, float]]:
    """path → keep → loss above dense: measured where it is measured, the scaled prediction elsewhere."""
    table = {}
    for s in sites:
        measured = points.get(s.path, {})
        table[s.path] = {
            k: measured[k].delta_nll if k in measured else float(curves[s.path][rank_at(s, k)]) for k in CANDIDATES
        }
    return table


def make_plan(sites: tuple[Site, ...], recipe: Recipe, spectra: Mapping[str, Spectrum], points: Points) -> Plan:
    """The plan of a recipe from what is known: its overrides kept, its dense sites dense, the budget met by the rest.

    Points count only where the allocator measures, so that a recipe means one plan wherever it is read.
    The ratio counts over all sites; BudgetNotFeasible or BadValue where the open ones cannot bear it.
    """
    fixed: dict[str, int | None] = {s.path: None for s in sites}
    for path, rank in recipe.overrides.items():
        site = next((s for s in sites if s.path == path), None)
        if site is None or (rank is not None and not 1 <= rank <= site.max_rank):
            raise BadValue(f"The override {path} = {rank} fits no site.", "Give a rank from 1 to the site's largest.")
        fixed[path] = rank
    for what, asked, there in (
        ("role", recipe.dense_roles, {s.role for s in sites}),
        ("block", recipe.dense_blocks, {s.block for s in sites}),
    ):
        if unknown := sorted(set(asked) - there):
            raise BadValue(f"The model has no {what} {unknown[0]!r}.", f"It has {', '.join(map(str, sorted(there)))}.")
    chosen = sequence_of_sites(open_sites(sites, recipe))
    open_total = sum(s.parameters for s in chosen)
    elsewhere = sum(cost(s, fixed[s.path]) for s in sites if s not in chosen)
    budget = (1 - recipe.ratio) * sum(s.parameters for s in sites) - elsewhere
    inner = 1 - budget / open_total
    if inner >= 1:
        raise BadValue(
            f"The ratio {recipe.ratio:g} is out of reach with these layers kept dense.", "Open more roles or blocks."
        )
    if inner <= 0:
        return Plan(fixed)
    points = points if ALLOCATORS[recipe.allocator].measures else {}
    curves = loss_curves({s.path: spectra[s.path] for s in chosen}, points)
    problem = Problem(chosen, inner, curves, loss_table(chosen, curves, points))
    return Plan({**fixed, **ALLOCATORS[recipe.allocator].plan(problem).ranks})


def predicted_nll(plan: Plan, spectra: Mapping[str, Spectrum]) -> float:
    """Summed predicted loss above dense, nats per token: from spectra alone, no measurement in it."""
    return float(sum(spectra[p].predicted(r) for p, r in plan.ranks.items() if r is not None))


def measuring_order(
    sites: tuple[Site, ...], recipe: Recipe, spectra: Mapping[str, Spectrum]
) -> list[tuple[str, float]]:
    """Every (path, keep) of the table, the decisive ones first: near the present keep, and large where predicted so."""
    keep = 1 - recipe.ratio
    pairs = [(s, k) for s in open_sites(sites, recipe) for k in CANDIDATES]
    pairs.sort(key=lambda x: (round(abs(x[1] - keep), 6), -float(spectra[x[0].path].predicted(rank_at(x[0], x[1])))))
    return [(s.path, k) for s, k in pairs]
