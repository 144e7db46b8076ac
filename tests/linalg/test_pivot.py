"""Pivoting loses nothing: every row of the product is a pivot or a combination of pivots."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowrank_core.errors import BadValue, NonFinite
from lowrank_core.linalg.pivot import GROWTH, pivoted

SHAPES = [(6, 9, 1), (9, 6, 1), (1, 6, 1), (6, 1, 1), (9, 6, 6), (6, 9, 6), (9, 9, 9), (40, 25, 7), (25, 40, 19)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rebuilt(pivots, basis, coefficients) -> torch.Tensor:
    """(m, n) the matrix again, by the definition."""
    w = torch.full((len(basis) + len(coefficients), basis.shape[1]), torch.nan, dtype=basis.dtype)
    w[pivots] = basis
    w[[i for i in range(len(w)) if i not in pivots]] = coefficients @ basis
    return w


def check(left, right) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    pivots, basis, coefficients = found = pivoted(left, right)
    (m, rank), n = left.shape, right.shape[1]
    assert (pivots.shape, basis.shape, coefficients.shape) == ((rank,), (rank, n), (m - rank, rank))
    assert not pivots.is_floating_point() and {basis.dtype, coefficients.dtype} == {torch.float64}
    assert len(set(pivots.tolist())) == rank and pivots.tolist() == sorted(pivots.tolist())
    wanted = left.double() @ right.double()
    largest = (left.double().abs() @ right.double().abs()).amax(1).clamp_min(1e-300)  # row by row: quiet rows count
    assert ((rebuilt(*found) - wanted).abs().amax(1) <= 1e-10 * largest).all()
    assert not coefficients.numel() or coefficients.abs().max() <= GROWTH + 1e-9
    return found


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(shape) -> None:
    m, n, rank = shape
    check(drawn(m, rank), drawn(rank, n, seed=1))


@given(st.integers(1, 24), st.integers(1, 24), st.data())
def test_any_shape_rank_and_true_rank(m: int, n: int, data) -> None:
    rank = data.draw(st.integers(1, min(m, n)))
    true = data.draw(st.integers(0, rank))
    loud = 10.0 ** data.draw(st.integers(-6, 6))
    seed = data.draw(st.integers(0, 1000))
    left = drawn(m, true, seed=seed) @ drawn(true, rank, seed=seed + 1)
    left[data.draw(st.integers(0, m - 1))] *= loud
    check(left, drawn(rank, n, seed=seed + 2))


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_a_row_far_louder_or_quieter_than_the_others(scale: float) -> None:
    left = drawn(30, 8)
    left[11] *= scale
    pivots, _, _ = check(left, drawn(8, 20, seed=1))
    assert (11 in pivots) == (scale > 1)


def test_factors_of_badly_shared_scale() -> None:
    """Columns of the left factor from 1 to 1e-12, undone in the right one, as an inverted statistic does."""
    scale = torch.logspace(0, -12, 8, dtype=torch.float64)
    left, right = drawn(30, 8), drawn(8, 20, seed=1)
    assert torch.equal(check(left * scale, right / scale[:, None])[0], check(left, right)[0])


def test_dead_rows_and_a_zero_matrix() -> None:
    left, right = drawn(12, 6), drawn(6, 9, seed=1)
    left[2:9] = 0
    _, _, coefficients = check(left, right)
    assert coefficients.isfinite().all()
    _, basis, coefficients = check(torch.zeros(12, 6), right)
    assert not basis.any() and coefficients.isfinite().all()
    check(left, torch.zeros_like(right))
    check(left[:, :1].expand(-1, 6), right)  # one column, six times


def test_full_rank_is_the_matrix_itself() -> None:
    w = drawn(7, 11)
    pivots, basis, coefficients = check(torch.eye(7), w)
    assert torch.equal(basis, w) and coefficients.shape == (0, 7) and pivots.tolist() == list(range(7))


def test_factors_are_left_alone_and_may_be_of_any_float() -> None:
    left, right = drawn(9, 4).bfloat16(), drawn(4, 8, seed=1).bfloat16()
    before = left.clone(), right.clone()
    check(left, right)
    assert torch.equal(left, before[0]) and torch.equal(right, before[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_is_named(value: float, side: int) -> None:
    factors = [drawn(9, 4), drawn(4, 8)]
    factors[side][2, 3] = value
    with pytest.raises(NonFinite):
        pivoted(*factors)


@pytest.mark.parametrize(("left", "right"), [((4, 5), (5, 9)), ((9, 4), (5, 8)), ((9, 0), (0, 8))])
def test_factors_that_do_not_fit(left, right) -> None:
    with pytest.raises(BadValue):
        pivoted(torch.zeros(left), torch.zeros(right))
