"""One model at work on one sequence, or on several side by side: the prompt in one pass, then token by token."""

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import StaticLayer

from ..kv.cache import stored_bytes
from ..kv.serving import latent_cache, makes_latents
from .cache import PreallocatedLayer, cache_argument, preallocated
from .graph import Graphed, static_cache


class Decoder:
    """Runs a model over a cache that is allocated once; chat, the command line and the benchmark step the same one.

    On a CUDA device the steps of one token are a graph, where the model's layers allow it.
    """

    def __init__(self, model: nn.Module, length: int, cache: Cache | None = None):
        """`length`: positions there is room for from the start. `cache`: another one to fill, a latent one say."""
        self.model = model
        self.device = next(model.parameters()).device
        self.length = 0  # positions that were run
        self._argument = cache_argument(model)
        self._graph: Graphed | None = None
        graphs = cache is None and self.device.type == "cuda" and not makes_latents(model)
        static = static_cache(model.config, length) if graphs else None
        self.cache = next((c for c in (cache, static) if c is not None), None)
        if self.cache is None:
            self.cache = latent_cache(model, preallocated(model.config, length))
        self._graphs = static is not None

    @torch.inference_mode()
    def run(self, ids: Tensor) -> Tensor:
        """(B, V) logits of what follows the ids (B, T), which follow what was run before; the next run may reuse them.

        On a CUDA device no more positions than the length that was asked for.
        """
        batch, tokens = ids.shape
        if self._graphs and tokens == 1 and self.length > 0:
            self._graph = self._graph or Graphed(self.model, self.cache, self._argument, batch)
            logits = self._graph.run(ids)
        else:
            given = {"input_ids": ids.to(self.device), "use_cache": True, "logits_to_keep": 1}
            logits = self.model(**given, **{self._argument: self.cache}).logits[:, -1]
        self.length += tokens
        return logits

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values, or of the latents, of the positions that were run."""
        stored = stored_bytes(self.cache)
        return stored * self.length // self._static if self._graphs else stored

    def rewind(self, length: int) -> None:
        """Forget what came after the first `length` positions."""
        if self.length > length:
            self.cache.crop(length - self.length)
            self.length = length

    @torch.inference_mode()
    def pretend(self, batch: int, length: int) -> None:
        """Have the cache hold `length` positions of `batch` sequences, to time what follows: of what text is no matter.

        Where a layer cannot be told so, the positions are run.
        """
        ids = torch.zeros(batch, 1, dtype=torch.long)
        self.run(ids)
        if all(isinstance(layer, PreallocatedLayer | StaticLayer) for layer in self.cache.layers):
            for layer in self.cache.layers:
                lengthen(layer, length)
            self.length = length
        elif length > 1:
            self.run(ids.expand(batch, length - 1))

    @property
    def _static(self) -> int:
        """Positions that a static cache takes memory for."""
        return self.cache.layers[0].max_cache_len


def lengthen(layer: PreallocatedLayer | StaticLayer, length: int) -> None:
    """Have a layer that was run hold `length` positions, of noise."""
    if isinstance(layer, PreallocatedLayer):
        layer.lengthen(length)
        return
    layer.keys.normal_()
    layer.values.normal_()
    layer.cumulative_length.fill_(length)
