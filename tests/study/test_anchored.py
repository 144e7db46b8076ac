"""The anchored walk: factors made block by block on what the model compressed so far gives."""

import pytest
import torch

from lowrank_core.calibration.texts import read_text
from lowrank_core.errors import NonFinite
from lowrank_core.jobs import finish
from lowrank_core.methods import METHODS
from lowrank_core.models.surgery import share_copy
from lowrank_core.modules import FactoredLinear
from lowrank_core.study import anchored, compress
from lowrank_core.study.recipe import Recipe, Walk
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan

IDS = torch.arange(48).view(2, 24) * 7 % 384


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def plan_of(bench, recipe: Recipe, rank) -> Plan:
    """A plan whose ranks are a number, or a function of the unit."""
    units = units_of(bench.loaded.anatomy.sites, recipe)
    return Plan({u.path: rank(u) if callable(rank) else rank for u in units})


def product(module) -> torch.Tensor:
    """What a module multiplies its input by."""
    return module(torch.eye(module.in_features)).T.detach()


def calibration_nll(bench, model) -> float:
    return compress.perplexity(model, bench.windows, bench.study.setting(len(bench.windows))).nll


@pytest.mark.parametrize("method", ["two-sided", "asvd-i", "joint"])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_at_full_rank_the_walk_is_the_dense_model(bench, recipe_of, method: str, beta: float) -> None:
    recipe = recipe_of(method=method, walk=Walk(beta=beta, carry=0.0))
    model = compress.compress(bench, recipe, plan_of(bench, recipe, lambda u: u.max_rank))
    torch.testing.assert_close(logits(model), logits(bench.loaded.model), rtol=5e-3, atol=5e-3)


def test_at_full_rank_there_is_no_error_to_carry(bench, recipe_of) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk(beta=0.5, carry=1.0))
    model = compress.compress(bench, recipe, plan_of(bench, recipe, lambda u: u.max_rank))
    torch.testing.assert_close(logits(model), logits(bench.loaded.model), rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_first_groups_inputs_are_the_dense_ones(bench, recipe_of, beta: float) -> None:
    """Nothing before it is compressed: its factors are plain two-sided ones, whatever β is."""
    recipe = recipe_of(method="two-sided", walk=Walk(beta=beta, ridge=1e-3))
    plan = plan_of(bench, recipe, 6)
    walked = compress.compress(bench, recipe, plan)
    plain = compress.compress(bench, recipe_of(method="two-sided", parameters={"ridge": 1e-3}), plan)
    for role in "qkv":
        path = f"model.layers.0.self_attn.{role}_proj"
        torch.testing.assert_close(
            product(walked.get_submodule(path)), product(plain.get_submodule(path)), rtol=1e-3, atol=1e-4
        )
    after = "model.layers.1.mlp.up_proj"
    assert (product(walked.get_submodule(after)) - product(plain.get_submodule(after))).abs().max() > 1e-3


def test_what_is_anchored_to_decides_the_factors(bench, recipe_of) -> None:
    """β and carry change what comes after the first compressed layer, and nothing before."""
    made = {}
    for beta, carry in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)):
        recipe = recipe_of(method="two-sided", walk=Walk(beta=beta, carry=carry))
        made[beta, carry] = compress.compress(bench, recipe, plan_of(bench, recipe, 5))

    def apart(a, b, path: str) -> float:
        return float((product(made[a].get_submodule(path)) - product(made[b].get_submodule(path))).abs().max())

    down = "model.layers.0.mlp.down_proj"
    assert apart((0.0, 0.0), (1.0, 0.0), down) > 1e-3 and apart((1.0, 0.0), (1.0, 1.0), down) > 1e-3
    first = "model.layers.0.self_attn.q_proj"
    assert apart((0.0, 0.0), (1.0, 0.0), first) < 1e-3 and apart((1.0, 0.0), (1.0, 1.0), first) < 1e-6


@pytest.mark.parametrize("storage", ["factored", "pivoted"])
@pytest.mark.parametrize("method", ["two-sided", "asvd-i", "joint"])
def test_ranks_are_the_plans_and_dense_sites_stay(bench, recipe_of, method: str, storage: str) -> None:
    recipe = recipe_of(method=method, storage=storage, walk=Walk())
    plan = plan_of(bench, recipe, lambda u: None if u.block == 1 or "o" in u.role.split("+") else 3 + u.block)
    model = compress.compress(bench, recipe, plan)
    for path, rank in plan.site_ranks(units_of(bench.loaded.anatomy.sites, recipe)).items():
        module = model.get_submodule(path)
        assert getattr(module, "rank", None) == rank
        if rank is None:
            assert module.weight is bench.loaded.model.get_submodule(path).weight
    assert torch.isfinite(logits(model)).all()
    everything = Plan(dict.fromkeys(plan.ranks))
    compress.apply(bench, recipe, everything, model)
    assert torch.equal(logits(model), logits(bench.loaded.model))


def test_walking_again_over_a_walked_model_is_walking_anew(bench, recipe_of) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk())
    first, second = plan_of(bench, recipe, 4), plan_of(bench, recipe, lambda u: 9 - u.block)
    model = compress.compress(bench, recipe, first)
    compress.apply(bench, recipe, second, model)
    assert torch.equal(logits(model), logits(compress.compress(bench, recipe, second)))


def hooks(model) -> set[str]:
    """The modules that something hangs on."""
    return {
        name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m)
    }


