"""Caches that are allocated once: a token writes its keys and values where there is room, and nothing is copied."""

import inspect

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

LEAST = 64  # positions a layer has room for, at least


class PreallocatedLayer(DynamicLayer):
    """The keys and values of one layer in buffers (B, heads, room, width), whose filled part are `keys` and `values`.

    What attention reads is exactly what was written, so no mask is needed; a buffer that is full is doubled.
    """

    def __init__(self, room: int):
        super().__init__()
        self.room = max(room, LEAST)
        self._buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """(B, heads, all so far, width) the keys and the values, with these (B, heads, T, width) at their end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self._fits(end):
            self._allocate(end, key_states, value_states)
        keys, values = self._buffers
        keys[:, :, start:end] = key_states
        values[:, :, start:end] = value_states
        self.keys, self.values = keys[:, :, :end], values[:, :, :end]
        return self.keys, self.values

    def lengthen(self, length: int) -> None:
        """Have `length` positions, the new ones of noise: to time what follows."""
        start, (keys, values) = self.get_seq_length(), self._buffers
        for buffer in (keys, values):  # written, or the system would lend one page of zeros for all of them
            buffer[:, :, start:length].normal_()
        self.keys, self.values = keys[:, :, :length], values[:, :, :length]

    def reset(self) -> None:
        """Forget everything but the room."""
        super().reset()
        self._buffers = None

    def _fits(self, end: int) -> bool:
        """Whether the buffers are there, are those that `keys` lies in (reordering makes others), and have room."""
        if self._buffers is None or end > self._buffers[0].shape[2]:
            return False
        return self.get_seq_length() == 0 or self.keys.data_ptr() == self._buffers[0].data_ptr()

    def _allocate(self, end: int, *states: Tensor) -> None:
        """New buffers with room for `end` positions, holding what was there."""
        while self.room < end:
            self.room *= 2
        filled, made = self.get_seq_length(), []
        for state, old in zip(states, (self.keys, self.values), strict=True):
            buffer = torch.zeros(*state.shape[:2], self.room, state.shape[-1], dtype=state.dtype, device=state.device)
            if filled:
                buffer[:, :, :filled] = old
            made.append(buffer)
        self._buffers = tuple(made)


def preallocated(config, length: int) -> Cache:
    """A cache for `length` positions; layers other than plain attention (sliding windows, states) are as they were."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(length) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def cache_argument(model: nn.Module) -> str:
    """The name under which a model takes its cache."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
