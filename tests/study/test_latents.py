"""The KV ratio in a study: alone and with a ratio, stored once, counted from tensors, saved and reloaded."""

import pytest
import torch

from lowrank_core.calibration.texts import read_text
from lowrank_core.errors import BadValue
from lowrank_core.export.save import RECORD
from lowrank_core.generation.cache import cache_argument
from lowrank_core.kv.cache import stored_bytes
from lowrank_core.kv.methods import KV_METHODS
from lowrank_core.kv.serving import latent_cache
from lowrank_core.models.layout import stored_tensors
from lowrank_core.models.loading import load_compressed
from lowrank_core.study.compress import evaluate, open_workbench, run
from lowrank_core.study.latents import calibrate_latents
from lowrank_core.study.recipe import Recipe
from lowrank_core.study.spelling import from_query, to_command, to_query, to_yaml
from lowrank_core.study.steps import save

SMALL = {"windows": 4, "window": 32, "probe_windows": 2}


def recipe(tiny, tiny_file, **more) -> Recipe:
    return Recipe(**{"model": str(tiny), "text": str(tiny_file), **SMALL, **more})


def bytes_per_token(model, tokens: int = 32) -> float:
    cache = latent_cache(model)
    with torch.no_grad():
        model(input_ids=torch.arange(tokens)[None] + 5, use_cache=True, **{cache_argument(model): cache})
    return stored_bytes(cache) / tokens


@pytest.mark.parametrize("method", KV_METHODS)
@pytest.mark.parametrize("ratio", [0, 0.4])
def test_half_the_cache_alone_and_with_smaller_weights(method, ratio, tiny, tiny_file, loaded, store) -> None:
    asked = recipe(tiny, tiny_file, ratio=ratio, kv_ratio=0.5, kv_method=method)
    found = run(asked, store, loaded=loaded)
    model = found.loaded.model
    dense = bytes_per_token(loaded.model)
    assert dense == 3 * 32 * 4
    assert 0.45 * dense < bytes_per_token(model) <= 0.505 * dense
    assert found.kv_ratio_achieved >= 0.5 and found.ratio_achieved >= ratio
    assert found.parameters_after == sum(t.numel() for t in stored_tensors(model)) < found.parameters_before
    assert found.predicted_nll > 0
    assert (set(found.ranks.values()) == {None}) == (ratio == 0)
    assert found.ranks.keys() == {s.path for s in loaded.anatomy.sites}


@pytest.mark.parametrize("method", ["joint", "asvd-i"])
def test_a_basis_for_each_head(method, tiny, tiny_file, loaded, store, tmp_path) -> None:
    asked = recipe(tiny, tiny_file, ratio=0, kv_ratio=0.5, kv_method=method, kv_heads=1)
    found = run(asked, store, loaded=loaded)
    assert len(found.kv_plan.ranks) == 3 * 2 * (1 if method == "joint" else 2)
    assert bytes_per_token(found.loaded.model) <= 0.505 * 3 * 32 * 4 and found.kv_ratio_achieved >= 0.5
    assert found.parameters_after == sum(t.numel() for t in stored_tensors(found.loaded.model))
    whole = run(asked.model_copy(update={"kv_heads": None}), store, loaded=loaded)
    assert found.parameters_after < whole.parameters_after  # the zeros between groups are not there
    assert found.predicted_nll > whole.predicted_nll
    save(found, tmp_path / "m")
    again = load_compressed(tmp_path / "m", "cpu")
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, found.loaded.model(ids).logits)
    assert again.parameters == found.parameters_after
    with pytest.raises(BadValue, match="no groups of 3"):
        run(asked.model_copy(update={"kv_heads": 3}), store, loaded=loaded)


def test_full_price_is_paid_once(tiny, tiny_file, loaded, store) -> None:
    bench = open_workbench(recipe(tiny, tiny_file), store, loaded=loaded)
    curves = calibrate_latents(bench, "joint")
    assert not list(calibrate_latents.steps(bench, "asvd-i"))
    assert bench.study.kv_curves("joint").losses.keys() == curves.losses.keys()
    assert bench.study.kv_curves("asvd-0") is not None


def test_more_latents_cost_less(tiny, tiny_file, loaded, store) -> None:
    bench = open_workbench(recipe(tiny, tiny_file), store, loaded=loaded)
    text = read_text(str(tiny_file))
    dense = evaluate(bench, text, windows=4).nll
    lost = []
    for kv_ratio in (0.25, 0.5, 0.8):
        of = recipe(tiny, tiny_file, ratio=0, kv_ratio=kv_ratio)
        found = run(of, store, loaded=loaded)
        lost.append(evaluate(bench, text, found.loaded.model, of, found.plan, 4).nll - dense)
        assert evaluate(bench, text, None, of, found.plan, 4).nll - dense == lost[-1]  # stored under its own name
    assert lost == sorted(lost) and lost[0] > 0


def test_what_is_saved_is_loaded_with_its_latents(tiny, tiny_file, loaded, store, tmp_path) -> None:
    found = run(
        recipe(tiny, tiny_file, ratio=0.4, kv_ratio=0.5, method="two-sided", storage="pivoted"), store, loaded=loaded
    )
    save(found, tmp_path / "m", "pivoted")
    again = load_compressed(tmp_path / "m", "cpu")
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        assert torch.equal(again.model(ids).logits, found.loaded.model(ids).logits)
    assert bytes_per_token(again.model) == bytes_per_token(found.loaded.model)
    assert again.parameters == found.parameters_after
    assert (tmp_path / "m" / RECORD).is_file() and "KV cache" in (tmp_path / "m" / "README.md").read_text()


def test_the_walk_goes_on_what_the_latents_left(tiny, tiny_file, loaded, store) -> None:
    of = recipe(tiny, tiny_file, ratio=0.4, kv_ratio=0.5, method="two-sided", walk={})
    found = run(of, store, loaded=loaded)
    assert bytes_per_token(found.loaded.model) <= 0.505 * 3 * 32 * 4
    assert found.ratio_achieved >= 0.4


@pytest.mark.parametrize("wrong", [1, -0.1, 2, float("nan")])
def test_a_kv_ratio_out_of_bounds_is_refused(wrong) -> None:
    with pytest.raises(BadValue, match="KV ratio"):
        Recipe(kv_ratio=wrong)


def test_both_ratios_zero_and_a_merged_latent_are_refused() -> None:
    with pytest.raises(BadValue, match="Both ratios are 0"):
        Recipe(ratio=0)
    with pytest.raises(BadValue, match="keeps no latents"):
        Recipe(kv_ratio=0.5, storage="merged")
    with pytest.raises(BadValue, match="no KV method"):
        Recipe(kv_ratio=0.5, kv_method="fastest")
    with pytest.raises(BadValue, match="0 heads"):
        Recipe(kv_ratio=0.5, kv_heads=0)


def test_the_recipe_is_spelled_alike_everywhere() -> None:
    of = Recipe(ratio=0, kv_ratio=0.5)
    heads = Recipe(ratio=0, kv_ratio=0.5, kv_heads=1)
    assert "--kv-heads 1" in to_command(heads) and from_query(to_query(heads)) == heads
    assert heads.decisive() != of.decisive()
    assert "--kv-ratio 0.5" in to_command(of) and "kv_ratio: 0.5" in to_yaml(of)
    assert from_query(to_query(of)) == of
    assert Recipe().decisive() == {k: v for k, v in of.decisive().items() if k != "kv"}
