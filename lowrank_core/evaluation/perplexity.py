"""Perplexity by the project's one rule: disjoint windows, T − 1 scored tokens in each; and divergence from a model."""

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..jobs import Job, Progress, job
from ..models.in_float32 import in_float32
from ..types import Divergence, Measurement, Setting

BATCH = 8  # windows at a time


def window_nll(logits: Tensor, ids: Tensor) -> Tensor:
    """(B,) mean nll in nats of the T − 1 predicted tokens of each window; logits (B, T, V), ids (B, T)."""
    targets = nn.functional.pad(ids[:, 1:], (0, 1), value=-100)  # the last position has none: its loss is 0
    nll = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none")
    return nll.view(len(ids), -1).double().sum(1) / (ids.shape[1] - 1)


def window_divergence(dense: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) mean KL(dense ‖ other) in nats, and (B,) share of equal likeliest tokens, of logits (B, T, V) each.

    The last position of a window predicts nothing that is scored and is left out.
    """
    p, q = (x[:, :-1].float().log_softmax(-1) for x in (dense, logits))
    kl = nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)
    return kl.double().mean(1), (p.argmax(-1) == q.argmax(-1)).double().mean(1)


@job
def perplexity(model: nn.Module, windows: Tensor, setting: Setting, dense: nn.Module | None = None) -> Job[Measurement]:
    """The Measurement of a model on windows (N, T) of token ids; NonFinite where the loss is not a number.

    `dense`: measure the divergence from it, too, on the same tokens.
    """
    device = next(model.parameters()).device
    found: list[float] = []
    apart: list[tuple[float, float]] = []
    for batch in windows.split(BATCH):
        with torch.no_grad(), in_float32(model):
            ids = batch.to(device)
            logits = model(input_ids=ids, use_cache=False).logits
            found += window_nll(logits, ids).tolist()
            if dense is not None:
                kl, agreement = window_divergence(dense(input_ids=ids, use_cache=False).logits, logits)
                apart += zip(kl.tolist(), agreement.tolist(), strict=True)
        yield Progress("perplexity", len(found), len(windows), setting.text)
    divergence = Divergence(*(sum(x) / len(x) for x in zip(*apart, strict=True))) if apart else None
    return measurement(found, windows, setting, divergence)


def measurement(
    found: list[float], windows: Tensor, setting: Setting, divergence: Divergence | None = None
) -> Measurement:
    """The Measurement of per-window losses."""
    nll = sum(found) / len(found)
    if nll != nll or nll == float("inf"):
        raise NonFinite("The loss is not a finite number.", "Load the model in float32 or bfloat16.")
    return Measurement(nll, len(windows) * (windows.shape[1] - 1), setting, tuple(found), divergence)
