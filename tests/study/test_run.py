"""The whole way on the tiny model: every method, every allocator, and the identities that tie the steps together."""

import copy

import pytest
import torch

import lowrank_core as lr
from lowrank_core.allocation import ALLOCATORS
from lowrank_core.jobs import finish
from lowrank_core.methods import METHODS
from lowrank_core.models.loading import load_model
from lowrank_core.study import compress, steps
from lowrank_core.study.planning import predicted_nll
from lowrank_core.study.units import units_of
from lowrank_core.types import Plan, Point

IDS = torch.arange(48).view(2, 24) * 7 % 384


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


@pytest.mark.parametrize("allocator", ALLOCATORS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_every_allocator(recipe_of, shared_store, loaded, method: str, allocator: str) -> None:
    dense = logits(loaded.model)
    found = compress.run(recipe_of(method=method, allocator=allocator), shared_store, loaded=loaded)
    assert 0.4 <= found.ratio_achieved + 1e-12 <= 0.42
    model, sites = found.loaded.model, loaded.anatomy.sites
    assert found.parameters_before == loaded.parameters
    assert found.parameters_after == found.loaded.parameters == sum(p.numel() for p in model.parameters())
    removed = found.parameters_before - found.parameters_after
    assert removed == pytest.approx(found.ratio_achieved * sum(s.parameters for s in sites))
    assert found.predicted_nll > 0 and set(found.seconds) == {
        "load",
        "calibrate",
        "spectra",
        "sensitivity",
        "plan",
        "compress",
    }
    assert set(found.plan.ranks) == {u.path for u in found.units} and set(found.ranks) == {s.path for s in sites}
    for path, rank in found.ranks.items():
        assert getattr(model.get_submodule(path), "rank", None) == rank
    assert torch.isfinite(logits(model)).all() and not torch.equal(logits(model), dense)
    assert torch.equal(logits(loaded.model), dense)  # the dense model is as it was


@pytest.mark.parametrize("method", METHODS)
def test_a_compressed_model_is_the_dense_one_with_its_weights_replaced(bench, recipe_of, method: str) -> None:
    recipe, units = recipe_of(method=method), units_of(bench.loaded.anatomy.sites, recipe_of(method=method))
    merged, ranks = copy.deepcopy(bench.loaded.model), {u.path: 6 + u.block for u in units}
    finish(bench.collect_fisher())
    for unit in units:
        cut = (
            METHODS[method]
            .factorize(bench.unit_weight(unit), bench.statistics(unit), unit.settings)
            .cut(6 + unit.block)
        )
        parts = (cut.left @ cut.right).float().split([s.d_out for s in unit.sites])
        for s, part in zip(unit.sites, parts, strict=True):
            merged.get_submodule(s.path).weight.data = part
    torch.testing.assert_close(
        logits(compress.compress(bench, recipe, Plan(ranks))), logits(merged), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("method", METHODS)
def test_applying_another_plan_equals_compressing_anew(bench, recipe_of, method: str) -> None:
    recipe = recipe_of(method=method)
    units = units_of(bench.loaded.anatomy.sites, recipe)
    plans = [
        Plan({u.path: rank(i) for i, u in enumerate(units)})
        for rank in (lambda i: 8, lambda i: None if i % 3 else 5, lambda i: 3 if i % 3 else None, lambda i: 1 + i % 16)
    ]
    model = compress.compress(bench, recipe, plans[0])
    for plan in (*plans[1:], plans[0]):
        compress.apply(bench, recipe, plan, model)
        assert torch.equal(logits(model), logits(compress.compress(bench, recipe, plan)))
    compress.apply(bench, recipe, Plan({u.path: None for u in units}), model)
    assert torch.equal(logits(model), logits(bench.loaded.model))


def test_full_rank_is_the_dense_model(bench, recipe_of) -> None:
    for method in METHODS:
        plan = Plan({u.path: u.max_rank for u in units_of(bench.loaded.anatomy.sites, recipe_of(method=method))})
        torch.testing.assert_close(
            logits(compress.compress(bench, recipe_of(method=method), plan)),
            logits(bench.loaded.model),
            rtol=1e-3,
            atol=1e-3,
        )


def test_everything_that_was_not_replaced_is_shared(bench, recipe_of) -> None:
    paths = [s.path for s in bench.loaded.anatomy.sites if s.role in ("up", "v")]
    model = compress.compress(
        bench, recipe_of(), Plan({s.path: 4 if s.path in paths else None for s in bench.loaded.anatomy.sites})
    )
    dense = {p.data_ptr() for p in bench.loaded.model.parameters()} | {
        b.data_ptr() for b in bench.loaded.model.buffers()
    }
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert (tensor.data_ptr() in dense) != any(name.startswith(p) for p in paths), name
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_two_models_of_one_study_share_their_factors(bench, recipe_of) -> None:
    """Slices of one factorization: a session costs a dict of ranks."""
    path = "model.layers.1.mlp.up_proj"
    first, second = (compress.compress(bench, recipe_of(), Plan({path: rank})).get_submodule(path) for rank in (4, 9))
    assert (
        first.weight.data_ptr() == second.weight.data_ptr() and first.weight_u.data_ptr() == second.weight_u.data_ptr()
    )
    assert first.rank == 4 and second.rank == 9


@pytest.mark.parametrize("method", METHODS)
def test_what_is_stored_gives_the_very_same_plan(recipe_of, store, loaded, method: str) -> None:
    """A first run and one that only reads decide alike, down to the last digit."""
    first, second = (compress.run(recipe_of(method=method), store, loaded=loaded) for _ in range(2))
    assert first.plan == second.plan and first.predicted_nll == second.predicted_nll
    assert torch.equal(logits(first.loaded.model), logits(second.loaded.model))


def test_overrides_and_dense_roles_reach_the_model(recipe_of, shared_store, loaded) -> None:
    recipe = recipe_of(overrides={"model.layers.0.mlp.up_proj": 2}, dense_roles=("q", "k"), ratio=0.3)
    found = compress.run(recipe, shared_store, loaded=loaded)
    assert found.loaded.model.get_submodule("model.layers.0.mlp.up_proj").rank == 2
    assert all(
        isinstance(found.loaded.model.get_submodule(s.path), torch.nn.Linear)
        for s in loaded.anatomy.sites
        if s.role in "qk"
    )
    assert 0.3 <= found.ratio_achieved + 1e-12 < 0.32


def test_a_run_can_be_cancelled_and_taken_up_again(recipe_of, store, loaded) -> None:
    recipe, stages = recipe_of(allocator="strs"), []
    whole = compress.run(recipe, loaded=loaded)  # into the cache folder of this test
    job = compress.run.steps(recipe, store, loaded=loaded)
    for progress in job:
        stages.append(progress.stage)
        if stages.count("sensitivity") == 20:
            job.close()
    assert list(dict.fromkeys(stages)) == ["statistics", "gradients", "probe", "sensitivity"]
    measured = []
    again = finish(compress.run.steps(recipe, store, loaded=loaded), lambda p: measured.append(p.value))
    assert again.plan == whole.plan and again.predicted_nll == whole.predicted_nll
    assert sum(isinstance(v, Point) for v in measured) == 21 * 9


def test_in_16_bit_the_factors_are_measured_as_they_are_saved(tiny, recipe_of, shared_store) -> None:
    found = compress.run(recipe_of(), shared_store, dtype="bfloat16")
    assert {p.dtype for p in found.loaded.model.parameters()} == {torch.bfloat16} and found.element_size == 2


# --- the public names ----------------------------------------------------------------------------------------------


def test_the_single_steps_under_their_public_names(tiny, tiny_file, recipe_of) -> None:
    bench = lr.calibrate(str(tiny), str(tiny_file), windows=12, window=24, probe_windows=4, device="cpu")
    spectra = lr.factorize(bench, "asvd-0", alpha=0.75)
    points = lr.sensitivity(bench, "asvd-0", (0.3, 0.6), alpha=0.75)
    assert {tuple(row) for row in points.values()} == {(0.3, 0.6)} and len(points) == 21
    plan = lr.allocate(bench, spectra, ratio=0.5, points=points, allocator="strs")
    assert 0.5 <= plan.ratio(bench.loaded.anatomy.sites) + 1e-12 < 0.52
    model = lr.compress(bench, recipe_of(method="asvd-0", parameters={"alpha": 0.75}), plan)
    measured = lr.perplexity(model, bench.loaded.tokenizer, str(tiny_file), windows=6, window=24)
    assert measured.setting.windows == 6 and measured.setting.dtype == "float32" and measured.perplexity > 1
    reply = lr.generate(model, bench.loaded.tokenizer, "What is the sky?", max_tokens=5)
    assert isinstance(reply, str) and reply == lr.generate(
        model, bench.loaded.tokenizer, "What is the sky?", max_tokens=5
    )
    assert predicted_nll(plan, spectra) > 0


def test_the_public_names_are_there() -> None:
    for name in (
        "load_model",
        "calibrate",
        "factorize",
        "sensitivity",
        "allocate",
        "compress",
        "perplexity",
        "generate",
        "save",
        "load_compressed",
        "run",
        "METHODS",
        "ALLOCATORS",
        "Recipe",
    ):
        assert name in lr.__all__ and getattr(lr, name) is not None
    with pytest.raises(AttributeError, match="nobody"):
        _ = lr.nobody
    assert lr.load_model is load_model and lr.calibrate is steps.calibrate
