"""What every allocator promises, asserted over the whole registry; and STRS against the published rule."""

import math
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings

from lowrank_core.allocation import ALLOCATORS, Problem, break_even, check_ratio, spend_remainder
from lowrank_core.allocation.base import sequence_of_sites
from lowrank_core.errors import BadValue, BudgetNotFeasible
from lowrank_core.settings import CANDIDATES
from lowrank_core.types import Plan, Priced, Site, Unit, cost, rank_at

every_allocator = pytest.mark.parametrize("key", ALLOCATORS)


def site(index: int, d_out: int, d_in: int) -> Site:
    return Site(f"block.{index}", index, "q", f"{index}.q", d_out, d_in)


def unit(index: int, d_out: int, d_in: int, kind: str = "factored") -> Unit:
    """A unit of any kind: joint ones are three sites of one input, of unequal height."""
    whole = site(index, d_out, d_in)
    if kind == "joint":
        heights = [h for h in (d_out - 2 * (d_out // 4), d_out // 4, d_out // 4) if h]
        return Unit(
            tuple(Site(f"block.{index}.{i}", index, "qkv"[i], f"block.{index}", h, d_in) for i, h in enumerate(heights))
        )
    return Unit((whole,), storage="pivoted" if "pivoted" in kind else "factored", biased="biased" in kind)


KINDS = ("factored", "pivoted", "joint", "biased", "pivoted biased")


def problem_of(shapes, ratio: float, seed: int = 0, noise: float = 0.3, kinds=None, multiple: int = 1) -> Problem:
    """Sites, or units of these kinds in turn, with falling curves of very different height, and a noisy table."""
    rng = np.random.default_rng(seed)
    sites = tuple(
        site(i, *shape) if kinds is None else unit(i, *shape, kinds[i % len(kinds)]) for i, shape in enumerate(shapes)
    )
    curves, stable = {}, {}
    for s in sites:
        square = np.sort(rng.exponential(1, s.max_rank) ** 3)[::-1] * 10 ** rng.uniform(-4, 0)
        curves[s.path] = np.append(np.cumsum(square[::-1])[::-1], 0.0)
        stable[s.path] = float(square.sum() / square[0])
    table = {
        s.path: {
            k: float(curves[s.path][rank_at(s, k)] * rng.lognormal(0, noise) + rng.normal(0, 1e-4)) for k in CANDIDATES
        }
        for s in sites
    }
    return Problem(sites, ratio, curves, table, multiple, stable)


def choices(s: Priced, multiple: int) -> list[int | None]:
    """Every rank that a plan may give: multiples below break-even, else rank 1 where that is smaller; and dense."""
    last = break_even(s)
    return [*(range(multiple, last + 1, multiple) or range(1, min(1, last) + 1)), None]


def kept(problem: Problem, ranks) -> int:
    return sum(cost(s, ranks[s.path]) for s in problem.sites)


def predicted(problem: Problem, ranks) -> float:
    return sum(float(problem.curves[p][r]) for p, r in ranks.items() if r is not None)


def check(problem: Problem, plan: Plan) -> None:
    """The budget is met from integer ranks, in multiples, and nothing that still fits is left."""
    assert set(plan.ranks) == {s.path for s in problem.sites}
    steps = []
    for s in problem.sites:
        rank, possible = plan.ranks[s.path], choices(s, problem.multiple)
        assert rank in possible and (rank is None or isinstance(rank, (int, np.integer))), (s, rank)
        if rank is not None:
            steps.append(cost(s, possible[possible.index(rank) + 1]) - cost(s, rank))
    left = problem.budget - kept(problem, plan.ranks)
    assert left >= 0
    assert plan.ratio(problem.sites) >= problem.ratio - 1e-12
    assert steps and left < min(steps)


def check_or_refused(key: str, problem: Problem) -> None:
    """The promises, or BudgetNotFeasible where the smallest choices exceed the budget."""
    least = sum(min(cost(s, r) for r in choices(s, problem.multiple)) for s in problem.sites)
    if least > problem.budget:
        with pytest.raises(BudgetNotFeasible, match=f"Rank {problem.multiple} everywhere"):
            ALLOCATORS[key].plan(problem)
    else:
        check(problem, ALLOCATORS[key].plan(problem))


@pytest.mark.parametrize("kind", KINDS)
def test_costs_ranks_and_break_even_by_counting(kind: str) -> None:
    for shape in [(1, 1), (1, 9), (4, 2), (4, 3), (3, 6), (16, 16), (32, 48), (48, 32)]:
        s = unit(0, *shape, kind)
        m, n = s.d_out, s.d_in
        assert (m, n, s.parameters, s.max_rank) == (*shape, m * n, min(m, n))
        sizes = [rank * (m + n) for rank in range(s.max_rank + 1)]
        if "pivoted" in kind:  # rank rows of the product, the other rows in terms of them, and a bit per row: which
            sizes = [rank * n + (m - rank) * rank + math.ceil(m / 8) for rank in range(s.max_rank + 1)]
        sizes = [size + (m if "biased" in kind else 0) for size in sizes]
        assert [cost(s, rank) for rank in range(s.max_rank + 1)] == sizes and cost(s, None) == m * n
        assert sizes == sorted(sizes)
        smaller = [rank for rank in range(1, s.max_rank + 1) if sizes[rank] < m * n]
        assert break_even(s) == (max(smaller) if smaller else 0)
        for keep in (0.01, 0.1, 0.3, 0.5, 0.77, 0.9, 0.999):
            fitting = [rank for rank in range(1, s.max_rank + 1) if sizes[rank] <= keep * m * n + 1e-6]
            assert rank_at(s, keep) == (max(fitting) if fitting else 1)
        assert rank_at(s, 1.0) is None


def test_joint_units_pay_once_for_what_they_share() -> None:
    s = unit(0, 64, 32, "joint")
    assert len(s.sites) == 3 and s.role == "q+k+v" and s.path == "block.0" == s.group and s.label == "block 0 · q+k+v"
    assert cost(s, 5) == 5 * (64 + 32) < sum(cost(part, 5) for part in s.sites)


def test_pivoted_units_get_more_rank_for_the_same_bytes() -> None:
    """A square matrix: +52 % at ratio 0.1 and +17 % at 0.5 (METHODS §2)."""
    for keep, more in ((0.9, 0.52), (0.5, 0.17)):
        plain, dense = (rank_at(unit(0, 1000, 1000, kind), keep) for kind in ("factored", "pivoted"))
        assert dense / plain - 1 == pytest.approx(more, abs=0.01)
    assert break_even(unit(0, 1000, 1000, "pivoted")) > 950  # no cliff half way


@every_allocator
@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.3, 0.5, 0.7, 0.85])
def test_a_model_of_layers(key: str, ratio: float) -> None:
    shapes = [(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)] * 3
    problem = problem_of(shapes, ratio)
    check(problem, ALLOCATORS[key].plan(problem))


@every_allocator
@pytest.mark.parametrize("multiple", [1, 8, 16, 32])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.6])
def test_a_model_of_units(key: str, ratio: float, kind: str, multiple: int) -> None:
    shapes = [(64, 64), (32, 64), (96, 64), (64, 96), (128, 64)] * 2
    check_or_refused(key, problem_of(shapes, ratio, kinds=(kind,), multiple=multiple))


