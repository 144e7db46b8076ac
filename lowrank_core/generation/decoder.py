"""One model at work on one sequence, or on several side by side: the prompt in one pass, then token by token."""

import torch
from torch import Tensor, nn
from transformers import Cache

from .cache import PreallocatedLayer, cache_argument, preallocated


class Decoder:
    """Runs a model over a cache that is allocated once; chat, the command line and the benchmark step the same one."""

    def __init__(self, model: nn.Module, length: int, cache: Cache | None = None):
        """`length`: positions the cache has room for from the start. `cache`: another one to fill, a latent one say."""
        self.model = model
        self.device = next(model.parameters()).device
        self.cache = preallocated(model.config, length) if cache is None else cache
        self._argument = cache_argument(model)

    @torch.inference_mode()
    def run(self, ids: Tensor) -> Tensor:
        """(B, V) logits of what follows the ids (B, T), which follow what was run before."""
        given = {"input_ids": ids.to(self.device), "use_cache": True, "logits_to_keep": 1, self._argument: self.cache}
        return self.model(**given).logits[:, -1]

    @property
    def length(self) -> int:
        """Positions that were run."""
        return int(self.cache.get_seq_length())

    def rewind(self, length: int) -> None:
        """Forget what came after the first `length` positions."""
        if (surplus := self.length - length) > 0:
            self.cache.crop(-surplus)

    @torch.inference_mode()
    def pretend(self, batch: int, length: int) -> None:
        """Have the cache hold `length` positions of `batch` sequences, to time what follows: of what text is no matter.

        Where a layer cannot be told so, the positions are run.
        """
        ids = torch.zeros(batch, 1, dtype=torch.long)
        self.run(ids)
        if all(isinstance(layer, PreallocatedLayer) for layer in self.cache.layers):
            for layer in self.cache.layers:
                layer.lengthen(length)
        else:
            self.run(ids.expand(batch, length - 1))
