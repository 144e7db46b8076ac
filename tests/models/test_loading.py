"""Folders that are models, and every kind that is not."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import PreTrainedModel

from lowrank_core.errors import BadValue, ModelCorrupt, ModelNotFound, ModelUnsupported
from lowrank_core.models.loading import choose_device, load_model
from lowrank_core.models.where import locate
from tests.tiny import tiny_llama


@pytest.fixture
def copied(tiny, tmp_path):
    """A copy of the tiny model that may be spoilt."""
    return shutil.copytree(tiny, tmp_path / "model")


def change_config(folder, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_folder_is_loaded_frozen_and_in_evaluation_mode(loaded, tiny) -> None:
    assert loaded.name == str(tiny) and loaded.dtype == "float32" and loaded.device.type == "cpu"
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.window == 64  # the context, shorter than the default window
    assert loaded.parameters == sum(p.numel() for p in loaded.model.parameters()) == 384 * 32 + 3 * 7680 + 7 * 32
    assert loaded.tokenizer.chat_template


def test_logits_are_not_flat(loaded) -> None:
    with torch.no_grad():
        logits = loaded.model(input_ids=torch.arange(40)[None]).logits
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert logits.std() > 1 and entropy < 0.9 * torch.tensor(384.0).log()


def test_dtype_and_device_are_what_was_asked(tiny) -> None:
    assert load_model(tiny, "cpu", "bfloat16").model.dtype == torch.bfloat16
    for device, dtype in (("cpu", "int3"), ("abacus", None)):
        with pytest.raises(BadValue):
            load_model(tiny, device, dtype)
    if not torch.cuda.is_available():
        assert choose_device(None).type == "cpu"
        with pytest.raises(BadValue, match="no CUDA"):
            choose_device("cuda")


def test_a_missing_folder(tmp_path) -> None:
    for name in (tmp_path / "nowhere", "no-such-model", ""):
        with pytest.raises(ModelNotFound):
            load_model(name)


def test_folders_that_are_no_models(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelNotFound):
        load_model(tmp_path)
    with pytest.raises(ModelNotFound):
        load_model(tmp_path / "notes.txt")
    for content in ("{", "[]", '{"a": 1}', '"model_type"', "7"):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelNotFound, match="config.json"):
            load_model(tmp_path)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelNotFound, match="config.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ModelNotFound, match="safetensors"):
        load_model(tmp_path)


@pytest.mark.parametrize("cut", [0, 5, 400, 20_000])
def test_weights_that_are_cut_short(copied, cut: int) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelCorrupt):
        load_model(copied)


def test_a_corrupt_or_missing_shard(tmp_path) -> None:
    folder = tiny_llama(tmp_path / "sharded", shard="60KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert len(shards) > 2 and load_model(folder).parameters
    whole = shards[1].read_bytes()
    shards[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelCorrupt):
        load_model(folder)
    shards[1].unlink()
    with pytest.raises(ModelCorrupt):
        load_model(folder)


def test_quantized_models_are_refused_by_name(copied) -> None:
    for method in ("gptq", "awq", "fp8", "bitsandbytes"):
        change_config(copied, quantization_config={"quant_method": method, "bits": 4})
        with pytest.raises(ModelUnsupported, match=method):
            load_model(copied)


def test_a_model_that_transformers_does_not_know(copied) -> None:
    change_config(copied, model_type="unheard-of", architectures=["UnheardOf"])
    with pytest.raises(ModelUnsupported):
        load_model(copied)


def test_the_fingerprint_is_of_the_content(tiny, copied) -> None:
    assert locate(copied).fingerprint == locate(tiny).fingerprint
    (copied / "README.md").write_text("notes")
    assert locate(copied).fingerprint == locate(tiny).fingerprint
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before, whole = locate(copied).fingerprint, (copied / name).read_bytes()
        (copied / name).write_bytes(whole + b" ")
        assert locate(copied).fingerprint != before
        (copied / name).write_bytes(whole)
    assert locate(copied).context == 64 and locate(copied).compressed is None


def test_models_load_side_by_side(tiny) -> None:
    """transformers takes weight tying away while it builds a model: two threads at once must not lose it for good."""
    tied = PreTrainedModel.tie_weights
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: load_model(tiny, "cpu").model, range(12)))
    assert PreTrainedModel.tie_weights is tied
    assert all(m.lm_head.weight is m.model.embed_tokens.weight for m in found)
