"""Prediction and measurement, combined: each counts for as much as it is certain."""

import numpy as np
import pytest

from lowrank_core.allocation.beliefs import RESIDUAL, Beliefs, believe, law_of, noise_of

ROLES = [r for _ in range(3) for r in ("q", "o", "up", "down")]
BLOCKS = [b for b in range(3) for _ in range(4)]
KEEPS = np.array([k / 10 for k in range(1, 10)])
PREDICTED = np.outer(np.geomspace(1e-3, 1, 12), (1 - KEEPS) ** 2)
AT = (9, 2)  # block 2, o, at keep 0.3


def about(points: dict[tuple[int, int], float], sd: float = 1e-3, predicted=PREDICTED) -> Beliefs:
    """Beliefs after points (site, keep) → nats, all with this standard deviation."""
    measured = np.full(predicted.shape, np.nan)
    for where, nats in points.items():
        measured[where] = nats
    return believe(ROLES, BLOCKS, KEEPS, predicted, measured, np.full(predicted.shape, sd**2))


def test_without_points_the_prediction_is_believed_and_doubted_alike() -> None:
    found = about({})
    assert (
        np.array_equal(found.mean, PREDICTED)
        and (found.spread == found.spread[0, 0]).all()
        and found.spread[0, 0] > 0.3
    )
    np.testing.assert_allclose(found.sd, found.spread * PREDICTED)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0, 4.0])
def test_a_precise_point_is_believed(factor: float) -> None:
    found = about({AT: factor * PREDICTED[AT]}, 1e-4)
    assert found.mean[AT] == pytest.approx(factor * PREDICTED[AT], rel=0.01)
    assert found.spread[AT] < 0.02


def test_a_noisy_point_is_hardly_believed() -> None:
    found = about({AT: 4 * PREDICTED[AT]}, 20 * PREDICTED[AT])
    assert found.mean[AT] == pytest.approx(PREDICTED[AT], rel=0.1) and found.spread[AT] > 0.95 * about({}).spread[AT]
    middling = about({AT: 4 * PREDICTED[AT]}, 2 * PREDICTED[AT]).mean[AT]
    assert found.mean[AT] < middling < 3.5 * PREDICTED[AT]


def test_alike_sites_move_together_and_the_nearest_most() -> None:
    found = about({AT: 3 * PREDICTED[AT]}, 1e-4)
    own, neighbour, far_keep = found.factor[AT], found.factor[9, 3], found.factor[9, 8]
    same_role, same_block, stranger = found.factor[1, 2], found.factor[10, 2], found.factor[0, 2]
    assert own > neighbour > far_keep > same_role > stranger > 1 and own > same_block > stranger
    spread = found.spread
    assert spread[AT] < spread[9, 3] < spread[9, 8] < spread[1, 2] < spread[0, 2] < about({}).spread[0, 2]


def test_more_points_leave_less_doubt() -> None:
    one, two = about({AT: PREDICTED[AT]}), about({AT: PREDICTED[AT], (9, 6): PREDICTED[9, 6]})
    assert (two.spread <= one.spread + 1e-12).all() and (two.spread[9] < one.spread[9]).any()


def test_negative_points_and_wild_ones_stay_within_reason() -> None:
    for nats in (-0.5, 0.0, 1e3):
        found = about({AT: nats})
        assert np.isfinite(found.mean).all() and (found.mean > 0).all() and (found.factor <= np.exp(3.0) + 1e-9).all()
    assert about({AT: -0.5}).mean[AT] < 0.2 * PREDICTED[AT] < PREDICTED[AT] < about({AT: 1e3}).mean[AT]


def test_where_nothing_is_predicted_nothing_is_learned() -> None:
    flat = PREDICTED.copy()
    flat[3] = 0
    found = about({(3, 4): 0.3}, predicted=flat)
    assert np.array_equal(found.factor, np.ones_like(flat)) and (found.mean[3] == 0).all()


def test_the_noise_of_a_point_pools_its_own_spread_with_the_law_of_all() -> None:
    law = law_of(np.array(0.04), False)
    assert law == pytest.approx(0.13**2 * 0.04)
    assert law_of(np.array(0.04), True) == pytest.approx((RESIDUAL * 0.04) ** 2)
    assert noise_of(np.array(0.0), np.array(1), law) == pytest.approx(law)  # one window tells no spread
    many = noise_of(np.array(0.5), np.array(1000), law)
    assert many == pytest.approx(0.25 / 1000, rel=0.01)
    assert noise_of(np.array(0.5), np.array(4), law) == pytest.approx((4 * law + 3 * 0.25) / 7 / 4)


def test_what_is_left_to_learn() -> None:
    """More windows promise more; none promise nothing; a point that is certain has nothing left."""
    bare = about({})
    four, many = bare.surprise(4), bare.surprise(1000)
    assert (bare.surprise(0) == 0).all() and (four > 0).all() and (four < many).all()
    np.testing.assert_allclose(bare.surprise(10**9), bare.sd, rtol=1e-3)
    assert about({AT: PREDICTED[AT]}, 1e-5).surprise(32)[AT] < 0.05 * bare.surprise(32)[AT]
