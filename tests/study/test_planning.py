"""From spectra and points to a plan: what the user fixed stays fixed, and the rest meets the budget."""

import numpy as np
import pytest

from lowrank_core.allocation import ALLOCATORS
from lowrank_core.errors import BadValue, BudgetNotFeasible
from lowrank_core.settings import CANDIDATES
from lowrank_core.study.planning import loss_curves, loss_table, make_plan, measuring_order, open_units, predicted_nll
from lowrank_core.study.recipe import Recipe
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
        found[s.path] = Spectrum(
            s.path, "asvd-i", sigma, np.arange(s.max_rank + 1), error, float(error[0]), 10 ** rng.uniform(-4, -1)
        )
    return found


SPECTRA = spectra_of()


def point(path: str, keep: float, delta: float) -> Point:
    return Point(path, keep, rank_at(next(s for s in SITES if s.path == path), keep), delta, 0.001)


def recipe(**values) -> Recipe:
    return Recipe(**{"ratio": 0.4, **values})


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.7])
def test_the_budget_counts_over_all_sites(allocator: str, ratio: float) -> None:
    plan = make_plan(UNITS, recipe(ratio=ratio, allocator=allocator), SPECTRA, {})
    assert set(plan.ranks) == {s.path for s in SITES} and ratio <= plan.ratio(SITES) + 1e-12 < ratio + 0.02


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_overrides_are_kept_and_the_rest_makes_up_for_them(allocator: str) -> None:
    overrides = {"blocks.0.q": 3, "blocks.1.down": None, "blocks.2.up": 32}
    plan = make_plan(UNITS, recipe(overrides=overrides, allocator=allocator), SPECTRA, {})
    assert {p: plan.ranks[p] for p in overrides} == overrides
    assert 0.4 <= plan.ratio(SITES) + 1e-12 < 0.42


@pytest.mark.parametrize("allocator", ALLOCATORS)
def test_dense_roles_and_blocks_stay_dense(allocator: str) -> None:
    plan = make_plan(
        UNITS, recipe(ratio=0.25, dense_roles=("q", "k"), dense_blocks=(1,), allocator=allocator), SPECTRA, {}
    )
    dense = [s for s in SITES if s.role in "qk" or s.block == 1]
    assert all(plan.ranks[s.path] is None for s in dense) and 0.25 <= plan.ratio(SITES) + 1e-12 < 0.27
    both = make_plan(UNITS, recipe(ratio=0.2, dense_roles=("q",), overrides={"blocks.0.q": 5}), SPECTRA, {})
    assert both.ranks["blocks.0.q"] == 5 and both.ranks["blocks.1.q"] is None


def test_open_units() -> None:
    found = open_units(UNITS, recipe(dense_roles=("q",), dense_blocks=(2,), overrides={"blocks.0.up": 4}))
    assert [s.path for s in found] == [
        s.path for s in SITES if s.role != "q" and s.block != 2 and s.path != "blocks.0.up"
    ]


def test_overrides_that_are_enough_leave_the_rest_dense() -> None:
    overrides = {s.path: 1 for s in SITES if s.block < 2}
    plan = make_plan(UNITS, recipe(ratio=0.3, overrides=overrides), SPECTRA, {})
    assert plan.ranks == {s.path: 1 if s.block < 2 else None for s in SITES}


@pytest.mark.parametrize(
    "override", [{"blocks.0.nobody": 3}, {"blocks.0.q": 0}, {"blocks.0.q": 33}, {"blocks.0.k": -1}]
)
def test_overrides_that_fit_nothing_are_refused(override) -> None:
    with pytest.raises(BadValue, match="override"):
        make_plan(UNITS, recipe(overrides=override), SPECTRA, {})


def test_a_ratio_out_of_reach_is_refused() -> None:
    with pytest.raises(BadValue, match="out of reach"):
        make_plan(UNITS, recipe(ratio=0.8, dense_blocks=(0,)), SPECTRA, {})
    with pytest.raises(BadValue, match="no layer"):
        make_plan(UNITS, recipe(dense_blocks=(0, 1, 2)), SPECTRA, {})
    with pytest.raises(BudgetNotFeasible):
        make_plan(UNITS, recipe(ratio=0.99), SPECTRA, {})
    with pytest.raises(BudgetNotFeasible):
        make_plan(UNITS, recipe(ratio=0.66, dense_blocks=(0,)), SPECTRA, {})


def test_predicted_loss_is_a_sum_over_spectra() -> None:
    plan = Plan({"blocks.0.q": 3, "blocks.1.up": None, "blocks.2.v": 7})
    expected = sum(
        SPECTRA[p].loss_scale * float(SPECTRA[p].output_error[r]) for p, r in (("blocks.0.q", 3), ("blocks.2.v", 7))
    )
    assert predicted_nll(plan, SPECTRA) == pytest.approx(expected)
    assert predicted_nll(Plan({s.path: None for s in SITES}), SPECTRA) == 0
    assert predicted_nll(Plan({s.path: s.max_rank for s in SITES}), SPECTRA) == 0


