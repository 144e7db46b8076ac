"""Where two models part, token by token, while both read the same text (teacher forcing)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.in_float32 import in_float32

TOP = 3
ROWS = 64  # tokens at a time whose whole distributions are compared
Likely = tuple[tuple[int, float], ...]  # the likeliest tokens and their probabilities, falling


@dataclass(frozen=True)
class TokenDivergence:
    """Two models' distributions at one token of a reply, both having read the prompt and the reply before it."""

    token: int  # the one that the reply goes on with
    kl: float  # KL(first ‖ second), nats
    first: Likely
    second: Likely


@torch.no_grad()
def token_divergence(
    first: nn.Module, second: nn.Module, prompt: Tensor, reply: Sequence[int], top: int = TOP
) -> tuple[TokenDivergence, ...]:
    """The TokenDivergence of every token of a reply, from one pass of each model.

    prompt (1, T) token ids; memory: two times len(reply) × vocabulary logits in the models' dtype.
    """
    if not reply:
        return ()
    device = next(first.parameters()).device
    ids = torch.cat([prompt.to(device), torch.tensor([list(reply)], device=device)], 1)
    found: list[TokenDivergence] = []
    for rows in zip(*(_logits(model, ids, len(reply)).split(ROWS) for model in (first, second)), strict=True):
        p, q = (x.float().log_softmax(-1) for x in rows)
        kl = nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1).clamp(min=0)  # −1e-8 is rounding
        tokens = reply[len(found) : len(found) + len(p)]
        found += map(TokenDivergence, tokens, kl.tolist(), _likely(p, top), _likely(q, top))
    return tuple(found)


def _logits(model: nn.Module, ids: Tensor, count: int) -> Tensor:
    """(count, V) for the last `count` tokens of ids (1, T), each given those before it."""
    with in_float32(model):
        return model(input_ids=ids, use_cache=False, logits_to_keep=count + 1).logits[0, -count - 1 : -1]


def _likely(log_probabilities: Tensor, top: int) -> list[Likely]:
    values, tokens = log_probabilities.topk(top)
    return [tuple(zip(t, v, strict=True)) for t, v in zip(tokens.tolist(), values.exp().tolist(), strict=True)]
