"""Streams of tokens: greedy or sampled, seeded, cancellable between any two tokens."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedTokenizerBase

from ..errors import BadValue
from .decoder import Decoder

SPARE = 16  # tokens of the context that are kept free for a reply before old turns are dropped
UNBOUNDED = 1 << 30  # families without a longest position


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn with this seed."""

    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """A reply so far: its text, tokens, whether it ended, and the seconds it took (prompt first)."""

    text: str
    tokens: tuple[int, ...]
    finished: bool
    prefill_seconds: float
    decode_seconds: float
    kv_bytes: int  # that the cache stores
    kv_whole_bytes: int  # that it would store with no latents

    @property
    def tokens_per_second(self) -> float:
        """Decoded tokens per second, the first one (which the prompt's pass gives) not counted."""
        return (len(self.tokens) - 1) / self.decode_seconds if self.decode_seconds > 0 else 0.0


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], raw: bool = False) -> Tensor:
    """(1, T) token ids of a chat in the model's template, or of its last message alone where raw or template-less."""
    if raw or not tokenizer.chat_template:
        ids = tokenizer(messages[-1]["content"], add_special_tokens=False).input_ids
    else:
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False).input_ids
    return torch.tensor([ids or [tokenizer.eos_token_id or 0]])


def fitting_prompt(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], context: int, raw: bool = False
) -> Tensor:
    """(1, T) the prompt with T < context: the oldest turns are left out where it outgrows the context, in tokens.

    A system message stays. BadValue where the last message alone is too long.
    """
    head = [m for m in messages[:1] if m["role"] == "system"]
    talk = messages[len(head) :]
    ids = prompt_ids(tokenizer, head + talk, raw)
    while ids.shape[1] >= context - SPARE and len(talk) > 1:
        talk = talk[2:] if len(talk) > 2 else talk[1:]
        ids = prompt_ids(tokenizer, head + talk, raw)
    if ids.shape[1] >= context:
        raise BadValue(f"The prompt has {ids.shape[1]} tokens, the model reads {context}.", "Ask something shorter.")
    return ids


def stop_ids(model: nn.Module) -> set[int]:
    """The tokens that end a reply."""
    ids = model.generation_config.eos_token_id
    return set() if ids is None else set(ids) if isinstance(ids, list) else {ids}


def stream(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Tensor,
    sampling: Sampling,
    context: int | None = None,
    cache: Cache | None = None,
) -> Generator[Reply, None, None]:
    """The reply to a prompt (1, T) after every token; the last one is finished. Closing the generator stops it.

    `context`: the positions the model has, in tokens; by default what its configuration says. `cache`: an empty one to
    fill instead of the plain one.
    """
    for (reply,) in streams(model, tokenizer, [prompt], sampling, context, cache):
        yield reply


def streams(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Tensor],
    sampling: Sampling,
    context: int | None = None,
    cache: Cache | None = None,
) -> Generator[tuple[Reply, ...], None, None]:
    """The replies of one model to several prompts (1, T), in one batch, after every token, until all are finished.

    Shorter prompts are padded on the left. Each reply is what `stream` gives for its prompt alone, up to rounding; its
    seconds are the batch's, its bytes an equal share of the cache.
    """
    generators = [torch.Generator("cpu").manual_seed(sampling.seed) for _ in prompts]
    positions = context or getattr(model.config, "max_position_embeddings", None) or UNBOUNDED
    step, mask = padded(prompts)
    stops, most = stop_ids(model), min(sampling.max_tokens, positions - step.shape[1])
    decoder = Decoder(model, step.shape[1] + most, cache)
    replies: list[Reply | None] = [None] * len(prompts)
    while True:
        began = time.perf_counter()
        logits = decoder.run(step, mask)
        chosen = [_choose(row, sampling.temperature, g) for row, g in zip(logits, generators, strict=True)]
        took = time.perf_counter() - began
        shares = decoder.kv_bytes // len(prompts), decoder.kv_whole_bytes // len(prompts)
        for i, token in enumerate(chosen):
            if replies[i] is None or not replies[i].finished:
                replies[i] = _grown(replies[i], None if token in stops else token, most, took, shares, tokenizer)
        yield tuple(replies)
        if all(r.finished for r in replies):
            return
        step, mask = torch.tensor(chosen)[:, None], None


def padded(prompts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, T) ids of prompts (1, T'), padded on the left to the longest, and (B, T) 1 at tokens and 0 at padding."""
    longest = max(p.shape[1] for p in prompts)
    ids, mask = (torch.zeros(len(prompts), longest, dtype=torch.long) for _ in range(2))
    for i, p in enumerate(prompts):
        ids[i, longest - p.shape[1] :], mask[i, longest - p.shape[1] :] = p[0], 1
    return ids, mask


def _grown(
    before: Reply | None,
    token: int | None,
    most: int,
    took: float,
    shares: tuple[int, int],
    tokenizer: PreTrainedTokenizerBase,
) -> Reply:
    """The reply with one more token; None ends it."""
    tokens = before.tokens if before else ()
    prefill, decode = (before.prefill_seconds, before.decode_seconds) if before else (took, 0.0)
    if token is not None:  # the step that gives the stop token gives no token of the reply
        tokens, decode = (*tokens, token), decode + took if before else 0.0
    finished = token is None or len(tokens) >= most
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    return Reply(text if finished else text.rstrip("\ufffd"), tokens, finished, prefill, decode, *shares)


def stream_pair(first: Generator[Reply, None, None], second: Generator[Reply, None, None]):
    """Pairs of replies, both streams a token further each time, until both have ended."""
    streams, replies = [first, second], [None, None]
    try:
        while True:
            moved = False
            for i, s in enumerate(streams):
                if (reply := next(s, None)) is not None:
                    replies[i], moved = reply, True
            if not moved:
                return
            yield tuple(replies)
    finally:
        for s in streams:
            s.close()


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    weights = (logits.float() / temperature).softmax(-1).cpu()
    return int(torch.multinomial(weights, 1, generator=generator))
