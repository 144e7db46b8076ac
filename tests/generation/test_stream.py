"""Streams say what `generate` says, count what they did, and stop when they should."""

import pytest
import torch

from lowrank_core.generation.stream import Reply, Sampling, prompt_ids, stop_ids, stream, stream_pair, streams
from lowrank_core.linalg import balanced_svd
from lowrank_core.models.surgery import factored, put, share_copy

CHAT = [{"role": "user", "content": "What is the colour of the sky?"}]


@pytest.fixture
def model(loaded):
    """A second model whose generation settings may be changed; nothing ends its replies."""
    second = share_copy(loaded.model)
    second.generation_config.eos_token_id = None
    return second


@pytest.fixture
def prompt(loaded) -> torch.Tensor:
    return prompt_ids(loaded.tokenizer, CHAT)


def replies(model, loaded, prompt, **sampling) -> list[Reply]:
    return list(stream(model, loaded.tokenizer, prompt, Sampling(**sampling)))


@torch.no_grad()
def test_greedy_equals_generate(loaded, model, prompt) -> None:
    expected = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False, pad_token_id=0
    )[0, prompt.shape[1] :].tolist()
    last = replies(model, loaded, prompt, max_tokens=20)[-1]
    assert list(last.tokens) == expected and last.text == loaded.tokenizer.decode(expected, skip_special_tokens=True)
    assert len(set(expected)) > 3  # it does say something


@torch.no_grad()
def test_greedy_equals_the_whole_model_without_a_cache(loaded, model, prompt) -> None:
    ids = prompt
    for token in replies(model, loaded, prompt, max_tokens=8)[-1].tokens:
        assert int(model(input_ids=ids, use_cache=False).logits[0, -1].argmax()) == token
        ids = torch.cat([ids, torch.tensor([[token]])], 1)


def test_a_reply_counts_as_it_grows(loaded, model, prompt) -> None:
    found = replies(model, loaded, prompt, max_tokens=7)
    assert [len(r.tokens) for r in found] == list(range(1, 8))
    assert [r.finished for r in found] == [False] * 6 + [True]
    position = 3 * 2 * 2 * 8 * 4  # layers · (key, value) · heads · width · bytes
    assert [r.kv_bytes for r in found] == [(prompt.shape[1] + i) * position for i in range(7)]
    assert len({r.prefill_seconds for r in found}) == 1 and found[0].prefill_seconds > 0
    assert found[0].decode_seconds == 0 == found[0].tokens_per_second
    assert all(a.decode_seconds < b.decode_seconds for a, b in zip(found, found[1:], strict=False))
    assert found[-1].tokens_per_second == pytest.approx(6 / found[-1].decode_seconds)
    assert all(b.tokens[: len(a.tokens)] == a.tokens for a, b in zip(found, found[1:], strict=False))
    assert not any(r.text.endswith("\ufffd") for r in found[:-1])


def test_several_prompts_at_once_say_what_each_says_alone(loaded, model, prompt) -> None:
    prompts = [prompt, prompt[:, 3:], torch.tensor([[7, 9, 11, 40]]), prompt[:, 1:]]
    alone = [replies(model, loaded, p, max_tokens=9)[-1] for p in prompts]
    stop = alone[1].tokens[5]
    for ends in (None, stop):
        model.generation_config.eos_token_id = ends
        alone = [replies(model, loaded, p, max_tokens=9) for p in prompts]
        together = list(streams(model, loaded.tokenizer, prompts, Sampling(9)))
        assert len(together) == max(map(len, alone))
        for i, mine in enumerate(alone):
            assert [(r.text, r.tokens, r.finished) for r in (step[i] for step in together)][: len(mine)] == [
                (r.text, r.tokens, r.finished) for r in mine
            ]
            assert together[-1][i].tokens == mine[-1].tokens and together[-1][i].finished
    assert len({len(m) for m in alone}) > 1  # one ended before the others


