"""What a cut costs token by token, against its definition: ½ E[(gᵀ Δ x)²]."""

import pytest
import torch

from lowrank_core.calibration.prices import CutPrices, Prices
from lowrank_core.errors import NonFinite


def drawn(dtype=torch.float64) -> tuple[torch.Tensor, ...]:
    """left (6, 4), right (4, 5), inputs (2, 30, 5) and gradients (2, 30, 6)."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 4), (4, 5), (2, 30, 5), (2, 30, 6))
    return tuple(torch.randn(*s, dtype=torch.float64, generator=generator).to(dtype) for s in shapes)


def by_definition(rests, x, g, mean=None) -> torch.Tensor:
    """Of W − Ŵ at each rank, rank rising; a greater cut never counts as the cheaper one."""
    x = x.flatten(0, 1) - (0 if mean is None else mean)
    found = torch.stack([0.5 * (g.flatten(0, 1) * (x @ rest.T)).sum(1).square().mean() for rest in rests])
    return found.flip(0).cummax(0).values.flip(0)


MEAN = torch.linspace(-1, 2, 5, dtype=torch.float64)
every_mean = pytest.mark.parametrize("mean", [None, MEAN], ids=["plain", "centred"])


@every_mean
def test_the_price_of_every_rank_is_the_mean_square_of_what_the_cut_does_to_the_loss(mean) -> None:
    left, right, x, g = drawn()
    prices = Prices(left, right, mean)
    for i in range(2):
        prices.add(x[i : i + 1], g[i : i + 1], "here")
    found = prices.loss()
    torch.testing.assert_close(found, by_definition([left[:, r:] @ right[r:] for r in range(5)], x, g, mean))
    assert found[-1] == 0 and (found[:-1] >= found[1:]).all() and found[0] > 0


@every_mean
def test_cuts_made_one_by_one_are_priced_alike(mean) -> None:
    left, right, x, g = drawn()
    rests = [left[:, r:] @ right[r:] for r in (0, 2, 3, 4)]
    prices = CutPrices(rests, mean)
    for i in range(2):
        prices.add(x[i : i + 1], g[i : i + 1], "here")
    torch.testing.assert_close(prices.loss(), by_definition(rests, x, g, mean), rtol=1e-5, atol=1e-9)


def test_a_greater_cut_is_never_the_cheaper_one() -> None:
    """The first direction alone cancels: cutting both is free, and is still priced at what cutting one costs."""
    left, right = torch.ones(1, 2), torch.tensor([[1.0], [-1.0]])
    prices, cuts = Prices(left, right), CutPrices([left @ right, left[:, 1:] @ right[1:], torch.zeros(1, 1)])
    for p in (prices, cuts):
        p.add(torch.full((1, 3, 1), 2.0), torch.ones(1, 3, 1), "here")
        assert p.loss().tolist() == [2.0, 2.0, 0.0]


@every_mean
def test_the_drift_of_every_rank_is_what_the_cut_does_to_each_window_to_first_order(mean) -> None:
    left, right, x, g = drawn()
    rests = [left[:, r:] @ right[r:] for r in range(5)]
    wanted = -torch.stack([((x - (0 if mean is None else mean)) @ rest.T * g).sum((1, 2)) for rest in rests], 1)
    prices, cuts = Prices(left, right, mean), CutPrices(rests, mean)
    for p in (prices, cuts):
        for i in range(2):
            p.drift(x[i : i + 1], g[i : i + 1], "here")
        assert p.drifts().shape == (2, 5)
        torch.testing.assert_close(p.drifts(), wanted, rtol=1e-5, atol=1e-5)


def test_half_precision_is_summed_in_single() -> None:
    left, right, x, g = drawn(torch.bfloat16)
    prices = Prices(left, right)
    prices.add(x, g, "here")
    wide = [t.double() for t in (left, right, x, g)]
    wanted = by_definition([wide[0][:, r:] @ wide[1][r:] for r in range(5)], *wide[2:])
    torch.testing.assert_close(prices.loss(), wanted, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("make", [lambda a, b: Prices(a, b), lambda a, b: CutPrices([a @ b])])
def test_gradients_that_are_no_numbers_are_named(make) -> None:
    left, right, x, g = drawn()
    g[1, 3, 2] = float("inf")
    with pytest.raises(NonFinite, match="blocks.1.q"):
        make(left, right).add(x, g, "blocks.1.q")
