"""Run a model from any block on, by the model's own code: embedding, masks, positions, norm and head stay its own.

Blocks that need not run pass their input through; the block to start from is given stored hidden states.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .in_float32 import in_float32


class _Stopped(Exception):
    """Ends a forward pass once the wanted hidden states are at hand."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden


def _hidden_of(value) -> Tensor:
    return value[0] if isinstance(value, tuple) else value


class BlockRunner:
    """Runs parts of a causal model; the model is left as it was after every call."""

    def __init__(self, model: nn.Module, block_paths: tuple[str, ...]):
        self.model = model
        self.blocks = [model.get_submodule(p) for p in block_paths]
        self._in_tuple = self._returns_tuple()  # asked now: later a caller's hooks would count the pass it takes

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """(B, T, d) hidden states that enter block 0 for token ids (B, T)."""
        with self._stop_before(0):
            return self._until_stopped(ids)

    @torch.no_grad()
    def step(self, index: int, hidden: Tensor, ids: Tensor) -> Tensor:
        """(B, T, d) what block `index` makes of the hidden states that enter it."""
        return self.graph(index, hidden, ids)

    def graph(self, index: int, hidden: Tensor, ids: Tensor) -> Tensor:
        """The same, with autograd's graph of it where that is on."""
        with self._entering(index, hidden), self._stop_after(index):
            return self._until_stopped(ids)

    def logits(self, ids: Tensor, start: int = 0, hidden: Tensor | None = None) -> Tensor:
        """(B, T, V) logits, running only blocks `start` and later on the hidden states that enter `start`."""
        if hidden is None:
            with in_float32(self.model):
                return self.model(input_ids=ids, use_cache=False).logits
        with self._entering(start, hidden), in_float32(self.model):
            return self.model(input_ids=ids, use_cache=False).logits

    def _until_stopped(self, ids: Tensor) -> Tensor:
        try:
            with in_float32(self.model):
                self.model(input_ids=ids, use_cache=False, logits_to_keep=1)
        except _Stopped as stopped:
            return stopped.hidden
        raise RuntimeError("the model never reached the block")

    @contextmanager
    def _entering(self, start: int, hidden: Tensor) -> Iterator[None]:
        """Blocks before `start` pass through, and `start` receives `hidden` whatever reaches it."""
        skipped = self.blocks[:start]

        def passing(hidden_states, *args, **kwargs):
            return (hidden_states,) if self._in_tuple else hidden_states

        def replace(module, args, kwargs):
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        handle = self.blocks[start].register_forward_pre_hook(replace, with_kwargs=True)
        try:
            for block in skipped:
                block.forward = passing
            yield
        finally:
            handle.remove()
            for block in skipped:
                vars(block).pop("forward", None)

    @torch.no_grad()
    def _returns_tuple(self) -> bool:
        """Whether the blocks return their hidden states inside a tuple."""
        found = []
        handle = self.blocks[0].register_forward_hook(
            lambda module, args, output: found.append(isinstance(output, tuple))
        )
        try:
            device = next(self.model.parameters()).device
            self.model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        finally:
            handle.remove()
        return found[0]

    @contextmanager
    def _stop_before(self, index: int) -> Iterator[None]:
        def stop(module, args, kwargs):
            raise _Stopped(args[0] if args else kwargs["hidden_states"])

        handle = self.blocks[index].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def _stop_after(self, index: int) -> Iterator[None]:
        def stop(module, args, output):
            raise _Stopped(_hidden_of(output))

        handle = self.blocks[index].register_forward_hook(stop)
        try:
            yield
        finally:
            handle.remove()
