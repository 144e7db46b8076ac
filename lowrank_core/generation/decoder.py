"""One model at work on one sequence, or on several side by side: the prompt in one pass, then token by token."""

import inspect
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.cache_utils import StaticLayer

from ..kv.cache import stored_bytes, whole_bytes
from ..kv.serving import latent_cache, makes_latents
from ..models.in_float32 import in_float32
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
        self._mask: Tensor | None = None  # (B, length) 1 at tokens and 0 at padding, where there is padding
        self._argument = cache_argument(model)
        self._graph: Graphed | None = None
        graphs = cache is None and self.device.type == "cuda" and not makes_latents(model)
        static = static_cache(model.config, length) if graphs else None
        self.cache = next((c for c in (cache, static) if c is not None), None)
        if self.cache is None:
            self.cache = latent_cache(model, preallocated(model.config, length))
        self._graphs = static is not None

    @torch.inference_mode()
    def run(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, V) logits of what follows the ids (B, T), which follow what was run before; the next run may reuse them.

        `mask`: (B, T) 1 at tokens and 0 at padding, which stands on the left of the first run's shorter sequences.
        On a CUDA device no more positions than the length that was asked for; padded sequences are stepped there
        without a graph.
        """
        batch, tokens = ids.shape
        padding = self._padding(batch, tokens, mask)
        if self._graphs and not padding and tokens == 1 and self.length > 0:
            self._graph = self._graph or Graphed(self.model, self.cache, self._argument, batch)
            logits = self._graph.run(ids)
        else:
            given = {"input_ids": ids.to(self.device), "use_cache": True, "logits_to_keep": 1, **padding}
            with in_float32(self.model) if tokens > 1 else nullcontext():  # of one token it would be overhead
                logits = self.model(**given, **{self._argument: self.cache}).logits[:, -1]
        self.length += tokens
        return logits

    def _padding(self, batch: int, tokens: int, mask: Tensor | None) -> dict[str, Tensor]:
        """What tells a model of the padding so far and of the positions of the tokens at hand; {} without padding."""
        if self._mask is None and (mask is None or bool(mask.all())):
            return {}
        known = torch.ones(batch, self.length, dtype=torch.long) if self._mask is None else self._mask
        fresh = torch.ones(batch, tokens, dtype=torch.long) if mask is None else mask.long().cpu()
        self._mask = torch.cat([known, fresh], 1)
        told = {"attention_mask": self._mask.to(self.device)}
        if "position_ids" in inspect.signature(self.model.forward).parameters:
            positions = (self._mask.cumsum(1) - 1).clamp_min(0)
            told["position_ids"] = positions[:, -tokens:].to(self.device)
        return told

    @property
    def kv_bytes(self) -> int:
        """Bytes of the keys and values, or of the latents, of the positions that were run."""
        stored = stored_bytes(self.cache)
        return stored * self.length // self._static if self._graphs else stored

    @property
    def kv_whole_bytes(self) -> int:
        """What `kv_bytes` would be with no latents anywhere."""
        return self.kv_bytes if self._graphs else whole_bytes(self.cache)

    @torch.inference_mode()
    def rewind(self, length: int) -> None:
        """Forget what came after the first `length` positions."""
        if self.length > length:
            self.cache.crop(length - self.length)
            self.length = length
            self._mask = None if self._mask is None else self._mask[:, :length]

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
