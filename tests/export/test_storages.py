"""Every way a compressed layer can be stored comes back as it was, in every dtype; what is damaged is named."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from lowrank_core.errors import BadValue, ModelCorrupt
from lowrank_core.export.save import RECORD, save
from lowrank_core.models.layout import layout_of, stored_tensors
from lowrank_core.models.loading import load_compressed, load_model
from lowrank_core.models.sites import anatomy, weight_of
from lowrank_core.models.surgery import factored, joined, pivoted, put, share_copy
from lowrank_core.modules import FactoredLinear, JointLinear, PivotedLinear

from .conftest import RECIPE, STORED, compress_by, logits
from .test_save_load import edit_config, stored

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
Q, K, GATE, UP = (f"model.layers.1.{n}_proj" for n in ("self_attn.q", "self_attn.k", "mlp.gate", "mlp.up"))


@pytest.fixture(scope="module", params=DTYPES)
def any_dense(request, tiny):
    """The tiny model in every dtype."""
    return load_model(tiny, "cpu", request.param)


@pytest.fixture
def pivoted_folder(loaded, tmp_path):
    model, ranks = compress_by(loaded, "pivoted")
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    return tmp_path / "small"


def kinds(model) -> dict[str, type]:
    return {p: type(m) for p, m in model.named_modules() if hasattr(m, "product")}


def rewrite(folder, **tensors) -> None:
    """Put other tensors, or none for None, into a folder of one shard."""
    found = stored(folder) | tensors
    save_file({k: t for k, t in found.items() if t is not None}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("storage", STORED)
def test_what_is_saved_is_loaded(any_dense, tmp_path, storage, biased) -> None:
    model, ranks = compress_by(any_dense, storage, biased)
    save(model, any_dense.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert again.dtype == DTYPES[any_dense.dtype]
    assert torch.equal(logits(again), logits(model))
    assert kinds(again) == kinds(model) and layout_of(again) == layout_of(model)
    assert not any(p.requires_grad for path in kinds(again) for p in again.get_submodule(path).parameters())
    config = json.loads((tmp_path / "small" / "config.json").read_text())["quantization_config"]
    assert config["storage"] == ("pivoted" if storage in ("pivoted", "mixed") else "factored")
    assert ("biased" in config) == biased and ("shared" in config) == (storage in ("joint", "mixed"))
    assert ("factored" in config) == (storage == "mixed")
    bare = AutoModel.from_pretrained(tmp_path / "small")
    assert set(kinds(bare).values()) == set(kinds(model).values())


@pytest.mark.parametrize("storage", STORED)
def test_ways_of_loading_and_saving_again(loaded, tmp_path, storage) -> None:
    model, ranks = compress_by(loaded, storage, True)
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny", max_shard_size="10KB")
    assert len(list((tmp_path / "small").glob("*.safetensors"))) > 3
    for how in ({"device_map": "cpu"}, {"device_map": "auto"}, {"low_cpu_mem_usage": True}):
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small", **how)), logits(model))
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype=torch.bfloat16)
    wanted = copy.deepcopy(model)
    for p in wanted.parameters():
        p.data = p.data.bfloat16()
    assert torch.equal(logits(half), logits(wanted))
    ours = load_compressed(tmp_path / "small", "cpu")
    assert [s.path for s in ours.anatomy.sites] == list(ranks)
    assert [(s.d_out, s.d_in) for s in ours.anatomy.sites] == [(s.d_out, s.d_in) for s in loaded.anatomy.sites]
    for how in (lambda f: save(ours.model, ours.tokenizer, f, ranks, RECIPE, "x"), ours.model.save_pretrained):
        how(tmp_path / "second")
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "second")), logits(model))


@pytest.mark.parametrize("storage", STORED)
def test_a_device_map_that_keeps_weights_on_disk(loaded, tmp_path, storage) -> None:
    """A joint layer finds its right factor there, too, though accelerate hides it from everyone but its owner."""
    model, ranks = compress_by(loaded, storage)
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    where = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
             "model.layers.0": "disk", "model.layers.1": "cpu", "model.layers.2": "disk"}
    again = AutoModelForCausalLM.from_pretrained(
        tmp_path / "small", device_map=where, offload_folder=tmp_path / "offload", offload_buffers=True
    )
    assert next(iter(again.model.layers[0].self_attn.q_proj.parameters())).is_meta
    torch.testing.assert_close(logits(again), logits(model))


@pytest.mark.parametrize("storage", STORED)
def test_merged_and_dequantized_are_the_products(loaded, tmp_path, storage) -> None:
    model, ranks = compress_by(loaded, storage)
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    save(model, loaded.tokenizer, tmp_path / "merged", ranks, RECIPE, "tiny", "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not kinds(merged) and not hasattr(merged.config, "quantization_config")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    plain.dequantize()
    for path, rank in ranks.items():
        wanted = weight_of(model.get_submodule(path)).float()
        for found in (merged, plain):
            assert type(found.get_submodule(path)) is nn.Linear
            torch.testing.assert_close(found.get_submodule(path).weight, wanted, rtol=1e-5, atol=1e-5)
        assert rank is None or torch.linalg.matrix_rank(wanted, rtol=1e-5) == min(rank, *wanted.shape)
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-3, atol=1e-3)
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "0.0% saved" in card and "right factor of" not in card


def test_merged_refuses_to_lose_a_bias(loaded, biased, tmp_path) -> None:
    model, ranks = compress_by(loaded, "pivoted", True)
    with pytest.raises(BadValue, match="bias") as error:
        save(model, loaded.tokenizer, tmp_path / "merged", ranks, RECIPE, "tiny", "merged")
    assert error.value.hint and not list(tmp_path.iterdir())
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    plain.dequantize()
    assert plain.get_submodule(Q).bias is not None, "in memory it stays"
    torch.testing.assert_close(logits(plain), logits(model), rtol=1e-3, atol=1e-3)
    model, ranks = compress_by(biased, "pivoted")  # a class that has a place for them
    assert layout_of(model).biased == ()
    save(model, biased.tokenizer, tmp_path / "merged", ranks, RECIPE, "tiny", "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("storage", STORED)
def test_layers_that_have_biases_keep_them(biased, tmp_path, storage) -> None:
    model, ranks = compress_by(biased, storage)
    save(model, biased.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    assert "biased" not in json.loads((tmp_path / "small" / "config.json").read_text())["quantization_config"]
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small")), logits(model))


@pytest.mark.parametrize("storage", STORED)
def test_sizes_are_those_on_disk(any_dense, tmp_path, storage) -> None:
    model, ranks = compress_by(any_dense, storage, biased=storage != "pivoted")
    save(model, any_dense.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    tensors, dense = stored(tmp_path / "small").values(), sum(p.nbytes for p in any_dense.model.parameters())
    after, nbytes = sum(t.numel() for t in tensors), sum(t.nbytes for t in tensors)
    assert after == sum(t.numel() for t in stored_tensors(model))
    assert after == load_model(tmp_path / "small", "cpu").parameters
    card = (tmp_path / "small" / "README.md").read_text()
    assert f"| parameters | {any_dense.parameters:,} → {after:,} |" in card
    assert f"| bytes of weights | {dense:,} → {nbytes:,} ({1 - nbytes / dense:.1%} saved) |" in card
    kept, layout = 0, layout_of(model)
    for site in any_dense.anatomy.sites:
        rank, m, n = ranks[site.path] or 0, site.d_out, site.d_in
        counts = {nn.Linear: m * n, FactoredLinear: rank * (m + n), JointLinear: rank * m,
                  PivotedLinear: rank * (m + n) - rank * rank + -(-m // 8)}
        kept += counts[type(model.get_submodule(site.path))] + (m if site.path in layout.biased else 0)
    sites = sum(s.parameters for s in any_dense.anatomy.sites)
    assert sites - kept == any_dense.parameters - after
    assert f"| ratio achieved | {1 - kept / sites:.1%} |" in card


def test_the_card_and_the_record_say_what_differs(loaded, tmp_path) -> None:
    model, ranks = compress_by(loaded, "mixed", True)
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    card = (tmp_path / "small" / "README.md").read_text()
    assert "| storage | pivoted |" in card and "some of their rows" in card
    assert f"| `{UP}` | {ranks[UP]} | right factor of {GATE} |" in card
    assert f"| `{Q}` | {ranks[Q]} | bias added |" in card
    record = json.loads((tmp_path / "small" / RECORD).read_text())
    assert record["storage"] == "pivoted" and GATE in record["notes"][UP] and "bias" in record["notes"][Q]


def test_anatomy_and_weights_see_every_kind(loaded) -> None:
    for storage in STORED:
        model, _ = compress_by(loaded, storage)
        assert [replace(s, bias=False) for s in anatomy(model).sites] == list(loaded.anatomy.sites)
        for site in loaded.anatomy.sites:
            weight = weight_of(model.get_submodule(site.path))
            assert weight.shape == (site.d_out, site.d_in) and weight.dtype == torch.float64


class TestDamage:
    @pytest.mark.parametrize("change", [
        torch.zeros_like, lambda p: torch.full_like(p, 255), lambda p: torch.cat([p[:1] ^ 1, p[1:]]),
        lambda p: p[:-1].clone(), lambda p: None,
    ], ids=["none", "all", "one other", "too short", "missing"])
    def test_pivots(self, pivoted_folder, change) -> None:
        key = f"{Q}.pivots"
        rewrite(pivoted_folder, **{key: change(stored(pivoted_folder)[key])})
        with pytest.raises(ModelCorrupt, match="pivots"):
            AutoModelForCausalLM.from_pretrained(pivoted_folder)

    @pytest.mark.parametrize("key", ["weight", "weight_u"])
    def test_factors(self, pivoted_folder, key) -> None:
        rewrite(pivoted_folder, **{f"{Q}.{key}": None})
        with pytest.raises(ModelCorrupt, match=f"{key} is missing"):
            AutoModelForCausalLM.from_pretrained(pivoted_folder)

    def test_an_added_bias(self, loaded, tmp_path) -> None:
        model, ranks = compress_by(loaded, "factored", True)
        save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
        rewrite(tmp_path / "small", **{f"{Q}.bias": None})
        with pytest.raises(ModelCorrupt, match="bias is missing"):
            AutoModelForCausalLM.from_pretrained(tmp_path / "small")

    @pytest.mark.parametrize("shared", [
        {K: "model.layers.9"}, {K: K}, {K: Q, Q: K}, {K: "lm_head"}, {K: None}, {K: "model.layers.1.mlp.down_proj"},
        [K], {"model.layers.9": Q}, {GATE: Q},
    ], ids=str)
    def test_shared(self, loaded, tmp_path, shared) -> None:
        model, ranks = compress_by(loaded, "joint")
        save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
        edit_config(tmp_path / "small", shared=shared)
        with pytest.raises(ModelCorrupt):
            AutoModelForCausalLM.from_pretrained(tmp_path / "small")

    @pytest.mark.parametrize("entry", ["biased", "factored"])
    @pytest.mark.parametrize("value", [["model.layers.9"], "model", [3], {Q: 1}], ids=str)
    def test_lists_of_layers(self, pivoted_folder, entry, value) -> None:
        edit_config(pivoted_folder, **{entry: value})
        with pytest.raises(ModelCorrupt):
            AutoModelForCausalLM.from_pretrained(pivoted_folder)

    def test_another_storage_than_that_of_the_file(self, pivoted_folder) -> None:
        edit_config(pivoted_folder, storage="factored")
        with pytest.raises(ModelCorrupt, match="weight_u has shape"):
            AutoModelForCausalLM.from_pretrained(pivoted_folder)


class TestRefusals:
    def test_pivoted_where_the_layers_are_two_factors(self, loaded, tmp_path) -> None:
        model, ranks = compress_by(loaded, "factored")
        with pytest.raises(BadValue, match="not pivoted"):
            save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny", "pivoted")
        for storage in ("mixed", "pivoted"):
            model, ranks = compress_by(loaded, storage)
            save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny", "pivoted")

    def test_a_right_factor_that_is_gone(self, loaded, tmp_path) -> None:
        model, ranks = compress_by(loaded, "joint")
        linear = loaded.model.get_submodule(Q)
        put(model, Q, factored(linear, torch.randn(32, ranks[Q]), torch.randn(ranks[Q], 32)))
        with pytest.raises(BadValue, match="no longer has"):
            save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")

    def test_a_joint_rank_may_exceed_the_smaller_layers(self, loaded, tmp_path) -> None:
        model, ranks = compress_by(loaded, "joint")
        assert ranks[K] == ranks[Q]
        assert layout_of(model).shared[K] == Q
        edit = dict.fromkeys((Q, K, K.replace("k_proj", "v_proj")), 17)  # k and v have 16 outputs
        linears = [loaded.model.get_submodule(p) for p in edit]
        group = joined(linears, [torch.randn(x.out_features, 17) for x in linears], torch.randn(17, 32))
        for path, module in zip(edit, group, strict=True):
            put(model, path, module)
        save(model, loaded.tokenizer, tmp_path / "small", ranks | edit, RECIPE, "tiny")
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small")), logits(model))

    @pytest.mark.parametrize("storage", ["pivoted", "joint"])
    def test_full_rank_everywhere_which_others_could_not_tell_from_dense(self, loaded, tmp_path, storage) -> None:
        model = share_copy(loaded.model)
        q, k = (model.get_submodule(p) for p in (Q, K))
        if storage == "pivoted":
            put(model, Q, pivoted(q, torch.eye(32), q.weight))
            ranks = {Q: 32}
        else:
            ranks = {Q: 32, K: 32}
            for path, module in zip(ranks, joined([q, k], [q.weight, k.weight], torch.eye(32)), strict=True):
                put(model, path, module)
        with pytest.raises(BadValue, match="full rank"):
            save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
        o = Q.replace("q_proj", "o_proj")  # with one smaller layer it is fine; a layer of pivots only comes back, too
        put(model, o, factored(model.get_submodule(o), torch.randn(32, 4), torch.randn(4, 32)))
        save(model, loaded.tokenizer, tmp_path / "small", ranks | {o: 4}, RECIPE, "tiny")
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small")), logits(model))
