"""A decoder says what the whole model says, over a cache that is written in place; a graph's step says the same."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from lowrank_core.generation import decoder as room
from lowrank_core.generation.cache import LEAST, PreallocatedLayer, preallocated
from lowrank_core.generation.decoder import Decoder
from lowrank_core.generation.graph import Graphed, static_cache
from lowrank_core.kv.cache import stored_bytes
from tests.tiny import scale_weights
from tests.zoo import KINDS

IDS = torch.arange(3, 19).view(1, 16)


@pytest.fixture(scope="module")
def models():
    """Model type → its tiny model, made once."""
    made = {}

    def get(model_type: str):
        if model_type not in made:
            settings = {"vocab_size": 64, "pad_token_id": 0, **KINDS[model_type].everything}
            with torch.random.fork_rng():
                torch.manual_seed(0)
                config = AutoConfig.for_model(model_type, **settings)
                made[model_type] = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
            scale_weights(made[model_type])
        return made[model_type]

    return get


def whole(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits


@pytest.mark.parametrize("model_type", KINDS)
def test_prompt_and_steps_over_all_families(models, model_type: str) -> None:
    model = models(model_type)
    wanted = whole(model, IDS)
    decoder = Decoder(model, 4)
    for start, end in ((0, 9), (9, 10), (10, 11), (11, 16)):
        found = decoder.run(IDS[:, start:end])
        torch.testing.assert_close(found, wanted[:, end - 1], rtol=1e-4, atol=1e-4)
        assert decoder.length == end


@pytest.mark.parametrize("model_type", KINDS)
def test_padded_rows_say_what_each_says_alone(models, model_type: str) -> None:
    model, mask = models(model_type), torch.ones(2, 9, dtype=torch.long)
    mask[1, :4] = 0
    ids = torch.cat([IDS[:, :9], IDS[:, 5:14]])
    decoder, alone = Decoder(model, 4), [Decoder(model, 4), Decoder(model, 4)]
    for rows, more in (((ids[:1], ids[1:, 4:]), (mask,)), ((IDS[:, 9:10], IDS[:, 14:15]), ())):
        together = ids if more else torch.cat(rows)
        wanted = torch.cat([d.run(r) for d, r in zip(alone, rows, strict=True)])
        torch.testing.assert_close(decoder.run(together, *more), wanted, rtol=1e-4, atol=1e-4)
    if model_type == "llama":
        decoder.rewind(9)
        torch.testing.assert_close(decoder.run(torch.cat(rows)), wanted, rtol=1e-4, atol=1e-4)


def test_nothing_is_allocated_per_token(models) -> None:
    decoder = Decoder(models("llama"), 16)
    decoder.run(IDS[:, :4])
    layer = decoder.cache.layers[0]
    assert isinstance(layer, PreallocatedLayer)
    place = layer.keys.data_ptr(), layer.values.data_ptr()
    for i in range(4, 12):
        decoder.run(IDS[:, i : i + 1])
        assert (layer.keys.data_ptr(), layer.values.data_ptr()) == place and layer.keys.shape[2] == i + 1
    assert decoder.kv_bytes == stored_bytes(decoder.cache) == 12 * 2 * 2 * 2 * 8 * 4


def test_a_full_buffer_grows_and_keeps_what_it_had() -> None:
    layer, states = PreallocatedLayer(1), torch.randn(2, 3, LEAST + 5, 4)
    for i in range(0, LEAST + 5, 23):
        keys, values = layer.update(states[:, :, i : i + 23], 2 * states[:, :, i : i + 23])
    assert layer.room == 2 * LEAST and torch.equal(keys, states) and torch.equal(values, 2 * states)
    layer.reset()
    assert layer.get_seq_length() == 0
    assert torch.equal(layer.update(states[:1], states[:1])[0], states[:1])  # another batch


def test_a_reordered_layer_goes_on() -> None:
    layer, states = PreallocatedLayer(8), torch.randn(2, 3, 4, 5)
    layer.update(states, states)
    layer.reorder_cache(torch.tensor([1, 1]))
    keys, _ = layer.update(states[:, :, :1], states[:, :, :1])
    assert torch.equal(keys, torch.cat([states[[1, 1]], states[:, :, :1]], 2))


def test_rewinding(models) -> None:
    decoder = Decoder(models("llama"), 16)
    decoder.run(IDS[:, :9])
    first = decoder.run(IDS[:, 9:10])
    decoder.run(torch.full((1, 3), 7))
    decoder.rewind(9)
    assert decoder.length == 9
    torch.testing.assert_close(decoder.run(IDS[:, 9:10]), first)
    decoder.rewind(0)
    torch.testing.assert_close(decoder.run(IDS[:, :9]), whole(models("llama"), IDS)[:, 8], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "mistral"])  # mistral slides a window of 8
def test_pretending_a_context(models, model_type: str) -> None:
    decoder = Decoder(models(model_type), 24)
    decoder.pretend(3, 20)
    assert decoder.length == 20 == decoder.cache.get_seq_length()
    assert decoder.run(torch.zeros(3, 1, dtype=torch.long)).isfinite().all() and decoder.length == 21


def test_another_cache_is_filled(models) -> None:
    cache = DynamicCache(config=models("llama").config)
    decoder = Decoder(models("llama"), 16, cache)
    decoder.run(IDS)
    assert decoder.cache is cache and cache.get_seq_length() == 16


def test_plain_layers_only_are_preallocated(models) -> None:
    kinds = {type(layer).__name__ for layer in preallocated(models("gemma2").config, 8).layers}
    assert kinds == {"PreallocatedLayer", "DynamicSlidingWindowLayer"}


# --- graphs: what a GPU records is run here as it stands ------------------------------------------------------------


def again(step):
    """Records nothing: warms up as a GPU would, then runs the step itself over the same tensors."""
    for _ in range(3):
        step()
    return step


GRAPHED = [m for m in KINDS if m not in ("mistral", "gemma2", "gemma3_text")]


@pytest.mark.parametrize("model_type", GRAPHED)
@torch.inference_mode()
def test_a_graphs_step_over_a_static_cache(models, model_type: str) -> None:
    model, wanted = models(model_type), whole(models(model_type), IDS)
    cache = static_cache(model.config, 16)
    argument = room.cache_argument(model)
    model(input_ids=IDS[:, :9], use_cache=True, **{argument: cache})
    graph = Graphed(model, cache, argument, 1, again)
    place = graph.logits.data_ptr(), graph.ids.data_ptr()
    for i in range(9, 16):
        found = graph.run(IDS[:, i : i + 1])
        torch.testing.assert_close(found, wanted[:, i], rtol=1e-4, atol=1e-4)
        assert (found.data_ptr(), graph.ids.data_ptr()) == place
    cache.crop(-6)  # a rewound cache is stepped by the same graph
    torch.testing.assert_close(graph.run(IDS[:, 10:11]), wanted[:, 10], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["mistral", "gemma2", "gemma3_text"])
def test_sliding_windows_are_not_recorded(models, model_type: str) -> None:
    assert static_cache(models(model_type).config, 16) is None


def test_a_decoder_with_a_graph(models, monkeypatch) -> None:
    """The way a decoder goes on a GPU, with the recording left out."""
    monkeypatch.setattr("lowrank_core.generation.graph.recorded", again)
    model = models("llama")
    decoder = Decoder(model, 16)
    decoder.cache, decoder._graphs = static_cache(model.config, 16), True
    wanted = whole(model, IDS)
    for start, end in ((0, 9), *((i, i + 1) for i in range(9, 16))):
        torch.testing.assert_close(decoder.run(IDS[:, start:end]), wanted[:, end - 1], rtol=1e-4, atol=1e-4)
    assert decoder.kv_bytes == 16 * 2 * 2 * 2 * 8 * 4
    decoder.rewind(9)
    torch.testing.assert_close(decoder.run(IDS[:, 9:10]), wanted[:, 9], rtol=1e-4, atol=1e-4)
    padded = Decoder(model, 16)
    padded.cache, padded._graphs = static_cache(model.config, 16), True
    padded.run(torch.cat([torch.zeros(1, 2, dtype=torch.long), IDS[:, :9]], 1), torch.tensor([[0, 0] + [1] * 9]))
    torch.testing.assert_close(padded.run(IDS[:, 9:10]), wanted[:, 9], rtol=1e-4, atol=1e-4)
    fresh = Decoder(model, 24)
    fresh.cache, fresh._graphs = static_cache(model.config, 24), True
    fresh.pretend(2, 20)
    assert fresh.run(torch.zeros(2, 1, dtype=torch.long)).isfinite().all() and fresh.length == 21
    assert int(fresh.cache.get_seq_length()) == 21
