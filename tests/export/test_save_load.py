"""What is saved is what is loaded, byte for byte and logit for logit."""

import copy
import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from lowrank_core.errors import BadValue, ModelCorrupt, ModelUnsupported
from lowrank_core.export.save import save
from lowrank_core.models.loading import load_model
from lowrank_core.models.surgery import factored, put, share_copy
from lowrank_core.modules import FactoredLinear

from .conftest import DTYPES, RECIPE, compress, logits, said


@pytest.fixture
def saved(loaded, tmp_path):
    """A saved folder of the tiny model, with the model it was saved from and its ranks."""
    model, ranks = compress(loaded)
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    return tmp_path / "small", model, ranks


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= changes
    (folder / "config.json").write_text(json.dumps(config))


def stored(folder) -> dict[str, torch.Tensor]:
    tensors = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as handle:
            tensors |= {k: handle.get_tensor(k) for k in handle.keys()}  # noqa: SIM118
    return tensors


@pytest.mark.parametrize("shard", ["5GB", "10KB"])
def test_reload_is_equal(dense, tmp_path, shard):
    model, ranks = compress(dense)
    written = save(model, dense.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny", max_shard_size=shard)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "small")
    assert again.dtype == DTYPES[dense.dtype]
    assert torch.equal(logits(again), said(model))
    assert again.lm_head.weight is again.model.embed_tokens.weight
    assert len(list((tmp_path / "small").glob("*.safetensors"))) > 3 if shard == "10KB" else 1
    assert written == sum(f.stat().st_size for f in (tmp_path / "small").rglob("*") if f.is_file())
    for path, rank in ranks.items():
        module = again.get_submodule(path)
        assert isinstance(module, FactoredLinear) == (rank is not None)
        assert rank is None or module.rank == rank and not module.weight.requires_grad


def test_biases_and_untied_heads_come_back(biased, tmp_path):
    model, ranks = compress(biased)
    save(model, biased.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny", max_shard_size="20KB")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small")), said(model))


@pytest.mark.parametrize("how", [{"device_map": "auto"}, {"device_map": "cpu"}, {"low_cpu_mem_usage": True},
                                 {"dtype": torch.bfloat16}])
def test_ways_of_loading(saved, how):
    folder, model, _ = saved
    again = AutoModelForCausalLM.from_pretrained(folder, **how)
    wanted = copy.deepcopy(model)
    for p in wanted.parameters():
        p.data = p.data.to(how.get("dtype", p.dtype))
    assert torch.equal(logits(again), said(wanted))


def test_the_library_loads_and_saves_its_own_folders_again(saved, tmp_path):
    folder, model, ranks = saved
    loaded = load_model(folder, "cpu")
    assert [s.path for s in loaded.anatomy.sites] == list(ranks)
    save(loaded.model, loaded.tokenizer, tmp_path / "second", ranks, RECIPE, str(folder))
    loaded.model.save_pretrained(tmp_path / "third")
    for again in (tmp_path / "second", tmp_path / "third"):
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(again)), said(model))


def test_the_headless_model_loads_too(saved):
    folder, model, ranks = saved
    bare = AutoModel.from_pretrained(folder)
    assert isinstance(bare.get_submodule(next(iter(ranks)).removeprefix("model.")), FactoredLinear)


