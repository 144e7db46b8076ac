"""Measuring until the plan settles: it stops, it measures nothing twice, and it goes on where it was stopped."""

from dataclasses import replace

import numpy as np
import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.evaluation.sensitivity import Probe
from lowrank_core.jobs import finish
from lowrank_core.settings import CANDIDATES
from lowrank_core.study import compress
from lowrank_core.study.knowledge import Knowledge
from lowrank_core.study.planning import make_plan, whole_table
from lowrank_core.study.recipe import MEASURES, Recipe, Walk
from lowrank_core.study.settling import CLOSE, LAST, Settling, expected_moves, relevance, settle
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan, rank_at


@pytest.fixture
def recipe(recipe_of) -> Recipe:
    return recipe_of(measure="settled", probe_windows=8)


@pytest.fixture
def bench(recipe, shared_store, loaded):
    """Statistics and spectra are shared by the file, points are not."""
    made = compress.open_workbench(recipe, shared_store, loaded=loaded)
    finish(made.calibrate())
    shared_store.clear("points")
    return made


@pytest.fixture
def known(bench, recipe) -> Knowledge:
    units = units_of(bench.loaded.anatomy.sites, recipe)
    return Knowledge.of(units, finish(bench.spectra(units)))


@pytest.fixture
def windows_run(monkeypatch) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """(unit path, rank) → the windows it was measured on, from and to, every time."""
    ran, measure = {}, Probe.measure

    def counting(self, unit, made, first=0, last=None):
        for modules in made:
            rank = modules[unit.sites[0].path].rank
            ran.setdefault((unit.path, rank), []).append((first, last))
        return measure(self, unit, made, first, last)

    monkeypatch.setattr(Probe, "measure", counting)
    return ran


def stored(bench, known: Knowledge) -> Knowledge:
    """What the store holds by now."""
    return replace(known, points={u.path: bench.study.points(u) for u in known.grid.units})


def apart(ran: dict) -> bool:
    """Whether no window of any candidate was run twice."""
    return all(
        all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False)) for spans in (sorted(s) for s in ran.values())
    )


@pytest.mark.parametrize("allocator", ["strs", "waterfill"])
def test_it_settles_and_says_so(bench, recipe, known, windows_run, allocator: str) -> None:
    recipe = recipe.model_copy(update={"allocator": allocator})
    seen: list[Settling] = []
    end = finish(
        settle(bench, recipe, known), lambda p: seen.append(p.value) if isinstance(p.value, Settling) else None
    )
    assert end.settled or end.move == 0
    assert [s.measured for s in seen] == list(range(1, end.measured + 1)) and seen[-1].plan == end.plan
    assert len(windows_run) < end.known.grid.ranks.size and apart(windows_run)
    assert end.known.windows.any(1).all()  # every site was looked at
    assert end.plan == make_plan(recipe, end.known) and end.expected == end.known.expected(end.plan.ranks)
    share = {u.path: 1 - u.block / 3 for u in end.known.grid.units}
    tokens = sum(share[path] * (b - a) * 24 for (path, _), spans in windows_run.items() for a, b in spans)
    assert end.tokens == pytest.approx(tokens)
    assert stored(bench, known).points == end.known.points
    if end.settled and end.move > 0:
        history = [s.expected for s in seen]
        assert end.move < CLOSE and abs(history[-1] / history[-1 - LAST] - 1) < CLOSE


def test_what_is_known_is_not_measured_again(bench, recipe, known, windows_run) -> None:
    first = finish(settle(bench, recipe, known))
    ran = {k: list(v) for k, v in windows_run.items()}
    again = finish(settle(bench, recipe, stored(bench, known)))
    assert again.measured == 0 and again.plan == first.plan and windows_run == ran
    other = finish(settle(bench, recipe.model_copy(update={"ratio": 0.6}), stored(bench, known)))
    assert apart(windows_run) and other.known.windows.sum() >= first.known.windows.sum()


