"""Every family, on a tiny model of its own: what is a site, who shares an input, and the way to a saved folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import lowrank_core
from lowrank_core.jobs import finish
from lowrank_core.models.blocks import BlockRunner
from lowrank_core.models.dense import DENSE, sizes
from lowrank_core.models.families import FAMILIES, family_of
from lowrank_core.models.loading import LoadedModel, load_model
from lowrank_core.models.sites import weight_of
from lowrank_core.models.surgery import factored, put, share_copy
from lowrank_core.store import Store
from lowrank_core.study import compress, steps
from lowrank_core.study.anchored import fitted
from lowrank_core.study.build import Workbench
from lowrank_core.study.recipe import PRESETS, Recipe, recipe_of
from tests.zoo import KINDS, Kind, tiny_of

IDS = torch.arange(24).view(2, 12) * 7 % 300
TYPES = tuple(KINDS)


@dataclass(frozen=True)
class Case:
    """One tiny model, its statistics at hand."""

    model_type: str
    kind: Kind
    bench: Workbench
    recipe: Recipe

    @property
    def loaded(self) -> LoadedModel:
        return self.bench.loaded

    @property
    def model(self) -> nn.Module:
        return self.loaded.model


@pytest.fixture(scope="module", params=TYPES)
def case(request, tmp_path_factory, tiny_file) -> Case:
    folder = tiny_of(request.param, tmp_path_factory.mktemp(request.param))
    recipe = Recipe(model=str(folder), text=str(tiny_file), windows=6, window=16, probe_windows=2, ratio=0.4)
    bench = compress.open_workbench(recipe, Store(tmp_path_factory.mktemp("store")), "cpu")
    finish(bench.calibrate())
    return Case(request.param, KINDS[request.param], bench, recipe)


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    """Equal up to the order of float32 sums, which two blocks of random weights make some larger."""
    assert (one - other).norm() < 2e-4 * other.norm()


def test_every_row_has_a_tiny_model() -> None:
    readme = Path(lowrank_core.__file__).parents[1].joinpath("README.md").read_text("utf-8")
    named = [t for family in FAMILIES for t in family.model_types]
    assert len(named) == len(set(named)) and set(named) < set(KINDS)
    for family in FAMILIES:
        assert family.name in readme
        assert set(family.roles.values()) <= set(family.groups) and set(family.carries) <= set(family.roles.values())


def test_sites(case: Case) -> None:
    anatomy = case.loaded.anatomy
    family = family_of(case.model_type)
    assert anatomy.family == (family.name if family else "generic") and len(anatomy.block_paths) == 2
    assert [(s.block, s.role) for s in anatomy.sites] == [(b, r) for b in range(2) for r in case.kind.roles]
    for site in anatomy.sites:
        module = case.model.get_submodule(site.path)
        assert isinstance(module, DENSE) and sizes(module) == (site.d_out, site.d_in) == weight_of(module).shape
        assert site.path.startswith(anatomy.block_paths[site.block]) and site.bias == (module.bias is not None)
        x = torch.randn(3, site.d_in)
        expected = nn.functional.linear(x, weight_of(module).float(), module.bias)
        torch.testing.assert_close(module(x), expected, rtol=1e-5, atol=1e-5)


def test_experts_are_skipped_and_said_so(case: Case) -> None:
    anatomy = case.loaded.anatomy
    assert anatomy.skipped == (tuple(f"{p}.mlp" for p in anatomy.block_paths) if case.kind.mixture else ())
    assert case.bench.body.note == anatomy.note and ("experts of 2 blocks" in anatomy.note) == case.kind.mixture


def test_tied_weights_and_heads_are_never_sites(case: Case) -> None:
    head = case.model.get_output_embeddings().weight
    assert case.model.config.tie_word_embeddings == (head is case.model.get_input_embeddings().weight)
    inside = {id(case.model.get_submodule(s.path).weight) for s in case.loaded.anatomy.sites}
    assert id(head) not in inside and id(case.model.get_input_embeddings().weight) not in inside


def test_input_groups(case: Case) -> None:
    seen, model, anatomy = {}, case.model, case.loaded.anatomy
    handles = [
        model.get_submodule(s.path).register_forward_pre_hook(
            lambda m, args, p=s.path: seen.__setitem__(p, args[0].flatten(0, -2))
        )
        for s in anatomy.sites
    ]
    try:
        logits(model)
    finally:
        for handle in handles:
            handle.remove()
    groups = list(anatomy.groups.values())
    for sites in groups:
        assert all(torch.equal(seen[s.path], seen[sites[0].path]) for s in sites)
    if anatomy.family not in ("generic", "Falcon"):  # whose sites may share an input without its being known
        leaders = [seen[sites[0].path] for sites in groups]
        assert not any(a.shape == b.shape and torch.equal(a, b) for i, a in enumerate(leaders) for b in leaders[:i])


@torch.no_grad()
def test_blocks_run_one_by_one(case: Case) -> None:
    runner, whole = BlockRunner(case.model, case.loaded.anatomy.block_paths), logits(case.model)
    hidden = runner.embed(IDS)
    for index in range(2):
        torch.testing.assert_close(runner.logits(IDS, index, hidden), whole, rtol=1e-5, atol=1e-5)
        hidden = runner.step(index, hidden, IDS)


def test_full_rank_reproduces_the_logits(case: Case) -> None:
    model = share_copy(case.model)
    for site in case.loaded.anatomy.sites:
        linear = model.get_submodule(site.path)
        u, s, v = torch.linalg.svd(weight_of(linear), full_matrices=False)
        put(model, site.path, factored(linear, u * s.sqrt(), s.sqrt()[:, None] * v))
    close(logits(model), logits(case.model))


@torch.no_grad()
def test_what_is_said_of_the_residual_stream(case: Case) -> None:
    """With what `carries` names set to δ, or to nothing, the block gives its input plus δ, or its input."""
    anatomy = case.loaded.anatomy
    if not anatomy.carries or case.kind.mixture:  # experts add something, too
        pytest.skip("nothing is said of it")
    runner = BlockRunner(case.model, anatomy.block_paths)
    hidden = runner.embed(IDS)
    delta = torch.randn(hidden.shape[-1], generator=torch.Generator().manual_seed(0))
    adding = [s for s in anatomy.sites if s.block == 0 and s.role in anatomy.carries]
    for chosen in (None, *adding):
        handles = [
            case.model.get_submodule(s.path).register_forward_hook(
                lambda m, args, output, s=s, chosen=chosen: output * 0 + (delta if s is chosen else 0)
            )
            for s in adding
        ]
        try:
            after = runner.step(0, hidden, IDS)
        finally:
            for handle in handles:
                handle.remove()
        torch.testing.assert_close(after - hidden, (delta if chosen else 0 * delta).expand_as(hidden))


@torch.no_grad()
def test_what_is_said_of_the_last_norm(case: Case) -> None:
    """Fitting its gains is least squares on what it gives: what is left over is orthogonal to it, in every channel."""
    anatomy = case.loaded.anatomy
    if anatomy.norm is None:
        pytest.skip("nothing is said of it")
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(2, 9, 32, generator=generator)
    other = dense + 0.5 * torch.randn(2, 9, 32, generator=generator)
    norm = case.model.get_submodule(anatomy.norm)
    made = fitted(norm, [dense], [other], anatomy.norm_plus)
    wanted, given = norm(dense).double(), made(other).double()
    cosine = ((wanted - given) * given).sum((0, 1)) / given.square().sum((0, 1))
    assert cosine.abs().max() < 1e-4 and not torch.equal(made.weight, norm.weight)
    close(fitted(norm, [dense], [dense], anatomy.norm_plus)(other), norm(other))


def test_gradients_reach_every_site(case: Case) -> None:
    finish(case.bench.collect_fisher())
    for site in case.loaded.anatomy.sites:
        found = case.bench.store.read(case.bench.source.fisher(site.path)).arrays
        assert found["output_gram"].shape == (site.d_out, site.d_out) and found["output_gram"].trace() > 0


@pytest.mark.parametrize("preset", [None, "best"])
def test_calibrate_compress_save_reload(case: Case, preset: str | None, tmp_path) -> None:
    values = {**case.recipe.model_dump(exclude_unset=True), **(PRESETS[preset] if preset else {})}
    compressed = compress.run(recipe_of(values), case.bench.store, loaded=case.loaded)
    assert compressed.ratio_achieved >= 0.4
    model, expected = compressed.loaded.model, logits(compressed.loaded.model)
    assert torch.isfinite(expected).all() and not torch.allclose(expected, logits(case.model), atol=1e-3)
    steps.save(compressed, tmp_path / "made", compressed.recipe.storage)
    again = load_model(tmp_path / "made", "cpu")
    close(logits(again.model), expected)
    assert again.anatomy.sites == case.loaded.anatomy.sites
    assert again.parameters <= compressed.parameters_before
    steps.save(compressed, tmp_path / "merged", "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged/config.json").read_text())
    merged = load_model(tmp_path / "merged", "cpu")
    close(logits(merged.model), logits(model))
    kinds = [type(case.model.get_submodule(s.path)) for s in case.loaded.anatomy.sites]
    assert kinds == [type(merged.model.get_submodule(s.path)) for s in case.loaded.anatomy.sites]


def test_bos_stands_in_front_of_windows_where_the_row_demands_it(case: Case, tiny_file) -> None:
    family = family_of(case.model_type)
    demanded = bool(family and family.bos)
    assert demanded == case.model_type.startswith("gemma")
    bos = case.loaded.tokenizer.bos_token_id
    assert (case.bench.windows[:, 0] == bos).all() if demanded else (case.bench.windows[:, 0] != bos).any()
    setting = case.bench.study.setting(6)
    assert setting.bos == demanded and ("BOS in front" in str(setting)) == demanded
    measured = finish(compress.evaluate.steps(case.bench, case.bench.study.text, windows=4))
    assert measured.setting.bos == demanded and measured.tokens == 4 * 15
    alone = steps.perplexity(case.model, case.loaded.tokenizer, str(tiny_file), windows=4, window=16)
    assert alone.nll == measured.nll and alone.setting.bos == demanded