def test_bytes_on_disk_are_the_parameters_promised(dense, tmp_path):
    model, ranks = compress(dense)
    save(model, dense.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    promised = dense.parameters - sum(
        s.parameters - ranks[s.path] * (s.d_out + s.d_in) for s in dense.anatomy.sites if ranks[s.path] is not None
    )
    tensors = stored(tmp_path / "small")
    assert sum(t.numel() for t in tensors.values()) == promised
    assert {t.dtype for t in tensors.values()} == {DTYPES[dense.dtype]}
    size = (tmp_path / "small" / "model.safetensors").stat().st_size
    assert promised * model.dtype.itemsize < size < promised * model.dtype.itemsize + 20_000
    card = (tmp_path / "small" / "README.md").read_text()
    assert f"{dense.parameters:,} → {promised:,}" in card


def test_the_model_passed_in_is_left_alone(loaded, tmp_path):
    model, ranks = compress(loaded)
    before, config = logits(model), model.config.to_dict()
    for storage in ("factored", "merged"):
        save(model, loaded.tokenizer, tmp_path / storage, ranks, RECIPE, "tiny", storage)
    assert torch.equal(logits(model), before)
    assert model.config.to_dict() == config and not hasattr(model.config, "quantization_config")
    assert isinstance(model.get_submodule(next(iter(ranks))), FactoredLinear)


def test_sites_that_share_their_right_factor_are_stored_apart(loaded, tmp_path):
    model = share_copy(loaded.model)
    right, ranks = torch.randn(4, 32), {}
    for role in "qk":
        path = f"model.layers.0.self_attn.{role}_proj"
        linear, ranks[path] = model.get_submodule(path), 4
        put(model, path, factored(linear, torch.randn(linear.out_features, 4), right))
    save(model, loaded.tokenizer, tmp_path / "small", ranks, RECIPE, "tiny")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "small")), said(model))


def test_everything_an_ordinary_folder_has(saved, loaded):
    folder, _, ranks = saved
    names = {f.name for f in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    assert config["quant_method"] == "lowrank" and config["recipe"] == RECIPE
    assert config["ranks"] == {p: r for p, r in ranks.items() if r is not None}
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("the red fox").input_ids == loaded.tokenizer("the red fox").input_ids
    assert tokenizer.chat_template == loaded.tokenizer.chat_template
    assert [f.name for f in folder.parent.iterdir()] == ["small"], "nothing temporary is left"


def test_merged_is_an_ordinary_checkpoint(dense, tmp_path):
    model, ranks = compress(dense)
    save(model, dense.tokenizer, tmp_path / "merged", ranks, RECIPE, "tiny", "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    assert type(again.get_submodule(next(iter(ranks)))) is torch.nn.Linear
    tolerance = 1e-3 if dense.dtype == "float32" else 0.06
    scale = logits(model).abs().max()
    assert (logits(again) - logits(model)).abs().max() < tolerance * scale
    assert "0.0% saved" in (tmp_path / "merged" / "README.md").read_text()


def test_a_compressed_model_that_was_loaded_can_be_merged(saved, tmp_path):
    folder, model, ranks = saved
    loaded = load_model(folder, "cpu")
    save(loaded.model, loaded.tokenizer, tmp_path / "merged", ranks, RECIPE, "tiny", "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(again.config, "quantization_config")
    torch.testing.assert_close(logits(again), logits(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_dequantize_gives_a_dense_model(saved, tmp_path, dtype):
    folder, model, ranks = saved
    again = AutoModelForCausalLM.from_pretrained(folder)
    again.dequantize(dtype=dtype)
    assert {type(again.get_submodule(p)) for p in ranks} == {torch.nn.Linear}
    assert {p.dtype for p in again.parameters()} == {dtype or torch.float32}
    if dtype is None:
        torch.testing.assert_close(logits(again), logits(model), rtol=1e-3, atol=1e-3)
    again.save_pretrained(tmp_path / "dense")
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "dense")), logits(again))


@pytest.mark.parametrize("ranks", [
    {"model.layers.9.mlp.up_proj": 4}, {"model.layers.0.mlp": 4}, {"model.layers.0.mlp.up_proj": 0},
    {"model.layers.0.mlp.up_proj": 33}, {"model.layers.0.mlp.up_proj": "4"}, {"lm_head": 4}, None, [],
    {"model.layers.0.mlp.up_proj": 5},
], ids=str)
def test_corrupt_ranks_are_named(saved, ranks):
    folder, _, right = saved
    if ranks == {"model.layers.0.mlp.up_proj": 5}:
        assert right["model.layers.0.mlp.up_proj"] != 5
        ranks = {p: r for p, r in right.items() if r is not None} | ranks
    edit_config(folder, ranks=ranks)
    with pytest.raises(ModelCorrupt):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_missing_factor_is_not_invented(saved):
    from safetensors.torch import save_file

    folder, _, _ = saved
    tensors = stored(folder)
    del tensors["model.layers.1.mlp.up_proj.weight_u"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelCorrupt, match="weight_u is missing"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_later_storage_is_named(saved):
    edit_config(saved[0], storage="woven")
    with pytest.raises(ModelUnsupported, match="woven"):
        AutoModelForCausalLM.from_pretrained(saved[0])


class TestTheFolder:
    def test_its_own_is_replaced(self, saved, loaded):
        folder, _, _ = saved
        model, ranks = compress(loaded, keep_dense="mlp")
        save(model, loaded.tokenizer, folder, ranks, RECIPE, "tiny", max_shard_size="10KB")
        assert not (folder / "model.safetensors").exists(), "nothing of the first save is left"
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), said(model))
        assert [f.name for f in folder.parent.iterdir()] == ["small"]

    @pytest.mark.parametrize("name", ["notes.txt", "model.safetensors", "deep/notes.txt"])
    def test_a_foreign_one_is_refused(self, loaded, tmp_path, name):
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True)
        file.write_text("mine")
        model, ranks = compress(loaded)
        with pytest.raises(BadValue, match=name):
            save(model, loaded.tokenizer, tmp_path / "mine", ranks, RECIPE, "tiny")
        assert [f for f in tmp_path.rglob("*") if f.is_file()] == [file] and file.read_text() == "mine"

    def test_a_foreign_file_in_our_own_is_kept(self, saved, loaded):
        folder, model, ranks = saved
        (folder / "notes.txt").write_text("mine")
        with pytest.raises(BadValue, match=r"notes\.txt"):
            save(model, loaded.tokenizer, folder, ranks, RECIPE, "tiny")
        assert (folder / "notes.txt").read_text() == "mine"

    def test_an_empty_one_and_missing_parents_are_fine(self, loaded, tmp_path):
        (tmp_path / "empty").mkdir()
        model, ranks = compress(loaded)
        for folder in (tmp_path / "empty", tmp_path / "a" / "b" / "c"):
            save(model, loaded.tokenizer, folder, ranks, RECIPE, "tiny")
            assert (folder / "config.json").exists()

    def test_a_file_and_a_folder_below_a_file_are_refused(self, loaded, tmp_path):
        (tmp_path / "file").write_text("mine")
        model, ranks = compress(loaded)
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(BadValue):
                save(model, loaded.tokenizer, folder, ranks, RECIPE, "tiny")

    def test_a_failed_save_leaves_the_old_one(self, saved, loaded, monkeypatch):
        folder, model, ranks = saved

        def full(*args, **kwargs):
            raise OSError("no space left on device")

        monkeypatch.setattr(type(loaded.tokenizer), "save_pretrained", full)
        with pytest.raises(BadValue, match="no space left"):
            save(model, loaded.tokenizer, folder, ranks, RECIPE, "tiny")
        assert [f.name for f in folder.parent.iterdir()] == ["small"]
        assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(folder)), said(model))


