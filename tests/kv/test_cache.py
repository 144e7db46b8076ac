"""What a cache of latents must equal, over every family: the model whose keys and values are the low-rank ones."""

import inspect

import pytest
import torch
from transformers import DynamicCache

from lowrank_core.errors import BadValue, ModelUnsupported
from lowrank_core.generation.cache import cache_argument
from lowrank_core.generation.decoder import Decoder
from lowrank_core.generation.stream import Sampling, stream, streams
from lowrank_core.kv.cache import LatentLayer, stored_bytes
from lowrank_core.kv.serving import latent_cache

from .models import REFUSED, SUPPORTED, latent_copy, model_of, places_of, reference_copy


def prompts(batch: int, padded: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, 9) token ids and their mask; row b has b pads on the left."""
    ids = torch.randint(3, 96, (batch, 9), generator=torch.Generator().manual_seed(batch))
    mask = torch.ones_like(ids)
    if padded:
        for row in range(batch):
            ids[row, : row + 1], mask[row, : row + 1] = 0, 0
    return ids, mask


def generated(model, ids, mask, tokens: int = 8, **more) -> torch.Tensor:
    """(B, T) greedy text."""
    return model.generate(
        ids, attention_mask=mask, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, **more
    )


@torch.no_grad()
def fed(model, ids, mask, pieces, cache=None) -> torch.Tensor:
    """(B, T, V) logits of a text that is read piece by piece through a cache, at the positions that the mask says."""
    cache = cache or latent_cache(model)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    found, at = [], cache.get_seq_length()
    for size in pieces:
        told = "position_ids" in inspect.signature(model.forward).parameters
        more = {"position_ids": positions[:, at : at + size]} if told else {}
        out = model(
            input_ids=ids[:, at : at + size],
            attention_mask=mask[:, : at + size],
            use_cache=True,
            **more,
            **{cache_argument(model): cache},
        )
        found.append(out.logits)
        at += size
    return torch.cat(found, 1)


CASES = [(1, False), (1, True), (4, False), (4, True)]


def streamed(model, tokenizer, ids, mask, tokens: int = 8) -> torch.Tensor:
    """(B, tokens) what our streams say; one padded row alone is something that only a decoder can be given."""
    if len(ids) > 1 or mask.all():
        prompts = [row[kept.bool()][None] for row, kept in zip(ids, mask, strict=True)]
        *_, replies = streams(model, tokenizer, prompts, Sampling(tokens), 64)
        return torch.tensor([r.tokens for r in replies])
    decoder, said, step, more = Decoder(model, 32), [], ids, (mask,)
    for _ in range(tokens):
        step, more = decoder.run(step, *more).argmax(-1)[:, None], ()
        said.append(step)
    return torch.cat(said, 1)


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize(("batch", "padded"), CASES)
def test_at_full_rank_greedy_text_is_the_ordinary_caches(family: str, batch: int, padded: bool) -> None:
    model, ids_mask = model_of(family), prompts(batch, padded)
    assert torch.equal(generated(latent_copy(model, 1.0), *ids_mask), generated(model, *ids_mask))


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize(
    ("keep", "joint", "heads"), [(0.5, True, None), (0.4, False, None), (0.6, True, 1), (0.5, False, 1)]
)
def test_at_any_rank_it_is_the_model_with_low_rank_keys_and_values(family, keep, joint, heads) -> None:
    model = model_of(family)
    ours, reference = latent_copy(model, keep, joint, heads), reference_copy(model, keep, joint, heads)
    for batch, padded in CASES:
        ids, mask = prompts(batch, padded)
        assert torch.equal(generated(ours, ids, mask), generated(reference, ids, mask))
        if batch == 1 and padded or batch == 4 and not padded:
            continue
        wanted = fed(reference, ids, mask, [9], DynamicCache(config=model.config))
        for pieces in ([9], [5, 1, 3], [1] * 9):
            found = fed(ours, ids, mask, pieces)
            kept = mask.bool()
            apart = (found - wanted)[kept].abs().max()
            assert apart < 2e-3 * wanted[kept].abs().max(), (pieces, float(apart))


@pytest.mark.parametrize("family", SUPPORTED)
@pytest.mark.parametrize(("batch", "padded"), CASES)
def test_our_streams_say_the_same(family: str, batch: int, padded: bool, loaded) -> None:
    model, (ids, mask) = model_of(family), prompts(batch, padded)
    for keep, other in ((1.0, model), (0.5, reference_copy(model, 0.5))):
        said = streamed(latent_copy(model, keep), loaded.tokenizer, ids, mask)
        assert torch.equal(said, generated(other, ids, mask)[:, 9:]), keep


@pytest.mark.parametrize("family", SUPPORTED)
def test_our_stream_stores_less(family: str, loaded) -> None:
    model, (ids, _) = model_of(family), prompts(1, False)
    *_, reply = stream(latent_copy(model, 0.5), loaded.tokenizer, ids, Sampling(8), 64)
    width = sum(p.width if p.why_not else min(p.width, p.d_in) for p in places_of(model))
    assert reply.kv_bytes < (9 + 8) * 4 * width + 16
    *_, dense = stream(model, loaded.tokenizer, ids, Sampling(8), 64)
    assert reply.kv_bytes < dense.kv_bytes == dense.kv_whole_bytes == reply.kv_whole_bytes


def test_what_is_stored_are_latents_and_positions_alone() -> None:
    model = latent_copy(model_of("llama"), 0.5)
    cache = latent_cache(model)
    fed(model, *prompts(4, False), [9], cache)
    assert all(isinstance(layer, LatentLayer) and layer.keys is None for layer in cache.layers)
    latents = sum(layer.latents.numel() for layer in cache.layers)
    assert latents == 3 * 4 * 9 * 16  # half of 32 keys and values
    assert stored_bytes(cache) == 4 * latents + 4 * 4  # and where each row starts
    padded = latent_cache(model)
    fed(model, *prompts(4, True), [9], padded)
    assert 4 * latents + 16 < stored_bytes(padded) <= 4 * latents + 4 * 4 * (4 + 1)  # and the padding's positions


def test_half_precision_stores_half_the_bytes() -> None:
    model = latent_copy(model_of("qwen2", torch.bfloat16), 0.5)
    cache = latent_cache(model)
    fed(model, *prompts(1, False), [9], cache)
    assert stored_bytes(cache) == 2 * 3 * 9 * 16 + 4


@pytest.mark.parametrize("family", ["llama", "qwen3", "opt"])
def test_beams_reorder_and_repeat_the_latents(family: str) -> None:
    model = model_of(family)
    ids, mask = prompts(2, True)
    ours, reference = latent_copy(model, 0.5), reference_copy(model, 0.5)
    assert torch.equal(generated(ours, ids, mask, num_beams=3), generated(reference, ids, mask, num_beams=3))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_rows_are_selected_and_repeated(family: str) -> None:
    model = latent_copy(model_of(family), 0.5)
    ids, mask = prompts(4, True)
    for change, rows in [
        (lambda c: c.batch_select_indices(torch.tensor([3, 1])), [3, 1]),
        (lambda c: c.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2, 3, 3]),
        (lambda c: c.reorder_cache(torch.tensor([2, 2, 0, 1])), [2, 2, 0, 1]),
    ]:
        cache = latent_cache(model)
        fed(model, ids, mask, [6], cache)
        change(cache)
        found = fed(model, ids[rows], mask[rows], [3], cache)
        assert torch.allclose(found, fed(model, ids[rows], mask[rows], [9])[:, 6:], atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt"])
def test_a_prefix_is_read_once_and_cropped_back(family: str) -> None:
    model = latent_copy(model_of(family), 0.5)
    ids, mask = prompts(1, False)
    other = torch.cat([ids[:, :5], ids[:, 5:].flip(1)], 1)
    cache = latent_cache(model)
    fed(model, ids, mask, [9], cache)
    cache.crop(-4)
    assert cache.get_seq_length() == 5
    whole = generated(model, other, mask)
    assert torch.equal(generated(model, other, mask, **{"cache": cache}), whole)
    cache.reset()
    assert cache.get_seq_length() == 0 and stored_bytes(cache) == 0
    assert torch.allclose(fed(model, other, mask, [9], cache), fed(model, other, mask, [9]), atol=1e-5)


def test_a_padded_prefix_is_cropped_into_its_padding() -> None:
    model = latent_copy(model_of("llama"), 0.5)
    ids, mask = prompts(4, True)
    cache = latent_cache(model)
    fed(model, ids, mask, [9], cache)
    cache.crop(-6)
    assert torch.allclose(fed(model, ids, mask, [6], cache)[:, -1], fed(model, ids, mask, [9])[:, -1], atol=1e-4)


def test_a_crop_beyond_the_length_is_refused() -> None:
    model = latent_copy(model_of("llama"), 0.5)
    cache = latent_cache(model)
    fed(model, *prompts(1, False), [9], cache)
    for wrong in (-10, 1):
        with pytest.raises(BadValue, match="cannot be cropped"):
            cache.crop(wrong)
    assert cache.get_seq_length() == 9


def test_a_cache_of_another_model_is_refused() -> None:
    model, other = latent_copy(model_of("llama"), 0.5), latent_copy(model_of("llama"), 0.5)
    ids, mask = prompts(1, False)
    cache = latent_cache(model)
    for wrong in (other, latent_copy(model_of("qwen2"), 0.5), model_of("llama")):
        with pytest.raises(BadValue, match="another model"):
            fed(wrong, ids, mask, [9], cache)
    dense = model_of("llama")
    ordinary = DynamicCache(config=dense.config)
    fed(dense, ids, mask, [5], ordinary)
    with pytest.raises(ModelUnsupported, match="of another model"):
        fed(model, ids, mask, [4], ordinary)


@pytest.mark.parametrize(
    ("family", "why"), [("dynamic", "'dynamic' turns a key"), ("sliding", "a window"), ("mixed-heads", "head by head")]
)
def test_what_cannot_be_right_is_refused_by_name(family: str, why: str) -> None:
    assert family in REFUSED
    with pytest.raises(ModelUnsupported, match=why) as raised:
        places_of(model_of(family))
    assert "--kv-ratio" in raised.value.hint


def test_a_static_cache_is_refused() -> None:
    model = latent_copy(model_of("llama"), 0.5)
    with pytest.raises(ModelUnsupported, match="StaticLayer"):
        generated(model, *prompts(1, False), cache_implementation="static")
