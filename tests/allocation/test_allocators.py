"""What every allocator promises, asserted over the whole registry; and STRS against the published rule."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from lowrank_core.allocation import ALLOCATORS, Problem, break_even, check_ratio, spend_remainder
from lowrank_core.allocation.base import sequence_of_sites
from lowrank_core.errors import BadValue, BudgetNotFeasible
from lowrank_core.settings import CANDIDATES
from lowrank_core.types import Plan, Site, cost, rank_at

every_allocator = pytest.mark.parametrize("key", ALLOCATORS)


def site(index: int, d_out: int, d_in: int) -> Site:
    return Site(f"block.{index}", index, "q", f"{index}.q", d_out, d_in)


def problem_of(shapes, ratio: float, seed: int = 0, noise: float = 0.3) -> Problem:
    """Sites of these shapes with falling curves of very different height, and a noisy table of measured losses."""
    rng = np.random.default_rng(seed)
    sites = tuple(site(i, *shape) for i, shape in enumerate(shapes))
    curves = {}
    for s in sites:
        square = np.sort(rng.exponential(1, s.max_rank) ** 3)[::-1] * 10 ** rng.uniform(-4, 0)
        curves[s.path] = np.append(np.cumsum(square[::-1])[::-1], 0.0)
    table = {
        s.path: {
            k: float(curves[s.path][rank_at(s, k)] * rng.lognormal(0, noise) + rng.normal(0, 1e-4)) for k in CANDIDATES
        }
        for s in sites
    }
    return Problem(sites, ratio, curves, table)


def kept(problem: Problem, ranks) -> int:
    return sum(cost(s, ranks[s.path]) for s in problem.sites)


def predicted(problem: Problem, ranks) -> float:
    return sum(float(problem.curves[p][r]) for p, r in ranks.items() if r is not None)


def check(problem: Problem, plan: Plan) -> None:
    """The budget is met from integer ranks, and nothing that still fits is left."""
    assert set(plan.ranks) == {s.path for s in problem.sites}
    for s in problem.sites:
        rank = plan.ranks[s.path]
        assert rank is None or (isinstance(rank, (int, np.integer)) and 1 <= rank <= break_even(s)), (s, rank)
    left = problem.budget - kept(problem, plan.ranks)
    assert left >= 0
    assert plan.ratio(problem.sites) >= problem.ratio - 1e-12
    steps = [
        s.d_out + s.d_in if plan.ranks[s.path] < break_even(s) else s.parameters - cost(s, plan.ranks[s.path])
        for s in problem.sites
        if plan.ranks[s.path] is not None
    ]
    assert steps and left < min(steps)


def test_break_even_is_the_last_rank_that_is_smaller() -> None:
    for shape in [(1, 1), (1, 9), (2, 2), (2, 3), (3, 6), (16, 16), (32, 48), (48, 32), (64, 64)]:
        s = site(0, *shape)
        assert cost(s, break_even(s)) < s.parameters <= cost(s, break_even(s) + 1)


@every_allocator
@pytest.mark.parametrize("ratio", [0.05, 0.2, 0.3, 0.5, 0.7, 0.85])
def test_a_model_of_layers(key: str, ratio: float) -> None:
    shapes = [(32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48)] * 3
    problem = problem_of(shapes, ratio)
    check(problem, ALLOCATORS[key].plan(problem))


@every_allocator
@given(
    shapes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=8),
    ratio=st.floats(0.005, 0.995),
    seed=st.integers(0, 1000),
)
def test_any_layers_and_ratio(key: str, shapes, ratio: float, seed: int) -> None:
    problem = problem_of(shapes, ratio, seed)
    least = sum(min(cost(s, 1), s.parameters) for s in problem.sites)
    if least > problem.budget:
        with pytest.raises(BudgetNotFeasible, match="Rank 1 everywhere"):
            ALLOCATORS[key].plan(problem)
    else:
        check(problem, ALLOCATORS[key].plan(problem))


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
        check(problem, ALLOCATORS[key].plan(Problem(problem.sites, 0.4, curves, table)))


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


def published_strs(problem: Problem) -> dict[str, int | None]:
    """ASVD's binary_search_truncation_rank by exhaustion: every cut in turn, the last one within the target is kept."""
    rows = [(path, keep, loss) for path, row in problem.table.items() for keep, loss in row.items()]
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
