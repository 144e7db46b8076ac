"""A model whose blocks make latents is saved, and loaded by from_pretrained as it was."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lowrank_core.errors import BadValue, ModelCorrupt
from lowrank_core.export.save import save
from lowrank_core.kv.cache import LatentLayer, stored_bytes
from lowrank_core.kv.serving import latent_cache
from lowrank_core.models.surgery import put
from lowrank_core.modules import FactoredLinear, LatentLinear

from .models import latent_copy, model_of
from .test_cache import fed, generated, prompts

FAMILIES = ["llama", "llama-heads", "qwen3", "gpt2", "phi3"]


def saved(model, folder, tokenizer, **more):
    save(model, tokenizer, folder, more.pop("ranks", {}), {}, "tiny", **more)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("heads", [None, 1])
def test_it_reloads_equal_and_its_cache_holds_latents(family, joint, heads, tmp_path, loaded) -> None:
    model = latent_copy(model_of(family), 0.5, joint, heads)
    again = AutoModelForCausalLM.from_pretrained(saved(model, tmp_path / "m", loaded.tokenizer))
    ids, mask = prompts(4, True)
    caches = [latent_cache(m) for m in (model, again)]
    assert torch.equal(*(fed(m, ids, mask, [9], c) for m, c in zip((model, again), caches, strict=True)))
    assert stored_bytes(caches[0]) == stored_bytes(caches[1])
    assert all(isinstance(layer, LatentLayer) for layer in caches[1].layers)
    assert torch.equal(generated(again, ids, mask), generated(model, ids, mask))
    assert not any(p.requires_grad for m in again.modules() if isinstance(m, LatentLinear) for p in m.parameters())


def test_with_compressed_weights_too(tmp_path, loaded) -> None:
    model = latent_copy(model_of("llama"), 0.5)
    weight = model.model.layers[0].mlp.up_proj.weight
    left, right = torch.linalg.svd(weight.double(), full_matrices=False)[0][:, :9].float(), torch.randn(9, 32)
    put(model, "model.layers.0.mlp.up_proj", FactoredLinear(left, right))
    folder = saved(model, tmp_path / "m", loaded.tokenizer, ranks={"model.layers.0.mlp.up_proj": 9})
    again = AutoModelForCausalLM.from_pretrained(folder)
    ids, mask = prompts(1, False)
    assert torch.equal(fed(model, ids, mask, [9]), fed(again, ids, mask, [9]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_process_that_does_not_know_us_stops(family, tmp_path, loaded) -> None:
    folder = saved(latent_copy(model_of(family), 0.5), tmp_path / "m", loaded.tokenizer)
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="size"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_a_fresh_process_needs_the_import_alone(tmp_path, loaded) -> None:
    folder = saved(latent_copy(model_of("llama"), 0.5), tmp_path / "m", loaded.tokenizer)
    script = (
        "import lowrank_core, torch\n"
        "from transformers import AutoModelForCausalLM, DynamicCache\n"
        f"m = AutoModelForCausalLM.from_pretrained({str(folder)!r})\n"
        "c = DynamicCache(config=m.config)\n"
        "m.generate(torch.tensor([[5, 6, 7]]), cache=c, max_new_tokens=3, do_sample=False)\n"
        "print(type(c.layers[0]).__name__, c.layers[0].latents.shape[-1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["LatentLayer", "16"], done.stderr


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("joint", [True, False])
def test_groups_are_multiplied_out_alike(family, joint, tmp_path, loaded) -> None:
    model = latent_copy(model_of(family), 0.5, joint, 1)
    again = AutoModelForCausalLM.from_pretrained(saved(model, tmp_path / "n", loaded.tokenizer))
    ids, mask = prompts(1, False)
    again.dequantize()
    assert torch.allclose(fed(again, ids, mask, [9]), fed(model, ids, mask, [9]), atol=1e-3)


def test_a_merged_model_has_no_latents(tmp_path, loaded) -> None:
    with pytest.raises(BadValue, match="no latents"):
        saved(latent_copy(model_of("llama"), 0.5), tmp_path / "m", loaded.tokenizer, storage="merged")
    model = AutoModelForCausalLM.from_pretrained(
        saved(latent_copy(model_of("llama"), 0.5), tmp_path / "n", loaded.tokenizer)
    )
    ids, mask = prompts(1, False)
    before = fed(model, ids, mask, [9])
    model.dequantize()
    assert torch.allclose(fed(model, ids, mask, [9]), before, atol=1e-4)
    assert not any(isinstance(layer, LatentLayer) for layer in latent_cache(model).layers)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.update(rank=99), "99 latents"),
        (lambda e: e.update(rank="8"), "have the rank '8'"),
        (lambda e: e.pop("lead"), "not described"),
        (lambda e: e.update(rank=15), "has shape"),
    ],
)
def test_damaged_entries_are_found(change, says, tmp_path, loaded) -> None:
    folder = saved(latent_copy(model_of("llama"), 0.5), tmp_path / "m", loaded.tokenizer)
    config = json.loads((folder / "config.json").read_text())
    change(next(iter(config["quantization_config"]["latents"].values())))
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelCorrupt, match=says):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda groups: groups.pop(),
        lambda groups: groups[0].__setitem__(1, groups[0][1] + 1),
        lambda groups: groups[0].__setitem__(0, [0, 8, 8, 16]),
        lambda groups: groups[0].__setitem__(0, [0, 10**12]),
        lambda groups: groups[1].__setitem__(0, "all"),
        lambda groups: groups.clear(),
    ],
)
def test_damaged_groups_are_found(change, tmp_path, loaded) -> None:
    folder = saved(latent_copy(model_of("llama"), 0.5, True, 1), tmp_path / "m", loaded.tokenizer)
    config = json.loads((folder / "config.json").read_text())
    change(next(iter(config["quantization_config"]["latents"].values()))["groups"])
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelCorrupt, match="groups of latents"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_damaged_pivots_are_found(tmp_path, loaded) -> None:
    folder = saved(latent_copy(model_of("llama"), 0.5), tmp_path / "m", loaded.tokenizer)
    file = folder / "model.safetensors"
    weights = load_file(file)
    next(v for k, v in weights.items() if k.endswith("pivots")).fill_(255)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelCorrupt, match="pivots"):
        AutoModelForCausalLM.from_pretrained(folder)