def test_sparse_spectra_are_interpolated() -> None:
    s = Spectrum("p", "nsvd-i", np.ones(8), np.array([0, 2, 8]), np.array([10.0, 4.0, 0.0]), 10.0, 0.5)
    assert s.predicted(0) == 5 and s.predicted(1) == 3.5 and s.predicted(5) == 1 and s.predicted(8) == 0
    assert s.predicted(np.arange(9)).shape == (9,) and s.energy_kept.tolist() == [i / 8 for i in range(9)]


def test_curves_without_points_are_the_prediction() -> None:
    curves = loss_curves(SPECTRA, {})
    for path, s in SPECTRA.items():
        np.testing.assert_allclose(curves[path], s.loss_scale * s.output_error.astype(float), rtol=1e-6)


def test_points_scale_their_own_curve_most() -> None:
    """One site is measured at thrice its prediction, in two places: its curve rises towards 3, and the others' too."""
    plain = loss_curves(SPECTRA, {})
    path = max(plain, key=lambda p: plain[p][1])
    points = {path: {k: point(path, k, 3 * float(plain[path][point(path, k, 0).rank])) for k in (0.2, 0.5)}}
    scaled = loss_curves(SPECTRA, points)
    np.testing.assert_allclose(scaled[path], 3 * plain[path])
    other = next(p for p in plain if p != path)
    np.testing.assert_allclose(scaled[other], 3 * plain[other])  # nothing of its own: the ratio of all sites
    mixed = {**points, other: {0.2: point(other, 0.2, float(plain[other][point(other, 0.2, 0).rank]))}}
    found = loss_curves(SPECTRA, mixed)[other] / np.maximum(plain[other], 1e-300)
    assert np.allclose(found[:-1], (1 + 3) / 2)  # its own 1, drawn half way to the median 3 by one pseudo-point


def test_negative_points_never_turn_a_curve_over() -> None:
    plain = loss_curves(SPECTRA, {})
    points = {s.path: {k: point(s.path, k, -0.5) for k in CANDIDATES} for s in SITES}
    for path, curve in loss_curves(SPECTRA, points).items():
        assert (curve >= 0).all() and (np.diff(curve) <= 0).all() and curve[0] > 0 and curve.shape == plain[path].shape


def test_the_table_is_measured_where_it_is_measured() -> None:
    curves = loss_curves(SPECTRA, {})
    points = {"blocks.0.q": {0.5: point("blocks.0.q", 0.5, -0.25)}}
    table = loss_table(UNITS, curves, points)
    assert set(table) == {s.path for s in SITES} and all(tuple(row) == CANDIDATES for row in table.values())
    assert table["blocks.0.q"][0.5] == -0.25
    assert table["blocks.0.q"][0.4] == curves["blocks.0.q"][rank_at(SITES[0], 0.4)]


def test_measuring_starts_near_the_keep_and_where_it_matters() -> None:
    for ratio in (0.3, 0.42, 0.77):
        order = measuring_order(UNITS, recipe(ratio=ratio, dense_roles=("q",)), SPECTRA)
        left = [s for s in SITES if s.role != "q"]
        assert len(order) == len(set(order)) == len(left) * len(CANDIDATES) and {u.path for u, _ in order} == {
            s.path for s in left
        }
        distances = [abs(k - (1 - ratio)) for _, k in order]
        assert all(a <= b + 1e-5 for a, b in zip(distances, distances[1:], strict=False))
        first = order[: len(left)]
        assert {k for _, k in first} == {min(CANDIDATES, key=lambda k: round(abs(k - (1 - ratio)), 6))}
        predicted = [float(SPECTRA[u.path].predicted(rank_at(u, k))) for u, k in first]
        assert predicted == sorted(predicted, reverse=True)
    between = measuring_order(UNITS, recipe(ratio=0.75), SPECTRA)[: 2 * len(SITES)]
    assert {k for _, k in between} == {0.2, 0.3}  # as near on either side


def test_costs_and_ranks() -> None:
    s = Site("p", 0, "q", "0.q", 30, 20)
    assert cost(s, None) == 600 and cost(s, 7) == 350
    assert rank_at(s, 1.0) is None and rank_at(s, 0.5) == 6 and rank_at(s, 0.001) == 1
    for keep in CANDIDATES:
        assert cost(s, rank_at(s, keep)) <= keep * s.parameters + 1e-9 < cost(s, rank_at(s, keep) + 1)
