"""The matrix facts: factors of every rank, and errors that are what they say."""

import pytest
import torch

from lowrank_core.linalg import (
    balanced,
    balanced_svd,
    chosen_columns,
    cross_error_tail,
    interpolative,
    output_error_tail,
    projection_factors,
    ridged,
    scaled_svd,
    singular_values,
    square_root,
    stable_rank,
)
from lowrank_core.linalg.factorizations import tail_sums

SHAPES = [(5, 9), (9, 9), (9, 5), (1, 6), (6, 1)]


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moment(n: int, tokens: int, seed: int = 1) -> torch.Tensor:
    x = drawn(tokens, n, seed=seed)
    return x.T @ x / tokens


@pytest.mark.parametrize("shape", SHAPES)
def test_scaled_svd_factors_the_scaled_weight(shape) -> None:
    w, scale = drawn(*shape), torch.linspace(0.1, 3, shape[1], dtype=torch.float64)
    u, sigma, v = scaled_svd(w, scale)
    torch.testing.assert_close(u @ torch.diag(sigma) @ v, w * scale)
    torch.testing.assert_close(singular_values(w), scaled_svd(w)[1])
    assert (sigma[:-1] >= sigma[1:]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_balanced_factors_reproduce_the_weight_and_share_its_scale(shape) -> None:
    w = drawn(*shape)
    left, right, sigma, rows = balanced_svd(w, torch.linspace(0.5, 2, shape[1], dtype=torch.float64))
    torch.testing.assert_close(left @ right, w)
    unscaled = scaled_svd(w, torch.linspace(0.5, 2, shape[1], dtype=torch.float64))[2] / torch.linspace(
        0.5, 2, shape[1]
    )
    torch.testing.assert_close(rows.abs(), unscaled.abs(), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(left.norm(dim=0), right.norm(dim=1))
    left, right, sigma, _ = balanced_svd(w)
    torch.testing.assert_close(left.square().sum(0), sigma)
    torch.testing.assert_close(right.square().sum(1), sigma)


@pytest.mark.parametrize("shape", SHAPES)
def test_output_error_tail_is_the_error_of_every_cut(shape) -> None:
    w, c = drawn(*shape), moment(shape[1], 40)
    left, right, sigma, rows = balanced_svd(w, torch.linspace(0.5, 2, shape[1], dtype=torch.float64))
    tail = output_error_tail(sigma, rows, c)
    for rank in range(min(shape) + 1):
        rest = w - left[:, :rank] @ right[:rank]
        torch.testing.assert_close(tail[rank], torch.trace(rest @ c @ rest.T), rtol=1e-9, atol=1e-12)


def test_tail_sums_end_in_zero_and_never_turn_negative() -> None:
    tail = tail_sums(torch.tensor([3.0, 2.0, -1e-18, 0.5], dtype=torch.float64))
    assert tail.tolist() == [5.5, 2.5, 0.5, 0.5, 0.0]
    assert tail_sums(torch.zeros(0, dtype=torch.float64)).tolist() == [0.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_projection_equals_whitening_by_the_cholesky_factor(shape) -> None:
    w, c = drawn(*shape), moment(shape[1], 60)
    left, right, values = projection_factors(w, c)
    root = torch.linalg.cholesky(c)
    u, sigma, v = torch.linalg.svd(w @ root, full_matrices=False)
    torch.testing.assert_close(values, sigma.square(), rtol=1e-8, atol=1e-12)
    for rank in range(1, min(shape) + 1):
        whitened = u[:, :rank] * sigma[:rank] @ torch.linalg.solve_triangular(root, v[:rank], upper=False, left=False)
        torch.testing.assert_close(left[:, :rank] @ right[:rank], whitened, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_projection_is_complete_where_tokens_are_few(shape, tokens: int) -> None:
    w = drawn(*shape)
    c = moment(shape[1], tokens) if tokens else torch.zeros(shape[1], shape[1], dtype=torch.float64)
    left, right, values = projection_factors(w, c)
    torch.testing.assert_close(left @ right, w)
    torch.testing.assert_close(left.T @ left, torch.eye(min(shape), dtype=torch.float64))
    used = min(tokens, *shape)
    assert int((values > 0).sum()) == used
    rest = w - left[:, :used] @ right[:used]
    assert torch.trace(rest @ c @ rest.T) <= 1e-12 * torch.trace(w @ c @ w.T).clamp_min(1)
    for rank in range(used, min(shape) + 1):  # unused directions: the SVD of what is left of W
        best = torch.linalg.svdvals(rest)[rank - used :].square().sum()
        torch.testing.assert_close((w - left[:, :rank] @ right[:rank]).square().sum(), best, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0, 6, 20])
def test_full_rank_reproduces_the_weight_whatever_the_scales(shape, spread: int) -> None:
    w, scale = drawn(*shape), torch.logspace(-spread, spread, shape[1], dtype=torch.float64)
    left, right, _, rows = balanced_svd(w, scale)
    torch.testing.assert_close(left @ right, w, rtol=1e-9, atol=1e-9)
    assert torch.isfinite(rows).all()


def test_balancing_keeps_the_product_and_shares_the_scale() -> None:
    left, right = drawn(6, 4) * torch.tensor([1e8, 1.0, 1e-8, 1.0]), drawn(4, 5, seed=1)
    right[3] = 0
    more, less = balanced(left, right)
    torch.testing.assert_close(more @ less, left @ right)
    torch.testing.assert_close(more.norm(dim=0), less.norm(dim=1))


def test_cross_error_tail_is_the_error_of_any_factors() -> None:
    """Left columns that are not orthogonal."""
    left, right, c = drawn(8, 5), drawn(5, 9, seed=2), moment(9, 30)
    tail = cross_error_tail(left, right, c)
    for rank in range(6):
        rest = left[:, rank:] @ right[rank:]
        torch.testing.assert_close(tail[rank], torch.trace(rest @ c @ rest.T), rtol=1e-9, atol=1e-9)


def test_square_root_squares_to_the_ridged_moment() -> None:
    c = moment(6, 40)
    for ridge in (0.0, 0.1):
        root, inverse = square_root(c, ridge)
        torch.testing.assert_close(root @ root, ridged(c, ridge))
        torch.testing.assert_close(root @ inverse, torch.eye(6, dtype=torch.float64))
    few = moment(6, 2)  # singular: the inverse exists all the same
    root, inverse = square_root(few, 0.0)
    torch.testing.assert_close(root @ inverse, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(root @ root, few, rtol=0, atol=1e-10 * float(few.norm()) + 1e-11)
    nothing, same = square_root(torch.zeros(3, 3, dtype=torch.float64), 0.1)
    assert torch.equal(nothing, torch.eye(3, dtype=torch.float64)) and torch.equal(same, nothing)


def test_stable_rank_by_definition() -> None:
    w = drawn(5, 7)
    assert stable_rank(w) == pytest.approx(float(w.square().sum() / torch.linalg.svdvals(w)[0] ** 2))
    assert stable_rank(torch.zeros(3, 4)) == 0 and stable_rank(torch.ones(3, 4).double()) == pytest.approx(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_interpolative_takes_columns_and_fits_the_rest(shape) -> None:
    w = drawn(*shape)
    for rank in range(min(shape) + 1):
        left, right = interpolative(w, rank)
        columns, independent = chosen_columns(w, rank)
        assert torch.equal(left, w[:, columns]) and len(set(columns)) == independent == rank
        torch.testing.assert_close((left @ right)[:, columns], left)
        assert ((w - left @ right).T @ left).abs().max() < 1e-10 if rank else not left.numel()
    torch.testing.assert_close(left @ right, w)


def test_interpolative_of_a_matrix_of_low_rank_is_exact_and_does_not_amplify_noise() -> None:
    w = drawn(9, 3) @ drawn(3, 8, seed=1)
    for rank in (3, 5, 8):
        left, right = interpolative(w, rank)
        torch.testing.assert_close(left @ right, w)
        assert right.abs().max() < 10 and chosen_columns(w, rank)[1] == 3
    left, right = interpolative(torch.zeros(4, 5, dtype=torch.float64), 2)
    assert not left.any() and not right.any()
