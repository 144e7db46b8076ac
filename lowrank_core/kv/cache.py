"""A cache layer that keeps latents only, and makes keys and values of them when attention asks."""

import inspect
import sys
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

from ..errors import BadValue, ModelUnsupported
from ..models.attention import key_norm, latent_layers, unsupported
from ..modules import LatentLinear
from .positions import Positions

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of the largest value; half precision 5e-2


class LatentLayer(CacheLayerMixin):
    """One block's latents (B, T, r); keys are rebuilt, normed and rotated by their true positions on every read.

    What attention gets is what the model's own layers would have given it: the first tokens of every cache are
    compared, and a model whose keys come about in another way is refused then. `attention` is the module whose latents
    these are, `rotary` the model's, None without rotary positions; the block's hook brings latents and positions.
    """

    is_sliding = False
    is_croppable = True
    supports_early_init = False

    def __init__(self, attention: nn.Module, rotary: nn.Module | None, positions: Positions | None):
        super().__init__()
        self.attention, self.rotary = attention, rotary
        self.positions = positions or Positions()
        self.leads = positions is None  # the first of its cache: it alone changes what all layers share
        self.latents: Tensor | None = None  # (B, T, r)
        self._fresh: Tensor | None = None  # (B, T', r) latents of the tokens at hand

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def deposit(self, attention: nn.Module, hidden: Tensor, position_ids: Tensor | None) -> None:
        """Take in the tokens that attention is about to read, (B, T', d_in) at positions (B, T') or (1, T')."""
        layers = latent_layers(attention)
        if not self.serves(attention):
            raise BadValue("This cache belongs to another model.", "Make a new one for this model.")
        self._fresh = torch.cat([layer.latents(hidden) for layer in layers], -1)
        if self.leads and self.rotary is not None:
            if position_ids is None:
                raise unsupported("its attention is not told the tokens' positions")
            self.positions.extend(position_ids.expand(len(hidden), -1))

    def serves(self, attention: nn.Module) -> bool:
        """Whether these are latents of that module's layers (of a copy that shares their weights, too)."""
        mine, others = latent_layers(self.attention), latent_layers(attention)
        return len(mine) == len(others) and all(
            a is b or a.weight is b.weight for a, b in zip(mine, others, strict=True)
        )

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """(B, heads, T, head size) all keys, rotated, and all values; the ones given are not kept."""
        if self._fresh is None:
            raise BadValue("This cache belongs to another model.", "Make a new one for this model.")
        fresh, self._fresh = self._fresh, None
        first = self.latents is None
        self.latents = fresh if first else torch.cat([self.latents, fresh], 1)
        self.is_initialized = True
        keys, values = self.rebuilt(key_states.dtype)
        if first:
            _check(keys.detach(), key_states.detach())
            _check(values.detach(), value_states.detach())
        return keys, values

    def rebuilt(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """(B, heads, T, head size) keys and values of every token."""
        layers, attention = latent_layers(self.attention), self.attention
        parts = self.latents.split([layer.rank for layer in layers], -1)
        made = torch.cat([layer.rebuilt(z) for layer, z in zip(layers, parts, strict=True)], -1)
        size = attention.head_dim
        flat_keys, flat_values = made.split(_widths(layers), -1)
        if (norm := key_norm(attention)) is not None and norm.weight.numel() != size:
            flat_keys = norm(flat_keys)  # the whole width at once (OLMo2), before the heads are told apart
        keys = flat_keys.unflatten(-1, (-1, size))
        if norm is not None and norm.weight.numel() == size:
            keys = norm(keys)
        keys, values = keys.transpose(1, 2), flat_values.unflatten(-1, (-1, size)).transpose(1, 2)
        if self.rotary is not None and getattr(attention, "use_rope", True):
            keys = self._rotated(keys)
        return keys.to(dtype), values.to(dtype)

    def _rotated(self, keys: Tensor) -> Tensor:
        """(B, heads, T, head size) keys turned by their positions, by the family's own rotation."""
        ids = self.positions.all(len(keys), keys.device)[:, : keys.shape[2]]
        kind = {"layer_type": self.attention.layer_type} if takes_layer_type(self.rotary) else {}
        cosines, sines = self.rotary(keys, ids.long(), **kind)
        rotate = sys.modules[type(self.attention).__module__].apply_rotary_pos_emb
        turned, whole = keys[..., : cosines.shape[-1]], keys.shape[-1]
        _, turned = rotate(turned[:, :0], turned, cosines, sines)  # no query: this is about keys
        return turned if turned.shape[-1] == whole else torch.cat([turned, keys[..., turned.shape[-1] :]], -1)

    def pretend(self, batch: int, length: int, device: torch.device, dtype: torch.dtype) -> None:
        """Have `length` tokens of `batch` sequences, of noise: to time what follows."""
        latents = sum(layer.rank for layer in latent_layers(self.attention))
        self.latents = torch.randn(batch, length, latents, device=device, dtype=dtype)
        self.is_initialized = True
        if self.leads and self.rotary is not None:
            self.positions.reset()
            self.positions.extend(torch.arange(length, device=device).expand(batch, -1))

    # --- what a cache can be asked for --------------------------------------------------------------------------------

    def get_seq_length(self) -> int:
        return 0 if self.latents is None else self.latents.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, given as a negative number, as transformers does; BadValue beyond its length."""
        length = self.get_seq_length()
        if tokens_to_remove > 0 or -tokens_to_remove > length:
            raise BadValue(
                f"A cache of {length} tokens cannot be cropped by {tokens_to_remove}.",
                f"Give a number from {-length} to 0: how many of its last tokens to forget.",
            )
        if tokens_to_remove and length:
            self.latents = self.latents[:, : length + tokens_to_remove].clone()  # a view would keep all of it alive
            self.positions.crop(length + tokens_to_remove)

    def reset(self) -> None:
        self.latents = self._fresh = None
        self.is_initialized = False
        self.positions.reset()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch."""
        if self.latents is not None:
            self.latents = self.latents[indices.to(self.latents.device)]
        if self.leads:
            self.positions.select(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row of the batch that many times."""
        if self.latents is not None:
            self.latents = self.latents.repeat_interleave(repeats, 0)
        if self.leads:
            self.positions.repeat(repeats)

    def offload(self) -> None:
        raise ModelUnsupported("Latents are not offloaded.", "Generate without an offloaded cache.")

    def prefetch(self) -> None:
        pass

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What is stored; positions once per cache."""
        own = () if self.latents is None else (self.latents,)
        return (*own, *self.positions.tensors) if self.leads else own


def _widths(layers: Iterable[LatentLinear]) -> list[int]:
    """[d_k, d_v]."""
    layers = tuple(layers)
    if len(layers) == 2:
        return [layer.width for layer in layers]
    keys = layers[0].width // 2 if layers[0].lead else layers[0].shown
    return [keys, layers[0].width - keys]


def _check(made: Tensor, given: Tensor) -> None:
    """Nothing; ModelUnsupported where rebuilt keys or values are not the model's own."""
    apart = float((made - given).abs().amax()) if made.numel() and made.shape == given.shape else 0.0
    most = TOLERANCE.get(given.dtype, 5e-2) * max(float(given.abs().amax()), 1e-6) if given.numel() else 0.0
    if made.shape != given.shape or apart > most:
        raise unsupported("its keys or values do not come about as in the families that this program knows")


def takes_layer_type(rotary: nn.Module) -> bool:
    """Whether a model rotates in more than one way, by the kind of layer."""
    return "layer_type" in inspect.signature(rotary.forward).parameters


def whole_bytes(cache: Cache) -> int:
    """Bytes that the same tokens would take if every layer kept its keys and values themselves."""
    latent = [layer for layer in cache.layers if isinstance(layer, LatentLayer) and layer.latents is not None]
    kept = sum(layer.latents.nbytes for layer in latent) + sum(
        t.nbytes for x in latent[:1] for t in x.positions.tensors
    )
    widths = [sum(_widths(latent_layers(layer.attention))) for layer in latent]
    return (
        stored_bytes(cache)
        - kept
        + sum(
            layer.latents[..., 0].numel() * width * layer.latents.element_size()
            for layer, width in zip(latent, widths, strict=True)
        )
    )


def stored_bytes(cache: Cache, dtype: torch.dtype | None = None) -> int:
    """Bytes of all that a cache stores, counted from its tensors: latents, positions, ordinary keys and values.

    `dtype`: as if keys, values and latents were in this one.
    """
    found: dict[int, Tensor] = {}
    for layer in cache.layers:
        plain = (getattr(layer, "keys", None), getattr(layer, "values", None))  # a layer of states has neither
        kept = layer.tensors if isinstance(layer, LatentLayer) else plain
        found |= {id(t): t for t in kept if isinstance(t, Tensor)}
    return sum(
        t.numel() * (dtype.itemsize if dtype and t.is_floating_point() else t.element_size()) for t in found.values()
    )
