"""How many of the simple world's facts a model still knows, asked in phrasings it never saw."""

import random
from collections import defaultdict

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from ..generation.stream import prompt_ids
from ..jobs import Job, Progress, job
from .world import exam

REPLY_TOKENS = 24


def questions(count: int | None = None, seed: int = 0) -> list[tuple[str, str]]:
    """(question, right reply): all held-out phrasings of all facts, or a seeded choice of `count`."""
    everything = exam()
    return everything if count is None else random.Random(seed).sample(everything, count)


@job
def fact_accuracy(model: nn.Module, tokenizer: PreTrainedTokenizerBase, asked: list[tuple[str, str]]) -> Job[float]:
    """Share of questions whose greedy reply is the right one to the letter; questions of one length run together."""
    groups: dict[int, list[tuple[torch.Tensor, str]]] = defaultdict(list)
    for question, right in asked:
        ids = prompt_ids(tokenizer, [{"role": "user", "content": question}])
        groups[ids.shape[1]].append((ids, right))
    known = done = 0
    for batch in groups.values():
        replies = _replies(model, tokenizer, torch.cat([ids for ids, _ in batch]))
        known += sum(reply == right for reply, (_, right) in zip(replies, batch, strict=True))
        done += len(batch)
        yield Progress("facts", done, len(asked))
    return known / len(asked)


@torch.no_grad()
def _replies(model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: torch.Tensor) -> list[str]:
    device = next(model.parameters()).device
    prompts = prompts.to(device)
    out = model.generate(
        input_ids=prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=REPLY_TOKENS, do_sample=False
    )
    texts = tokenizer.batch_decode(out[:, prompts.shape[1] :])
    return [t.split(tokenizer.eos_token)[0].strip() for t in texts]
