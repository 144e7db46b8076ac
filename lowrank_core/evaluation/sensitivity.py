"""What one unit costs: its factors in place, everything else dense, the loss against the dense loss, window by window.

Both losses are on the same windows, so that their differences need few of them. The hidden states that enter each
block are kept, so a change in block b runs blocks b … L only; where several candidates of a unit are asked for, they
share what ran before it in the block and run side by side.

Memory: blocks × windows × T × d numbers, and one block's activations for `STACK` windows.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..jobs import Job, Progress
from ..models.blocks import BlockRunner
from ..models.inside import logits_side_by_side, record
from ..models.loading import LoadedModel
from ..models.surgery import exchanged, share_copy
from ..types import Unit
from .perplexity import BATCH, window_nll

STACK = {"cpu": 4, "cuda": 64}  # candidates × windows that run as one batch: what the caches, or the cores, like


class Probe:
    """The dense model on the probe windows, ready to have single units exchanged."""

    def __init__(self, loaded: LoadedModel, windows: Tensor):
        self.model = share_copy(loaded.model)
        self.runner = BlockRunner(self.model, loaded.anatomy.block_paths)
        self.groups = loaded.anatomy.groups
        self.windows = windows.to(loaded.device)
        self.stack = STACK.get(loaded.device.type, BATCH)
        self.hidden: list[Tensor] = []  # block → (N, T, d) what enters it
        self.dense_nll = torch.empty(0)  # (N,) per window

    @property
    def tokens(self) -> int:
        return self.windows.numel()

    def share(self, unit: Unit) -> float:
        """The share of the blocks that a change in a unit runs: what a token of its measurement counts for."""
        return 1 - unit.block / len(self.runner.blocks)

    def prepare(self) -> Job[None]:
        """Run the dense model once and keep what enters each block."""
        parts = self.windows.split(BATCH)
        self.hidden = [torch.cat([self.runner.embed(ids) for ids in parts])]
        total = len(self.runner.blocks)
        for index in range(total - 1):
            entering = self.hidden[-1].split(BATCH)
            self.hidden.append(
                torch.cat([self.runner.step(index, h, ids) for h, ids in zip(entering, parts, strict=True)])
            )
            yield Progress("probe", index + 1, total, "the dense model")
        self.dense_nll = torch.cat([self._nll(total - 1, at, {}) for at in self._batches(0, len(self.windows))])
        yield Progress("probe", total, total, "the dense model")

    def measure(
        self, unit: Unit, candidates: Sequence[Mapping[str, nn.Module]], first: int = 0, last: int | None = None
    ) -> Tensor:
        """(K, N) float64 loss above dense, nats per token, of K candidates on the windows `first` to before `last`.

        A candidate: site path → the module that takes its place, for every site of the unit.
        """
        parts = [self._differences(unit, candidates, at) for at in self._batches(first, last or len(self.windows))]
        return torch.cat(parts, 1)

    def _batches(self, first: int, last: int) -> list[slice]:
        return [slice(at, min(at + self.stack, last)) for at in range(first, last, self.stack)]

    def _differences(self, unit: Unit, candidates: Sequence[Mapping[str, nn.Module]], at: slice) -> Tensor:
        """(K, n) of the windows `at`."""
        if len(candidates) == 1:  # nothing to share
            return (self._nll(unit.block, at, candidates[0]) - self.dense_nll[at])[None]
        ids = self.windows[at]
        recording = record(self.runner, unit.block, self.hidden[unit.block][at], ids)
        paths = [s.path for s in unit.sites]
        beside = [s.path for s in self.groups[unit.group] if s.path not in paths]
        side = max(1, self.stack // len(ids))
        found = []
        for i in range(0, len(candidates), side):
            some = candidates[i : i + side]
            logits = logits_side_by_side(self.runner, recording, paths, beside, some)
            found.append(window_nll(logits, ids.repeat(len(some), 1)).view(len(some), -1) - self.dense_nll[at])
        return torch.cat(found)

    @torch.no_grad()
    def _nll(self, start: int, at: slice, modules: Mapping[str, nn.Module]) -> Tensor:
        with exchanged(self.model, modules):
            logits = self.runner.logits(self.windows[at], start, self.hidden[start][at])
        return window_nll(logits, self.windows[at])