class TestRefusals:
    def test_ranks_that_are_not_the_model_s(self, loaded, tmp_path):
        model, ranks = compress(loaded)
        path = next(iter(ranks))
        for wrong in ({path: ranks[path] + 1}, {path: None}, {"model.layers.0.self_attn.o_proj": 3}):
            with pytest.raises(BadValue):
                save(model, loaded.tokenizer, tmp_path / "small", ranks | wrong, RECIPE, "tiny")
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_storage(self, loaded, tmp_path):
        with pytest.raises(BadValue, match="factored, pivoted, merged"):
            save(loaded.model, loaded.tokenizer, tmp_path / "small", {}, RECIPE, "tiny", "zip")

    def test_full_rank_everywhere_which_others_could_not_tell_from_dense(self, loaded, tmp_path):
        model = share_copy(loaded.model)
        path = "model.layers.0.self_attn.q_proj"
        weight = model.get_submodule(path).weight
        put(model, path, factored(model.get_submodule(path), torch.eye(32), weight))
        with pytest.raises(BadValue, match="full rank"):
            save(model, loaded.tokenizer, tmp_path / "small", {path: 32}, RECIPE, "tiny")

    def test_a_recipe_that_is_no_json(self, loaded, tmp_path):
        with pytest.raises(BadValue, match="recipe is no JSON"):
            save(loaded.model, loaded.tokenizer, tmp_path / "small", {}, {"x": object()}, "tiny")
