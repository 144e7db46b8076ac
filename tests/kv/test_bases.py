"""Bases of keys and values, and how many latents each block gets: identities, not numbers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lowrank_core.errors import BadValue, BudgetNotFeasible
from lowrank_core.kv.methods import KV_METHODS, KVStatistics, bases
from lowrank_core.kv.plan import KV_ALLOCATORS, KVPlan, KVUnit, plan_latents, units_of_blocks
from lowrank_core.modules import LatentLinear

from .models import SUPPORTED, latent_copy, model_of, places_of


def statistics(keys: int = 6, values: int = 4, tokens: int = 400, seed: int = 0) -> KVStatistics:
    """Of random outputs with a mean and gradients, both correlated."""
    generator = torch.Generator().manual_seed(seed)
    d = keys + values

    def random(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    y = random(tokens, d) @ random(d, d) + random(d)
    g = 0.1 * random(tokens, d) @ random(d, d)
    weight = random(d, 12)
    scaled = (weight * random(12).abs()) @ weight.T
    return KVStatistics(keys, tokens, y.mean(0), y.T @ y / tokens, g.T @ g / tokens, y, g, scaled)


def error(s: KVStatistics, basis, rank: int) -> torch.Tensor:
    """(tokens, w) what the latents lose."""
    y = s.sample[:, slice(*basis.rows)] - basis.mean
    return y - y @ (basis.decoder[:, :rank] @ basis.encoder[:rank]).T


@pytest.mark.parametrize("key", KV_METHODS)
def test_all_directions_lose_nothing_and_fewer_are_never_predicted_to_be_better(key: str) -> None:
    s = statistics()
    for basis in bases(s, KV_METHODS[key], 12):
        width = basis.rows[1] - basis.rows[0]
        assert error(s, basis, width).abs().max() < 1e-9
        assert torch.allclose(basis.encoder @ basis.decoder, torch.eye(width).double(), atol=1e-9)
        assert len(basis.loss) == width + 1 and (basis.loss.diff() <= 1e-12).all() and basis.loss[-1].abs() < 1e-12


def test_asvd_i_loses_least_of_all_methods_in_squared_error() -> None:
    s = statistics()
    for index in (0, 1):
        lost = {k: error(s, bases(s, KV_METHODS[k], 12)[index], 2).square().sum() for k in KV_METHODS if k != "joint"}
        assert all(lost["asvd-i"] <= other * (1 + 1e-9) for other in lost.values())


def test_shared_latents_lose_no_more_of_the_loss_than_as_many_apart() -> None:
    """In the metric of the gradient's moment, centred alike: any split is one of the joint basis's choices."""
    s = statistics()
    centred = KVStatistics(
        s.keys, s.tokens, 0 * s.mean, s.gram - torch.outer(s.mean, s.mean), s.output_gram, s.sample, s.sample_gradient
    )
    (joint,), (k, v) = (bases(centred, KV_METHODS[m], 12) for m in ("joint", "two-sided"))
    metric = centred.output_gram + 1e-2 * centred.output_gram.diagonal().mean() * torch.eye(10)

    def lost(delta: torch.Tensor) -> float:
        return float((delta.T @ centred.gram @ delta * metric).sum())

    def delta(*parts) -> torch.Tensor:
        whole = torch.eye(10).double()
        for basis, rank in parts:
            rows = slice(*basis.rows)
            whole[rows, rows] -= (basis.decoder[:, :rank] @ basis.encoder[:rank]).T
        return whole

    for total in range(2, 9):
        apart = min(lost(delta((k, r), (v, total - r))) for r in range(max(0, total - 4), min(6, total) + 1))
        assert lost(delta((joint, total))) <= apart * (1 + 1e-9)


@pytest.mark.parametrize("key", KV_METHODS)
def test_a_group_of_heads_has_the_basis_of_its_own_outputs(key: str) -> None:
    s = statistics()  # two heads of three keys and two values
    for group, own in enumerate(([0, 1, 2, 6, 7], [3, 4, 5, 8, 9])):
        alone = KVStatistics(
            3,
            s.tokens,
            s.mean[own],
            *(m[own][:, own] for m in (s.gram, s.output_gram)),
            *(m[:, own] for m in (s.sample, s.sample_gradient)),
            s.scaled[own][:, own],
        )
        wanted = bases(alone, KV_METHODS[key], 12)
        found = bases(s, KV_METHODS[key], 12, groups=2)[group * len(wanted) :]
        for a, b in zip(found, wanted, strict=False):
            assert torch.allclose(a.loss, b.loss, atol=1e-12) and torch.allclose(
                a.decoder @ a.encoder, torch.eye(len(b.mean)).double(), atol=1e-9
            )
            assert torch.allclose(a.decoder[:, :2] @ a.encoder[:2], b.decoder[:, :2] @ b.encoder[:2], atol=1e-9)


def units(sizes=((8, 6), (10, 20), (16, 7)), context: int = 512) -> tuple[KVUnit, ...]:
    return tuple(KVUnit(f"{i}.kv", i, (0, d), d_in, context, True) for i, (d, d_in) in enumerate(sizes))


def curves(of, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for u in of:
        falling = np.sort(rng.exponential(size=u.max_rank + 1) ** 3)[::-1]
        falling[-1] = 0
        made[u.path] = falling
    return made


@pytest.mark.parametrize("allocator", KV_ALLOCATORS)
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_no_plan_stores_more_than_was_asked(allocator: str, ratio: float) -> None:
    of = units()
    for seed in range(5):
        plan = plan_latents(of, curves(of, seed), ratio, allocator)
        assert plan.ratio(of) >= ratio - 1e-9
        assert all(r is None or 1 <= r <= u.max_rank for u in of for r in [plan.ranks[u.path]])


def test_what_reads_less_than_it_gives_is_never_dense() -> None:
    of = units()
    plan = plan_latents(of, curves(of), 0.01, "waterfill")
    assert plan.ranks["0.kv"] == 6 and plan.ranks["2.kv"] == 7  # lossless at the width of their input


def test_a_block_whose_latents_add_more_than_they_save_stays_dense() -> None:
    short, long = units(((10, 16),), context=2), units(((10, 16),), context=512)
    assert short[0].cost(9) == 10 and long[0].cost(9) == 9  # one number saved per token, for a bias of ten
    assert short[0].cost(5) == 5  # there the weights shrink as well


def test_ratio_zero_stores_everything_and_no_ratio_from_one_on_is_taken() -> None:
    of = units()
    assert set(plan_latents(of, curves(of), 0, "waterfill").ranks.values()) == {None}
    for wrong in (1, 1.5, -0.1, "half", float("nan")):
        with pytest.raises(BadValue, match="KV ratio"):
            plan_latents(of, curves(of), wrong, "waterfill")
    with pytest.raises(BudgetNotFeasible):
        plan_latents(of, curves(of), 0.99, "waterfill")


def test_units_are_the_blocks_that_can_hold_latents() -> None:
    places = places_of(model_of("gemma3-mixed"))
    assert [u.path for u in units_of_blocks(places, KV_METHODS["joint"], 64)] == ["1.kv", "2.kv"]
    assert [u.path for u in units_of_blocks(places, KV_METHODS["asvd-i"], 64)] == ["1.k", "1.v", "2.k", "2.v"]


def test_groups_of_heads_are_units_of_their_own() -> None:
    (place, *_) = places_of(model_of("llama"))
    found = units_of_blocks([place], KV_METHODS["joint"], 64, 1)
    assert [(u.path, u.rows) for u in found] == [("0.kv.0", (0, 8, 16, 24)), ("0.kv.1", (8, 16, 24, 32))]
    assert [u.label for u in found] == ["block 0 · keys and values · heads 0", "block 0 · keys and values · heads 1"]
    assert units_of_blocks([place], KV_METHODS["joint"], 64, 2) == units_of_blocks([place], KV_METHODS["joint"], 64)
    with pytest.raises(BadValue, match="no groups of 3"):
        units_of_blocks([place], KV_METHODS["joint"], 64, 3)


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("heads", [None, 1])
def test_what_a_plan_counts_is_what_layers_and_cache_hold(family: str, joint: bool, heads: int | None) -> None:
    model, copy = model_of(family), latent_copy(model_of(family), 0.5, joint, heads)
    places = places_of(model)
    of = units_of_blocks(places, KV_METHODS["joint" if joint else "asvd-i"], 64, heads)
    of = tuple(replace(u, biased=not place.bias) for u in of for place in places if place.block == u.block)
    plan = KVPlan({u.path: max(1, int(0.5 * u.max_rank)) for u in of})
    _, now = plan.weights(of)
    layers = [m for m in copy.modules() if isinstance(m, LatentLinear)]
    lead = sum(m.lead * m.in_features for m in layers)  # queries of a fused layer
    biases = sum(m.bias.numel() for m in layers) if of[0].biased else 0
    assert now == sum(m.weight.numel() + m.weight_u.numel() + m.pivots.numel() for m in layers) - lead + biases
    assert plan.stored(of) == sum(m.rank for m in layers)