def test_a_walk_closed_midway_leaves_the_dense_model_alone(bench, recipe_of) -> None:
    before, recipe = logits(bench.loaded.model), recipe_of(method="two-sided", walk=Walk())
    finish(bench.collect_fisher())
    model = share_copy(bench.loaded.model)
    modules = dict(bench.loaded.model.named_modules())
    hooked = hooks(bench.loaded.model)  # other tests share this model
    job = anchored.walk(bench, recipe, plan_of(bench, recipe, 3), model)
    for progress in job:
        if progress.item == "block 0":
            job.close()
            break
    assert isinstance(model.get_submodule("model.layers.0.self_attn.q_proj"), FactoredLinear)
    assert torch.equal(logits(bench.loaded.model), before)
    assert dict(bench.loaded.model.named_modules()) == modules
    assert hooks(model) <= hooked == hooks(bench.loaded.model)


def test_progress_counts_up_to_its_end(bench, recipe_of) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk())
    finish(bench.collect_fisher())
    steps = list(anchored.walk(bench, recipe, plan_of(bench, recipe, 3), share_copy(bench.loaded.model)))
    assert {s.stage for s in steps} == {"walk"} and steps[-1].done == steps[-1].total
    assert all(a.done <= b.done for a, b in zip(steps, steps[1:], strict=False))


def test_a_recipe_runs_with_a_walk_and_is_measured_under_its_own_name(
    recipe_of, shared_store, loaded, tiny_file
) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk(beta=0.5))
    plain = recipe_of(method="two-sided")
    walked, straight = (compress.run(r, shared_store, loaded=loaded) for r in (recipe, plain))
    assert walked.plan == straight.plan and walked.predicted_nll == straight.predicted_nll
    assert walked.parameters_after == walked.loaded.parameters
    bench, text = compress.open_workbench(recipe, shared_store, loaded=loaded), read_text(tiny_file)
    keys = {
        bench.study.evaluation_key(r, walked.plan, text, 5).digest
        for r in (
            recipe,
            plain,
            recipe_of(method="two-sided", walk=Walk(beta=0.6)),
            recipe_of(method="two-sided", walk=Walk(carry=0)),
        )
    }
    assert len(keys) == 4
    found = compress.evaluate(bench, text, walked.loaded.model, recipe, walked.plan, windows=5)
    assert bench.study.evaluation(recipe, walked.plan, text, 5) == found
    assert bench.study.evaluation(plain, walked.plan, text, 5) is None
    # made anew from recipe and plan alone, it is the same model
    again = compress.compress(bench, recipe, walked.plan)
    assert torch.equal(logits(again), logits(walked.loaded.model))


def test_a_role_may_have_a_method_of_its_own(bench, recipe_of) -> None:
    """q and k cut by their inputs alone, the others two-sided: in the walk and without it."""
    recipe = recipe_of(method="two-sided", role_methods={"q": "asvd-i", "k": "asvd-i"})
    units = {u.path: u for u in units_of(bench.loaded.anatomy.sites, recipe)}
    assert {u.method for u in units.values() if u.role in "qk"} == {"asvd-i"}
    assert {u.method for u in units.values() if u.role not in "qk"} == {"two-sided"}
    plan, q, v = plan_of(bench, recipe, 5), "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"
    mixed = compress.compress(bench, recipe, plan)
    inner, outer = (compress.compress(bench, recipe_of(method=m), plan) for m in ("asvd-i", "two-sided"))
    assert torch.equal(product(mixed.get_submodule(q)), product(inner.get_submodule(q)))
    assert torch.equal(product(mixed.get_submodule(v)), product(outer.get_submodule(v)))
    walked = compress.compress(bench, recipe.model_copy(update={"walk": Walk(ridge=1e-6)}), plan)
    torch.testing.assert_close(product(walked.get_submodule(q)), product(inner.get_submodule(q)), rtol=1e-2, atol=1e-2)
    joint = recipe_of(method="asvd-i", role_methods={"gate": "joint", "up": "joint"})
    assert [u.path for u in units_of(bench.loaded.anatomy.sites, joint)][4] == "0.gate_up"
    assert all(METHODS[u.method].joint == (len(u.sites) > 1) for u in units_of(bench.loaded.anatomy.sites, joint))


@pytest.mark.parametrize("rank", [6, 10])
def test_the_walk_is_worth_it_on_the_calibration_text(bench, recipe_of, rank: int) -> None:
    recipe = recipe_of(method="two-sided", walk=Walk(beta=0.5, carry=0.5))
    plan = plan_of(bench, recipe, rank)
    walked = calibration_nll(bench, compress.compress(bench, recipe, plan))
    plain = calibration_nll(bench, compress.compress(bench, recipe_of(method="two-sided"), plan))
    assert walked < plain


def test_inputs_that_are_all_zero_keep_the_weights_own_factors(bench, recipe_of) -> None:
    unit = units_of(bench.loaded.anatomy.sites, recipe_of())[6]
    nothing = anchored.Moments.zeros(unit, True, torch.device("cpu"))
    nothing.tokens = 24
    left, right = anchored.factors(bench, unit, unit.max_rank, nothing, Walk())
    torch.testing.assert_close(left @ right, bench.unit_weight(unit), rtol=1e-8, atol=1e-8)


def test_moments_that_are_no_numbers_are_refused_by_name(bench, recipe_of) -> None:
    unit = units_of(bench.loaded.anatomy.sites, recipe_of())[6]
    broken = anchored.Moments.zeros(unit, False, torch.device("cpu"))
    broken.tokens, broken.own[0, 0] = 24, float("nan")
    with pytest.raises(NonFinite, match=unit.path):
        anchored.factors(bench, unit, 3, broken, Walk())


def test_a_walk_does_not_centre_and_pays_for_no_bias(recipe_of, shared_store, loaded) -> None:
    recipe = recipe_of(method="asvd-i", parameters={"centre": "yes"}, walk=Walk())
    found = compress.run(recipe, shared_store, loaded=loaded)
    assert found.parameters_after == found.loaded.parameters
    assert not any(u.biased for u in found.units)