@pytest.mark.parametrize("after", [1, 2, 5, 9, 17])
def test_closed_at_any_step_it_goes_on_from_there(bench, recipe, known, windows_run, after: int) -> None:
    whole = finish(settle(bench, recipe, known))
    bench.store.clear("points")
    windows_run.clear()
    job = settle(bench, recipe, known)
    steps = 0
    for progress in job:
        steps += isinstance(progress.value, Settling)
        if steps == after:
            break
    job.close()
    assert not any("forward" in vars(m) or m._forward_hooks for m in bench._probe.model.modules())
    half = stored(bench, known)
    assert half.windows.any() == (steps > 0)
    rest = finish(settle(bench, recipe, half))
    assert apart(windows_run)
    assert rest.known.expected(rest.plan.ranks) == pytest.approx(whole.known.expected(whole.plan.ranks), rel=0.05)


@pytest.mark.parametrize("allocator", ["strs", "waterfill"])
def test_the_plan_is_as_good_as_that_of_the_whole_table(bench, recipe, known, allocator: str) -> None:
    """By what the whole table says that either costs."""
    recipe = recipe.model_copy(update={"allocator": allocator})
    end = finish(settle(bench, recipe, known))
    for point in finish(bench.measure(whole_table(known.grid.units, recipe))):
        known = known.knowing(point)
    exact = make_plan(recipe.model_copy(update={"measure": "table"}), known)
    assert known.expected(end.plan.ranks) < 1.2 * known.expected(exact.ranks)


def test_a_whole_table_leaves_nothing_to_measure(bench, recipe, known, windows_run) -> None:
    for point in finish(bench.measure(whole_table(known.grid.units, recipe))):
        known = known.knowing(point)
    ran = len(windows_run)
    end = finish(settle(bench, recipe, known))
    assert end.measured == 0 and end.move == 0 and len(windows_run) == ran


def test_only_open_units_are_measured(bench, recipe, known, windows_run) -> None:
    paths = [u.path for u in known.grid.units]
    recipe = recipe.model_copy(
        update={"dense_roles": ("q",), "dense_blocks": (1,), "overrides": {paths[5]: 4}, "ratio": 0.3}
    )
    end = finish(settle(bench, recipe, known))
    closed = {u.path for u in known.grid.units if u.role == "q" or u.block == 1} | {paths[5]}
    assert end.measured and not closed & {path for path, _ in windows_run}


def test_what_hangs_on_a_candidate(known, recipe) -> None:
    """The candidates around a site's planned size count, shared by how near they are; others do not."""
    units = known.grid.units
    plan = Plan({u.path: rank_at(u, 0.5) for u in units} | {units[1].path: None})
    found = relevance(known, plan, [0, 1])
    assert set(np.flatnonzero(found[0])) <= {3, 4, 5} and found[0].sum() >= 1 and found[0].argmax() in (3, 4)
    assert np.flatnonzero(found[1]).tolist() == [len(CANDIDATES) - 1] and not found[2:].any()
    moves, windows = expected_moves(known, plan, [0, 1], [2, 4, 8])
    assert ((moves > 0) == (found > 0)).all() and (windows == 2).all()


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("measure", [None, *MEASURES])
@pytest.mark.parametrize("walk", [None, Walk()])
def test_what_a_recipe_measures(allocator: str, measure: str | None, walk: Walk | None) -> None:
    entry, found = ALLOCATORS[allocator], Recipe(allocator=allocator, measure=measure, walk=walk).measuring
    if walk or not entry.losses:
        assert found == "none"
    elif measure is None:
        assert found == ("table" if allocator == "strs" else "none")
    else:
        assert found == measure


@pytest.mark.parametrize("measure", MEASURES)
def test_a_run_measures_what_its_recipe_says(bench, recipe, loaded, windows_run, measure: str) -> None:
    made = compress.run(recipe.model_copy(update={"measure": measure}), bench.store, loaded=loaded)
    table = len(made.units) * len(CANDIDATES)
    counts = {
        "none": len(windows_run) == 0,
        "settled": 0 < len(windows_run) < table,
        "table": len(windows_run) == table,
    }
    assert counts[measure] and apart(windows_run) and made.ratio_achieved >= 0.4
