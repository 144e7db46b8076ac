"""Perplexity by the project's one rule: disjoint windows, T − 1 scored tokens in each."""

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..jobs import Job, Progress, job
from ..types import Measurement, Setting

BATCH = 8  # windows at a time


def window_nll(logits: Tensor, ids: Tensor) -> Tensor:
    """(B,) mean nll in nats of the T − 1 predicted tokens of each window; logits (B, T, V), ids (B, T)."""
    flat = logits[:, :-1].float().flatten(0, 1)
    nll = nn.functional.cross_entropy(flat, ids[:, 1:].flatten(), reduction="none")
    return nll.view(len(ids), -1).double().mean(1)


@job
def perplexity(model: nn.Module, windows: Tensor, setting: Setting) -> Job[Measurement]:
    """The Measurement of a model on windows (N, T) of token ids; NonFinite where the loss is not a number."""
    device = next(model.parameters()).device
    found: list[float] = []
    for batch in windows.split(BATCH):
        with torch.no_grad():
            ids = batch.to(device)
            found += window_nll(model(input_ids=ids, use_cache=False).logits, ids).tolist()
        yield Progress("perplexity", len(found), len(windows), setting.text)
    return measurement(found, windows, setting)


def measurement(found: list[float], windows: Tensor, setting: Setting) -> Measurement:
    """The Measurement of per-window losses."""
    nll = sum(found) / len(found)
    if nll != nll or nll == float("inf"):
        raise NonFinite("The loss is not a finite number.", "Load the model in float32 or bfloat16.")
    return Measurement(nll, len(windows) * (windows.shape[1] - 1), setting, tuple(found))
