"""The last norm's fit: the least squares it says it is, and nothing left behind when another plan comes."""

import torch
from torch import nn

from lowrank_core.study import anchored, compress
from lowrank_core.study.anchored import fitted
from lowrank_core.study.recipe import Walk
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan


class Scale(nn.Module):
    """A norm without the norm: its gains alone."""

    def __init__(self, gains: torch.Tensor):
        super().__init__()
        self.weight = nn.Parameter(gains, requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_gains_are_the_least_squares_fit() -> None:
    generator = torch.Generator().manual_seed(0)
    dense, error = (torch.randn(2, 5, 4, generator=generator) for _ in range(2))
    compressed = 2 * dense + error
    compressed[..., 3] = 0  # silent: it keeps its gain
    gains = torch.tensor([1.0, 2.0, 0.5, 3.0])
    made = fitted(Scale(gains), [dense], [compressed])
    for c in range(3):
        fit = torch.linalg.lstsq(compressed[..., c].reshape(-1, 1), (gains[c] * dense[..., c]).reshape(-1, 1)).solution
        torch.testing.assert_close(made.weight[c], fit[0, 0])
    assert made.weight[3] == 3.0


def test_another_plan_takes_the_fit_back(bench, recipe_of) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk())
    units = units_of(bench.loaded.anatomy.sites, recipe)
    model = compress.compress(bench, recipe, Plan({u.path: 4 for u in units}))
    dense = bench.loaded.model.model.norm.weight
    assert not torch.equal(model.model.norm.weight, dense)
    compress.apply(bench, recipe_of(method="asvd-i"), Plan({u.path: None for u in units}), model)
    assert model.model.norm.weight is dense
    other = recipe_of(method="two-sided", walk=Walk(norm=False))
    plain = compress.compress(bench, other, Plan({u.path: 4 for u in units}))
    assert plain.model.norm.weight is dense


def test_the_same_walk_is_walked_once(bench, recipe_of, monkeypatch) -> None:
    calls, real = [], anchored.walk
    monkeypatch.setattr(anchored, "walk", lambda *a: calls.append(1) or real(*a))
    recipe = recipe_of(method="two-sided", storage="pivoted", walk=Walk())
    plan = Plan({u.path: 5 for u in units_of(bench.loaded.anatomy.sites, recipe)})
    bench.walked = None
    first, again = (compress.compress(bench, recipe, plan) for _ in range(2))
    assert len(calls) == 1
    ids = torch.arange(20)[None]
    assert torch.equal(first(input_ids=ids).logits, again(input_ids=ids).logits)
    compress.compress(bench, recipe, Plan({**plan.ranks, next(iter(plan.ranks)): 6}))
    compress.compress(bench, recipe_of(method="two-sided", storage="pivoted", walk=Walk(carry=0)), plan)
    assert len(calls) == 3
