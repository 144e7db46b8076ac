"""All that is known of the units: curves fall, the table is the measured one where it is whole."""

from dataclasses import replace

import numpy as np
import pytest

from lowrank_core.drift import Drift
from lowrank_core.settings import CANDIDATES
from lowrank_core.study.knowledge import Knowledge
from lowrank_core.study.planning import make_plan
from lowrank_core.study.recipe import Recipe, Walk
from lowrank_core.types import Point

from .test_planning import KNOWN, SPECTRA, UNITS


def with_points(factor: float, windows: int = 8, units=UNITS, spread: float = 0.0) -> Knowledge:
    """Every candidate of these units measured at `factor` times its prediction."""
    known, rng = KNOWN, np.random.default_rng(0)
    for u in units:
        i = KNOWN.grid.row[u.path]
        for j, keep in enumerate(CANDIDATES):
            nats = factor * KNOWN.grid.predicted[i, j] + spread * rng.normal(size=windows)
            known = known.knowing(Point(u.path, keep, int(KNOWN.grid.ranks[i, j]), tuple(nats)))
    return known


def test_without_points_the_curves_are_the_prediction() -> None:
    for u in UNITS:
        np.testing.assert_allclose(KNOWN.curves[u.path], SPECTRA[u.path].loss, rtol=1e-6)
    assert np.array_equal(KNOWN.beliefs.mean, KNOWN.grid.predicted) and not KNOWN.windows.any()
    assert np.isnan(KNOWN.measured).all()


def test_a_whole_table_is_the_measured_one_to_the_digit() -> None:
    known = with_points(1.3, spread=0.01)
    table = known.table(UNITS)
    assert table == {u.path: {k: known.points[u.path][k].delta_nll for k in CANDIDATES} for u in UNITS}


def test_a_table_with_a_gap_is_the_believed_one() -> None:
    known = with_points(2.0)
    path = UNITS[4].path
    gap = replace(known, points={**known.points, path: {k: p for k, p in known.points[path].items() if k != 0.5}})
    assert gap.table(UNITS)[path][0.5] == pytest.approx(gap.beliefs.mean[4, CANDIDATES.index(0.5)])
    assert gap.table(UNITS)[path][0.5] == pytest.approx(known.measured[4, CANDIDATES.index(0.5)], rel=0.3)
    assert gap.table(UNITS[:4]) == {u.path: known.table(UNITS)[u.path] for u in UNITS[:4]}  # these are whole


def test_unequal_windows_are_no_table() -> None:
    known = with_points(2.0)
    point = known.points[UNITS[0].path][0.5]
    uneven = known.knowing(replace(point, deltas=point.deltas[:4]))
    assert uneven.windows.min() == 4 and uneven.windows.max() == 8
    assert uneven.table(UNITS)[UNITS[3].path][0.2] == pytest.approx(uneven.beliefs.mean[3, 1])


@pytest.mark.parametrize("factor", [-5.0, 0.0, 0.3, 1.0, 7.0])
def test_curves_fall_whatever_was_measured(factor: float) -> None:
    for known in (with_points(factor, spread=0.02), with_points(factor, units=UNITS[2:5])):
        for u in UNITS:
            curve = known.curves[u.path]
            assert len(curve) == u.max_rank + 1 and (np.diff(curve) <= 0).all() and (curve >= 0).all() and curve[0] > 0


def test_points_raise_their_own_curve() -> None:
    known = with_points(3.0, units=UNITS[5:6])
    own, other = (known.curves[UNITS[i].path][1] / KNOWN.curves[UNITS[i].path][1] for i in (5, 12))
    assert own > 2 and 1 < other < own


def test_keeps_that_are_no_candidates_and_units_of_others_are_left_out() -> None:
    odd = KNOWN.knowing(Point(UNITS[0].path, 0.33, 5, (0.5,))).knowing(Point("nobody", 0.5, 5, (0.5,)))
    assert not odd.windows.any() and np.array_equal(odd.beliefs.mean, KNOWN.grid.predicted)


def test_what_a_plan_is_expected_to_cost() -> None:
    ranks = {UNITS[0].path: 3, UNITS[1].path: None, UNITS[2].path: 7}
    known = with_points(2.0)
    assert known.expected(ranks) == pytest.approx(known.curves[UNITS[0].path][3] + known.curves[UNITS[2].path][7])
    assert known.unmeasured().expected(ranks) == pytest.approx(KNOWN.expected(ranks))


def test_the_first_order_is_taken_off_a_measurement_and_believed_apart() -> None:
    """Windows that differ by their first order alone say as much as quiet ones; what is left is the second order."""
    path, rng, spectra = UNITS[5].path, np.random.default_rng(0), {}
    for u in UNITS:
        own = SPECTRA[u.path]
        cut = own.loss > 0  # at full rank nothing is
        by_window = rng.normal(size=(8, len(own.ranks))) * own.loss.max() * cut
        spectra[u.path] = replace(own, drift=Drift(own.ranks, by_window.mean(0), by_window, 10**9))
    bare = Knowledge.of(UNITS, spectra)
    row, column = bare.grid.row[path], CANDIDATES.index(0.3)
    rank, second = int(bare.grid.ranks[row, column]), bare.grid.second[row, column]
    first = spectra[path].drift.windows(rank, 8)
    known = bare.knowing(Point(path, 0.3, rank, tuple(2 * second + first)))
    noisy = KNOWN.knowing(Point(path, 0.3, rank, tuple(2 * second + first)))
    assert known.beliefs.factor[row, column] == pytest.approx(2, rel=0.1)
    assert known.beliefs.spread[row, column] < 0.5 * noisy.beliefs.spread[row, column]
    assert known.beliefs.mean[row, column] == pytest.approx(2 * second + first.mean(), rel=0.2, abs=0.2 * second)
    for u in UNITS:
        assert (np.diff(known.curves[u.path]) <= 0).all() and (bare.curves[u.path] >= 0).all()


def test_a_walk_which_makes_other_factors_is_planned_without_the_first_order() -> None:
    spectra = {}
    for i, u in enumerate(UNITS):
        own = SPECTRA[u.path]
        mean = own.loss * (1 if i % 2 else -0.5)
        spectra[u.path] = replace(own, drift=Drift(own.ranks, mean, mean[None], 10**9))
    known, walking = Knowledge.of(UNITS, spectra), Recipe(ratio=0.5, walk=Walk())
    assert make_plan(walking, known) == make_plan(walking, KNOWN)
    plain = walking.model_copy(update={"walk": None})
    assert make_plan(plain, known) != make_plan(plain, KNOWN)
