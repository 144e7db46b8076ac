"""From spectra and points to a plan: what the user fixed stays fixed, and the rest meets the budget."""

import time

import numpy as np
import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.errors import BadValue, BudgetNotFeasible
from lowrank_core.settings import CANDIDATES
from lowrank_core.study.knowledge import Knowledge
from lowrank_core.study.planning import make_plan, open_units, predicted_nll, whole_table
from lowrank_core.study.recipe import MEASURES, Recipe
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan, Point, Site, Spectrum, cost, rank_at

SHAPES = {
    "q": (32, 32),
    "k": (16, 32),
    "v": (16, 32),
    "o": (32, 32),
    "gate": (48, 32),
    "up": (48, 32),
    "down": (32, 48),
}
SITES = tuple(Site(f"blocks.{b}.{r}", b, r, f"{b}.{r}", *shape) for b in range(3) for r, shape in SHAPES.items())
UNITS = units_of(SITES, Recipe())


def spectra_of(sites=SITES, seed: int = 0) -> dict[str, Spectrum]:
    rng, found = np.random.default_rng(seed), {}
    for s in sites:
        sigma = np.sort(rng.exponential(1, s.max_rank))[::-1].astype(np.float32)
        error = np.append(np.cumsum((sigma**2)[::-1])[::-1], 0).astype(np.float32)
        loss = error * 10 ** rng.uniform(-4, -1)
        found[s.path] = Spectrum(s.path, "asvd-i", sigma, np.arange(s.max_rank + 1), error, float(error[0]), loss)
    return found


SPECTRA = spectra_of()
KNOWN = Knowledge.of(UNITS, SPECTRA)


def recipe(**values) -> Recipe:
    return Recipe(**{"ratio": 0.4, **values})


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7])
def test_the_budget_counts_over_all_sites(allocator: str, ratio: float) -> None:
    plan = make_plan(recipe(ratio=ratio, allocator=allocator), KNOWN)
    assert set(plan.ranks) == {s.path for s in SITES} and ratio <= plan.ratio(SITES) + 1e-12 < ratio + 0.02


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_overrides_are_kept_and_the_rest_makes_up_for_them(allocator: str) -> None:
    overrides = {"blocks.0.q": 3, "blocks.1.down": None, "blocks.2.up": 32}
    plan = make_plan(recipe(overrides=overrides, allocator=allocator), KNOWN)
    assert {p: plan.ranks[p] for p in overrides} == overrides
    assert 0.4 <= plan.ratio(SITES) + 1e-12 < 0.42


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_dense_roles_and_blocks_stay_dense(allocator: str) -> None:
    plan = make_plan(recipe(ratio=0.25, dense_roles=("q", "k"), dense_blocks=(1,), allocator=allocator), KNOWN)
    dense = [s for s in SITES if s.role in "qk" or s.block == 1]
    assert all(plan.ranks[s.path] is None for s in dense) and 0.25 <= plan.ratio(SITES) + 1e-12 < 0.27
    both = make_plan(recipe(ratio=0.2, dense_roles=("q",), overrides={"blocks.0.q": 5}), KNOWN)
    assert both.ranks["blocks.0.q"] == 5 and both.ranks["blocks.1.q"] is None


def test_open_units() -> None:
    found = open_units(UNITS, recipe(dense_roles=("q",), dense_blocks=(2,), overrides={"blocks.0.up": 4}))
    assert [s.path for s in found] == [
        s.path for s in SITES if s.role != "q" and s.block != 2 and s.path != "blocks.0.up"
    ]


def test_overrides_that_are_enough_leave_the_rest_dense() -> None:
    overrides = {s.path: 1 for s in SITES if s.block < 2}
    plan = make_plan(recipe(ratio=0.3, overrides=overrides), KNOWN)
    assert plan.ranks == {s.path: 1 if s.block < 2 else None for s in SITES}


@pytest.mark.parametrize(
    "override", [{"blocks.0.nobody": 3}, {"blocks.0.q": 0}, {"blocks.0.q": 33}, {"blocks.0.k": -1}]
)
def test_overrides_that_fit_nothing_are_refused(override) -> None:
    with pytest.raises(BadValue, match="override blocks.0.nobody|rank of block 0 · . cannot be"):
        make_plan(recipe(overrides=override), KNOWN)