@every_allocator
@settings(max_examples=100)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8),
    ratio=st.floats(0.005, 0.995),
    seed=st.integers(0, 1000),
)
def test_any_layers_and_ratio(key: str, shapes, ratio: float, seed: int) -> None:
    check_or_refused(key, problem_of(shapes, ratio, seed))


@every_allocator
@settings(max_examples=100)
@given(
    shapes=st.lists(st.tuples(st.integers(3, 80), st.integers(1, 80)), min_size=1, max_size=6),
    ratio=st.floats(0.005, 0.9),
    seed=st.integers(0, 1000),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    multiple=st.sampled_from([1, 8, 16, 32]),
)
def test_any_units_ratio_and_multiple(key: str, shapes, ratio: float, seed: int, kinds, multiple: int) -> None:
    check_or_refused(key, problem_of(shapes, ratio, seed, kinds=kinds, multiple=multiple))


@every_allocator
def test_a_layer_too_thin_to_factor_stays_dense(key: str) -> None:
    """A gate of one output, or 2 × 2: rank 1 is no smaller than the weight."""
    for ratio in (0.1, 0.5, 0.8):
        problem = problem_of([(1, 40), (2, 2), (32, 32), (32, 48)], ratio)
        plan = ALLOCATORS[key].plan(problem)
        check(problem, plan)
        assert plan.ranks["block.0"] is None and plan.ranks["block.1"] is None


