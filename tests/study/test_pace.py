"""What is never slower keeps dense what is slower cut, pays for it from the same budget, and measures once."""

import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.errors import BudgetNotFeasible
from lowrank_core.generation.products import Products
from lowrank_core.study.compress import run
from lowrank_core.study.pace import cost, fastest
from lowrank_core.study.recipe import Recipe
from lowrank_core.types import Site, Unit


class Said(Products):
    """Products whose seconds are a fixed part for every call, and one for every number."""

    def __init__(self, call: float):
        self.layouts, self.call = ("rows",), call

    def product(self, m, n, layout="rows"):
        return self.call + m * n

    def gather(self, m):
        return 0.0


def unit(storage: str = "factored", outs: tuple[int, ...] = (64,), d_in: int = 48) -> Unit:
    sites = tuple(Site(f"s{i}", 0, f"r{i}", "0.g", d_out, d_in) for i, d_out in enumerate(outs))
    return Unit(sites, storage=storage)


@pytest.mark.parametrize("storage", ["factored", "pivoted"])
def test_the_largest_rank_that_is_as_fast(storage: str) -> None:
    one = unit(storage)
    for call in (0.0, 200.0, 1000.0, 3000.0):
        products = Said(call)
        rank, dense = fastest(one, products), call + one.parameters
        assert rank == 0 or cost(one, rank, products) <= dense
        assert rank == one.max_rank or cost(one, rank + 1, products) > dense
    assert fastest(one, Said(3000.0)) == 0 < fastest(one, Said(1000.0)) < fastest(one, Said(0.0))


def test_sites_with_one_right_factor_are_asked_together() -> None:
    assert fastest(unit(outs=(64, 32)), Said(0.0)) > fastest(unit(), Said(0.0))


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_a_plan_that_is_never_slower(loaded, tiny, tiny_file, store, monkeypatch, allocator: str) -> None:
    monkeypatch.setattr(Products, "product", lambda self, m, n, layout="rows": 250.0 + m * n)
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=4, window=16, probe_windows=1, method="svd",
                    allocator=allocator, ratio=0.3, never_slower=True)  # fmt: skip
    found = run(recipe, store, loaded=loaded)
    assert found.ratio_achieved >= 0.3
    most = {u.path: fastest(u, Said(250.0)) for u in found.units}
    cut = {path: rank for path, rank in found.plan.ranks.items() if rank is not None}
    assert cut and all(rank <= most[path] for path, rank in cut.items())
    if allocator == "uniform":  # which would cut deeper than pays
        free = run(recipe.model_copy(update={"never_slower": False}), store, loaded=loaded)
        assert any(rank is not None and rank > most[path] for path, rank in free.plan.ranks.items())

    def never(*_):
        raise AssertionError("measured twice")

    monkeypatch.setattr("lowrank_core.study.pace.fastest", never)
    assert run(recipe, store, loaded=loaded).plan == found.plan


def test_where_nothing_is_as_fast_nothing_can_be_cut(loaded, tiny, tiny_file, store, monkeypatch) -> None:
    monkeypatch.setattr(Products, "product", lambda self, m, n, layout="rows": 1e6 + m * n)
    recipe = Recipe(model=str(tiny), text=str(tiny_file), windows=4, window=16, method="svd", never_slower=True)
    with pytest.raises(BudgetNotFeasible):
        run(recipe, store, loaded=loaded)
