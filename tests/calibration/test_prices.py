"""What a cut costs token by token, against its definition."""

import torch

from lowrank_core.calibration.fisher import Prices


def test_the_price_of_every_rank_is_the_mean_square_of_what_the_cut_does_to_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 4), (4, 5), (2, 30, 5), (2, 30, 6))
    left, right, x, g = (torch.randn(*s, dtype=torch.float64, generator=generator) for s in shapes)
    prices = Prices(left, right)
    for i in range(2):
        prices.add(x[i : i + 1], g[i : i + 1], "here")
    found = prices.loss()
    wanted = []
    for rank in range(5):
        change = left[:, rank:] @ right[rank:]
        wanted.append(0.5 * (g.flatten(0, 1) * (x.flatten(0, 1) @ change.T)).sum(1).square().mean())
    torch.testing.assert_close(found, torch.stack(wanted).flip(0).cummax(0).values.flip(0))
    assert found[-1] == 0 and (found[:-1] >= found[1:]).all()