@every_allocator
def test_what_no_ranks_reach_is_refused(key: str) -> None:
    with pytest.raises(BudgetNotFeasible) as refused:
        ALLOCATORS[key].plan(problem_of([(8, 8), (8, 16)], 0.9))
    most = float(refused.value.hint.split("removes ")[1].split(":")[0])
    assert most == pytest.approx(1 - (16 + 24) / (64 + 128), abs=1e-4)


@every_allocator
@pytest.mark.parametrize("ratio", [0, 1, -0.1, 1.5, float("nan"), float("inf"), "half", None])
def test_a_ratio_outside_its_range_is_refused(key: str, ratio) -> None:
    with pytest.raises(BadValue):
        ALLOCATORS[key].plan(problem_of([(8, 8)], ratio))
    with pytest.raises(BadValue):
        check_ratio(ratio)


@every_allocator
def test_flat_curves_are_no_obstacle(key: str) -> None:
    """Nothing is predicted to hurt: the budget is still met and spent."""
    problem = problem_of([(16, 16), (16, 24), (24, 16)], 0.4)
    for flat in (0.0, 1e-30):
        curves = {p: c * flat for p, c in problem.curves.items()}
        table = {p: dict.fromkeys(row, 0.0) for p, row in problem.table.items()}
        check(problem, ALLOCATORS[key].plan(replace(problem, curves=curves, table=table)))


@every_allocator
def test_an_entry_says_who_it_is(key: str) -> None:
    entry = ALLOCATORS[key]
    assert (
        entry.key == key
        and entry.label
        and entry.paper
        and entry.link.startswith("https://")
        and entry.line.endswith(".")
    )


def test_uniform_gives_every_layer_the_same_share() -> None:
    problem = problem_of([(32, 32), (48, 32), (16, 32)] * 3, 0.4)
    for s in problem.sites:
        rank = ALLOCATORS["uniform"].allocate(problem)[s.path]
        assert cost(s, rank) <= 0.6 * s.parameters < cost(s, rank + 1)


# --- STRS, as published --------------------------------------------------------------------------------------


def published_strs(problem: Problem, table=None) -> dict[str, int | None]:
    """ASVD's binary_search_truncation_rank by exhaustion: every cut in turn, the last one within the target is kept."""
    rows = [(path, keep, loss) for path, row in (table or problem.table).items() for keep, loss in row.items()]
    rows.sort(key=lambda row: -row[2])
    chosen = None
    for cut in range(len(rows) + 1):
        smallest = {s.path: 1.0 for s in problem.sites}
        for path, keep, _ in rows[cut:]:
            smallest[path] = min(smallest[path], keep)
        ranks = {s.path: rank_at(s, smallest[s.path]) for s in problem.sites}
        if chosen is None or kept(problem, ranks) <= problem.budget:
            chosen = ranks
    return chosen


