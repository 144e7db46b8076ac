"""A model whose factors do not fit in memory: on disk, block by block, it ends as one whose factors do."""

import pytest
import torch

from lowrank_core.errors import LowRankError
from lowrank_core.jobs import finish
from lowrank_core.models.loading import load_model
from lowrank_core.modules import LOW_RANK
from lowrank_core.store import Store
from lowrank_core.study import build, compress, spill
from lowrank_core.study.recipe import PRESETS
from lowrank_core.study.units import units_of

IDS = torch.arange(30).view(2, 15) * 7 % 300
RECIPES = {
    "asvd-i": {},
    "centred": {"parameters": {"centre": 1.0}},
    "pivoted": {"storage": "pivoted"},
    "best": PRESETS["best"],
}


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, use_cache=False).logits


@pytest.fixture
def small_memory(monkeypatch) -> None:
    """What a workbench may hold is less than one unit's factors."""
    monkeypatch.setattr(build, "FACTORS_HELD", 1000)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", RECIPES)
def test_the_same_model_comes_out(tiny, recipe_of, tmp_path, monkeypatch, name: str, dtype: str) -> None:
    recipe = recipe_of(**RECIPES[name])
    expected = compress.run(recipe, Store(tmp_path / "a"), loaded=load_model(tiny, "cpu", dtype))
    monkeypatch.setattr(build, "FACTORS_HELD", 1000)
    loaded, store = load_model(tiny, "cpu", dtype), Store(tmp_path / "b")
    made = compress.run(recipe, store, loaded=loaded, consume=True)
    assert made.ranks == expected.ranks and made.parameters_before == expected.parameters_before
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == "float32" else {"rtol": 0.1, "atol": 0.3}
    torch.testing.assert_close(logits(made.loaded.model), logits(expected.loaded.model), **tolerance)
    assert made.loaded.model is loaded.model  # the dense one was given up
    again = compress.run(recipe, store, loaded=load_model(tiny, "cpu", dtype))
    assert torch.equal(logits(again.loaded.model), logits(made.loaded.model))
    assert {"factors"} <= {kind for kind, _, _ in store.entries()}


def test_factors_are_made_once(tiny, recipe_of, tmp_path, small_memory, monkeypatch) -> None:
    counted, real = [], build.factorize_unit
    monkeypatch.setattr(build, "factorize_unit", lambda unit, *a: counted.append(unit.path) or real(unit, *a))
    made = compress.run(recipe_of(), Store(tmp_path), loaded=load_model(tiny, "cpu"), consume=True)
    assert sorted(counted) == sorted(made.ranks)


def test_where_memory_has_room_a_swap_reads_no_file(tiny, recipe_of, tmp_path, small_memory, monkeypatch) -> None:
    """Factors on disk stay in memory, too, as far as `held` reaches: a swap takes slices of them and copies nothing."""
    recipe, loaded = recipe_of(), load_model(tiny, "cpu")
    units = units_of(loaded.anatomy.sites, recipe)
    for held, kept in ((10**7, True), (2000, False)):
        bench = compress.open_workbench(recipe, Store(tmp_path), loaded=loaded, held=held)
        finish(bench.calibrate())
        finish(bench.spectra(units))
        for unit in units:
            bench.factors(unit, 1)
        read = []
        with monkeypatch.context() as patch:
            patch.setattr(build.spill, "read", lambda *a, to=read, real=spill.read: to.append(a) or real(*a))
            patch.setattr(build, "factorize_unit", lambda *a: pytest.fail("a swap factors nothing again"))
            cuts = [bench.factors(u, 2).left for u in units]
        assert len(read) == (0 if kept else len(units))
        shared = [c.untyped_storage().nbytes() > c.nbytes for c in cuts]
        assert all(shared) if kept else not any(shared)


def test_nothing_of_a_block_outlives_it(tiny, recipe_of, tmp_path, small_memory) -> None:
    """While the model is consumed, blocks that are done have no dense layer left, in neither of the walk's models."""
    recipe, loaded = recipe_of(**PRESETS["best"]), load_model(tiny, "cpu")
    weights = {s.path: s.block for s in loaded.anatomy.sites}
    bytes_of = {p: loaded.model.get_submodule(p).weight.untyped_storage()._weak_ref() for p in weights}
    job = compress.run.steps(recipe, Store(tmp_path), loaded=loaded, consume=True)
    for progress in job:
        if progress.stage == "walk" and progress.item == "block 2":
            break
    ranks = [p for p in weights if isinstance(loaded.model.get_submodule(p), LOW_RANK) and weights[p] < 2]
    alive = [p for p in ranks if not torch.UntypedStorage._expired(bytes_of[p])]
    job.close()
    assert len(ranks) > 5 and not alive


@pytest.mark.parametrize("name", ["asvd-i", "best"])
def test_a_run_that_is_stopped_goes_on(tiny, recipe_of, tmp_path, small_memory, monkeypatch, name: str) -> None:
    """Stopped after any block of any stage; what is stored then is not made again, and the end is the same."""
    recipe = recipe_of(**RECIPES[name])
    straight = compress.run(recipe, Store(tmp_path / "straight"), loaded=load_model(tiny, "cpu"), consume=True)
    store, stops, walked, factored = Store(tmp_path / "stopped"), 0, [], []
    keep, factorize = spill.keep_pairs, build.factorize_unit
    monkeypatch.setattr(spill, "keep_pairs", lambda s, k, made: walked.append(k.decided["block"]) or keep(s, k, made))
    monkeypatch.setattr(build, "factorize_unit", lambda unit, *a: factored.append(unit.path) or factorize(unit, *a))
    while True:
        job, seen = compress.run.steps(recipe, store, loaded=load_model(tiny, "cpu"), consume=True), 0
        before = sum(n for _, n, _ in store.entries())
        try:
            while True:
                next(job)
                seen += 1
                if sum(n for _, n, _ in store.entries()) > before + 6:  # a block's worth of results
                    job.close()
                    stops += 1
                    break
                if seen > 2000:
                    raise LowRankError("It never ends.")
        except StopIteration as stop:
            made = stop.value
            break
    assert stops >= 4 and torch.equal(logits(made.loaded.model), logits(straight.loaded.model))
    assert walked == sorted(set(walked)) and sorted(factored) == sorted(made.ranks)  # nothing was made twice


def test_the_dense_model_is_kept_unless_it_is_given_up(bench, recipe_of) -> None:
    before = logits(bench.loaded.model)
    plan = finish(compress.run.steps(recipe_of(), bench.store, loaded=bench.loaded)).plan
    compress.compress(bench, recipe_of(), plan)
    assert torch.equal(logits(bench.loaded.model), before)
