"""What a cache of latents costs in time: keys and values are made anew for every token that is decoded."""

import statistics
import time

import torch
from torch import nn

from .cache import LatentLayer
from .serving import latent_cache

CONTEXTS = (128, 512, 2048)  # tokens the price is told at
REPEATS = 7


@torch.inference_mode()
def rebuild_ms(model: nn.Module, context: int, repeats: int = REPEATS) -> float:
    """Milliseconds in which all blocks make the keys and values of `context` tokens from their latents: the price of
    every decoded token at that context. The median of some rounds; latents are noise, of what text is no matter.
    """
    parameter = next(model.parameters())
    layers = [layer for layer in latent_cache(model).layers if isinstance(layer, LatentLayer)]
    for layer in layers:
        layer.pretend(1, context, parameter.device, parameter.dtype)
    taken = []
    for _ in range(repeats + 1):
        wait_for(parameter.device)
        began = time.perf_counter()
        for layer in layers:
            layer.rebuilt(parameter.dtype)
        wait_for(parameter.device)
        taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken[1:])


def wait_for(device: torch.device) -> None:
    """Return when what was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