def test_a_ratio_out_of_reach_is_refused() -> None:
    with pytest.raises(BadValue, match="out of reach"):
        make_plan(recipe(ratio=0.8, dense_blocks=(0,)), KNOWN)
    with pytest.raises(BadValue, match="no layer"):
        make_plan(recipe(dense_blocks=(0, 1, 2)), KNOWN)
    with pytest.raises(BudgetNotFeasible):
        make_plan(recipe(ratio=0.99), KNOWN)
    with pytest.raises(BudgetNotFeasible):
        make_plan(recipe(ratio=0.66, dense_blocks=(0,)), KNOWN)


def test_predicted_loss_is_a_sum_over_spectra() -> None:
    plan = Plan({"blocks.0.q": 3, "blocks.1.up": None, "blocks.2.v": 7})
    expected = sum(float(SPECTRA[p].loss[r]) for p, r in (("blocks.0.q", 3), ("blocks.2.v", 7)))
    assert predicted_nll(plan, SPECTRA) == pytest.approx(expected)
    assert predicted_nll(Plan({s.path: None for s in SITES}), SPECTRA) == 0
    assert predicted_nll(Plan({s.path: s.max_rank for s in SITES}), SPECTRA) == 0


def test_sparse_spectra_are_interpolated() -> None:
    s = Spectrum(
        "p", "nsvd-i", np.ones(8), np.array([0, 2, 8]), np.array([10.0, 4.0, 0.0]), 10.0, np.array([5.0, 2.0, 0.0])
    )
    assert s.predicted(0) == 5 and s.predicted(1) == 3.5 and s.predicted(5) == 1 and s.predicted(8) == 0
    assert s.predicted(np.arange(9)).shape == (9,) and s.energy_kept.tolist() == [i / 8 for i in range(9)]


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_points_count_only_where_the_recipe_measures(allocator: str) -> None:
    """A measured site ten times as dear as predicted changes the plan of a recipe that measures, and no other."""
    bare = make_plan(recipe(allocator=allocator, measure="none"), KNOWN)
    path = max((p for p, r in bare.ranks.items() if r), key=lambda p: float(KNOWN.curves[p][bare.ranks[p]]))
    row = {k: float(KNOWN.grid.predicted[KNOWN.grid.row[path], i]) for i, k in enumerate(CANDIDATES)}
    rank = dict(zip(CANDIDATES, KNOWN.grid.ranks[KNOWN.grid.row[path]].tolist(), strict=True))
    known = KNOWN
    for k, nats in row.items():
        known = known.knowing(Point(path, k, rank[k], (10 * nats,) * 8))
    plans = {m: make_plan(recipe(allocator=allocator, measure=m), known) for m in MEASURES}
    assert plans["none"] == bare
    size = {m: cost(UNITS[KNOWN.grid.row[path]], p.ranks[path]) for m, p in plans.items()}
    if ALLOCATORS[allocator].losses:
        assert size["settled"] == size["table"] > size["none"]
    else:
        assert plans["settled"] == plans["none"] == plans["table"]


def test_the_whole_table_is_asked_for_unit_by_unit() -> None:
    table = whole_table(UNITS, recipe(dense_roles=("q",), dense_blocks=(2,), overrides={"blocks.0.up": 4}))
    left = [s.path for s in SITES if s.role != "q" and s.block != 2 and s.path != "blocks.0.up"]
    assert [(u.path, k) for u, k in table] == [(p, k) for p in left for k in CANDIDATES]


@pytest.mark.parametrize("allocator", ["strs", "waterfill"])
def test_three_hundred_units_are_planned_in_a_moment(allocator: str) -> None:
    """The benchmark's figure is under 10 ms (`bench slider`); here only that it is no different thing altogether."""
    sites = tuple(
        Site(f"b.{b}.{r}", b, r, f"{b}.{r}", *(32 * n for n in shape)) for b in range(43) for r, shape in SHAPES.items()
    )
    units = units_of(sites, recipe())
    known = Knowledge.of(units, spectra_of(sites))
    best = float("inf")
    for ratio in (0.2, 0.3, 0.5, 0.3):  # the first builds what is the same for all
        began = time.perf_counter()
        make_plan(recipe(allocator=allocator, ratio=ratio), known)
        best = min(best, time.perf_counter() - began)
    assert len(units) == 301 and best < 0.1


def test_costs_and_ranks() -> None:
    s = Site("p", 0, "q", "0.q", 30, 20)
    assert cost(s, None) == 600 and cost(s, 7) == 350
    assert rank_at(s, 1.0) is None and rank_at(s, 0.5) == 6 and rank_at(s, 0.001) == 1
    for keep in CANDIDATES:
        assert cost(s, rank_at(s, keep)) <= keep * s.parameters + 1e-9 < cost(s, rank_at(s, keep) + 1)