@pytest.mark.parametrize("as_list", [False, True])
def test_a_stop_token_ends_the_reply_and_is_not_part_of_it(loaded, model, prompt, as_list: bool) -> None:
    tokens = replies(model, loaded, prompt, max_tokens=12)[-1].tokens
    stop = next(t for i, t in enumerate(tokens) if i > 2 and t not in tokens[:i])
    model.generation_config.eos_token_id = [stop, 0] if as_list else stop
    found = replies(model, loaded, prompt, max_tokens=12)
    assert found[-1].finished and found[-1].tokens == tokens[: tokens.index(stop)]
    assert not any(r.finished for r in found[:-1])


def test_a_reply_may_be_empty(loaded, model, prompt) -> None:
    model.generation_config.eos_token_id = replies(model, loaded, prompt, max_tokens=1)[-1].tokens[0]
    (only,) = replies(model, loaded, prompt)
    assert only.finished and only.tokens == () and only.text == "" and only.tokens_per_second == 0


def test_the_models_own_stop(loaded) -> None:
    assert stop_ids(loaded.model) == {loaded.tokenizer.eos_token_id}


def test_the_context_ends_a_reply(loaded, model) -> None:
    prompt = torch.arange(60)[None]
    assert len(replies(model, loaded, prompt, max_tokens=100)[-1].tokens) == 4


def test_sampling_follows_its_seed(loaded, model, prompt) -> None:
    def said(seed: int, temperature: float = 1.5) -> tuple[int, ...]:
        return replies(model, loaded, prompt, max_tokens=15, temperature=temperature, seed=seed)[-1].tokens

    torch.manual_seed(5)
    first = said(0)
    torch.manual_seed(6)  # the stream's randomness is its own
    assert said(0) == first and len({said(s) for s in range(4)}) == 4
    assert said(3, 1e-4) == replies(model, loaded, prompt, max_tokens=15)[-1].tokens


def test_prompts(loaded) -> None:
    tokenizer = loaded.tokenizer
    assert (
        tokenizer.decode(prompt_ids(tokenizer, CHAT)[0]) == "<|user|>What is the colour of the sky?<|end|><|assistant|>"
    )
    raw = prompt_ids(tokenizer, CHAT, raw=True)
    assert tokenizer.decode(raw[0]) == CHAT[0]["content"]
    assert prompt_ids(tokenizer, [{"role": "user", "content": ""}], raw=True).tolist() == [[tokenizer.eos_token_id]]
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        assert torch.equal(prompt_ids(tokenizer, CHAT), raw)
    finally:
        tokenizer.chat_template = template


def test_a_compressed_model_streams_too(loaded, model, prompt) -> None:
    whole = replies(model, loaded, prompt, max_tokens=6)[-1].tokens
    for rank, same in ((32, True), (2, False)):
        for site in loaded.anatomy.sites:
            linear = loaded.model.get_submodule(site.path)
            left, right, _, _ = balanced_svd(linear.weight.double())
            put(model, site.path, factored(linear, left[:, :rank], right[:rank]))
        assert (replies(model, loaded, prompt, max_tokens=6)[-1].tokens == whole) == same


def test_a_pair_goes_side_by_side_until_both_have_ended(loaded, model, prompt) -> None:
    def one(tokens: int):
        return stream(model, loaded.tokenizer, prompt, Sampling(tokens))

    pairs = list(stream_pair(one(3), one(6)))
    assert [(len(a.tokens), len(b.tokens)) for a, b in pairs] == [(1, 1), (2, 2), (3, 3), (3, 4), (3, 5), (3, 6)]
    assert [a.finished for a, _ in pairs] == [False, False, True, True, True, True] and pairs[-1][1].finished
    assert pairs[-1][0].tokens == pairs[-1][1].tokens[:3]


def test_a_pair_that_is_closed_closes_both(loaded, model, prompt) -> None:
    both = [stream(model, loaded.tokenizer, prompt, Sampling(50)) for _ in range(2)]
    pair = stream_pair(*both)
    next(pair)
    pair.close()
    assert [next(s, None) for s in both] == [None, None]