@pytest.mark.parametrize("ratio", [0.02, 0.1, 0.3, 0.5, 0.75, 0.89, 0.95])
@pytest.mark.parametrize("seed", range(4))
def test_strs_is_the_published_rule(ratio: float, seed: int) -> None:
    problem = problem_of([(32, 32), (16, 32), (48, 32), (32, 48)] * 2, ratio, seed, noise=1.0)
    assert ALLOCATORS["strs"].allocate(problem) == published_strs(problem)


@given(
    shapes=st.lists(st.tuples(st.integers(4, 40), st.integers(4, 40)), min_size=1, max_size=5),
    ratio=st.floats(0.01, 0.95),
    seed=st.integers(0, 1000),
)
def test_strs_is_the_published_rule_anywhere(shapes, ratio: float, seed: int) -> None:
    problem = problem_of(shapes, ratio, seed, noise=1.0)
    assert ALLOCATORS["strs"].allocate(problem) == published_strs(problem)


@given(
    shapes=st.lists(st.tuples(st.integers(4, 40), st.integers(4, 40)), min_size=1, max_size=5),
    ratio=st.floats(0.01, 0.95),
    seed=st.integers(0, 1000),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
)
@settings(max_examples=60)
def test_stable_rank_is_strs_on_the_released_sensitivity(shapes, ratio: float, seed: int, kinds) -> None:
    """−(‖W‖_F / σ₁) · keep^0.1 for every site and candidate: no loss is looked at."""
    problem = problem_of(shapes, ratio, seed, kinds=kinds)
    table = {p: {k: -(rank**0.5) * k**0.1 for k in CANDIDATES} for p, rank in problem.stable_ranks.items()}
    blind = replace(problem, table={}, curves={})
    assert ALLOCATORS["stable-rank"].allocate(blind) == published_strs(problem, table)


# --- waterfill and the finishing step --------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
@pytest.mark.parametrize("seed", range(6))
def test_waterfill_predicts_no_more_loss_than_uniform(ratio: float, seed: int) -> None:
    problem = problem_of([(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)] * 3, ratio, seed)
    water, uniform = (predicted(problem, ALLOCATORS[k].plan(problem).ranks) for k in ("waterfill", "uniform"))
    assert water <= uniform * (1 + 1e-12)


def test_waterfill_is_near_the_best_of_all_plans() -> None:
    """Two small sites, every pair of ranks tried."""
    problem = problem_of([(12, 12), (10, 14)], 0.4, seed=5)
    first, second = problem.sites
    best = min(
        predicted(problem, ranks)
        for a in (*range(1, break_even(first) + 1), None)
        for b in (*range(1, break_even(second) + 1), None)
        if kept(problem, ranks := {first.path: a, second.path: b}) <= problem.budget
    )
    found = predicted(problem, ALLOCATORS["waterfill"].plan(problem).ranks)
    assert best <= found <= best * 1.25 + 1e-12


def test_finishing_only_helps_what_fits() -> None:
    problem = problem_of([(32, 32), (16, 32), (48, 32)], 0.5)
    lean = {s.path: 1 for s in problem.sites}
    spent = spend_remainder(lean, problem)
    assert lean == {s.path: 1 for s in problem.sites}  # the given ranks are not touched
    assert predicted(problem, spent) < predicted(problem, lean)
    check(problem, Plan(spent))


@given(ratio=st.floats(0.01, 0.9), seed=st.integers(0, 100))
def test_finishing_brings_all_dense_under_the_budget(ratio: float, seed: int) -> None:
    problem = problem_of([(32, 32), (16, 32), (48, 32)], ratio, seed)
    assume(sum(cost(s, 1) for s in problem.sites) <= problem.budget)
    check(problem, Plan(spend_remainder({s.path: None for s in problem.sites}, problem)))


def test_nothing_to_compress_is_said() -> None:
    with pytest.raises(BadValue, match="no layer"):
        sequence_of_sites([])
