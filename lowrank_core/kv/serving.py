"""Models whose blocks make latents fill any dynamic cache with them: a hook on each attention module sees to it."""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from ..models.attention import latent_layers, rotary_of, unsupported
from ..modules import LatentLinear
from .cache import LatentLayer


@dataclass
class Deposit:
    """A forward pre-hook on an attention module: it hands the tokens' latents and positions to the cache.

    An ordinary, still empty layer of a DynamicCache is exchanged for a LatentLayer, so that `generate` needs no cache
    of a special kind. An object rather than a closure: a copy of the model gets a hook on the copied modules.
    """

    rotary: nn.Module | None

    def __call__(self, attention: nn.Module, args: tuple, kwargs: dict) -> None:
        cache = next((v for v in (*args, *kwargs.values()) if isinstance(v, Cache)), None)
        if cache is None or not latent_layers(attention):
            return
        layer = self._layer(cache, attention)
        hidden = args[0] if args and isinstance(args[0], Tensor) else kwargs["hidden_states"]
        layer.deposit(attention, hidden, kwargs.get("position_ids"))

    def _layer(self, cache: Cache, attention: nn.Module) -> LatentLayer:
        index = attention.layer_idx
        while len(cache.layers) <= index and cache.layer_class_to_replicate is not None:
            cache.layers.append(cache.layer_class_to_replicate())
        found = cache.layers[index]
        if isinstance(found, LatentLayer):
            return found
        if type(found) is not DynamicLayer or getattr(cache, "offloading", False):
            raise unsupported(f"a {type(found).__name__} was given, and only a DynamicCache can hold latents")
        if found.get_seq_length():
            raise unsupported("the cache that was given holds keys and values of another model")
        first = next((x for x in cache.layers if isinstance(x, LatentLayer)), None)
        cache.layers[index] = LatentLayer(attention, self.rotary, first and first.positions)
        return cache.layers[index]


def makes_latents(model: nn.Module) -> bool:
    """Whether any block's cache holds latents."""
    return any(isinstance(m, LatentLinear) for m in model.modules())


def attach(model: nn.Module) -> nn.Module:
    """The model, its attention modules that make latents hooked; again, it changes nothing."""
    rotary = rotary_of(model)
    for module in model.modules():
        if hasattr(module, "layer_idx") and latent_layers(module):
            hooked = any(isinstance(h, Deposit) for h in module._forward_pre_hooks.values())
            if not hooked:
                module.register_forward_pre_hook(Deposit(rotary), with_kwargs=True)
    return model


def latent_cache(model: nn.Module, cache: DynamicCache | None = None) -> DynamicCache:
    """An empty cache for a model (the one given, or a new one): latents where its blocks make them, else as it was."""
    cache = DynamicCache(config=model.config) if cache is None else cache
    rotary, first = rotary_of(model), None
    for module in model.modules():
        index = getattr(module, "layer_idx", None)
        if index is not None and latent_layers(module):
            cache.layers[index] = LatentLayer(module, rotary, first and first.positions)
            first = first or cache.layers[index]
    return cache
