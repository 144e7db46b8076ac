"""The matrix facts: factors of every rank, and errors that are what they say."""

import pytest
import torch

from lowrank_core.linalg import balanced_svd, output_error_tail, projection_factors, scaled_svd, singular_values
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
    torch.testing.assert_close(left * sigma.sqrt() @ rows, w)
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
