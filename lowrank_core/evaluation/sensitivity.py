"""What one unit costs: its factors in place, everything else dense, the loss against the dense loss.

Both losses are on the same windows.
The hidden states that enter each block are kept, so a change in block b runs blocks b … L only.
Memory: (blocks + 1) × windows × T × d floats.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..jobs import Job, Progress
from ..models.blocks import BlockRunner
from ..models.loading import LoadedModel
from ..models.surgery import exchanged, share_copy
from ..types import Point, Unit
from .perplexity import BATCH, window_nll


class Probe:
    """The dense model on the probe windows, ready to have single sites exchanged."""

    def __init__(self, loaded: LoadedModel, windows: Tensor):
        self.model = share_copy(loaded.model)
        self.runner = BlockRunner(self.model, loaded.anatomy.block_paths)
        self.batches = [b.to(loaded.device) for b in windows.split(BATCH)]
        self.hidden: list[list[Tensor]] = []  # block → batch → (B, T, d)
        self.dense_nll = torch.empty(0)  # (N,) per window

    @property
    def tokens(self) -> int:
        return sum(b.numel() for b in self.batches)

    def prepare(self) -> Job[None]:
        """Run the dense model once and keep what enters each block."""
        self.hidden = [[self.runner.embed(ids) for ids in self.batches]]
        total = len(self.runner.blocks)
        for index in range(total - 1):
            self.hidden.append(
                [self.runner.step(index, h, i) for h, i in zip(self.hidden[-1], self.batches, strict=True)]
            )
            yield Progress("probe", index + 1, total, "the dense model")
        self.dense_nll = self._nll(total - 1)
        yield Progress("probe", total, total, "the dense model")

    def measure(self, unit: Unit, keep: float, rank: int, modules: Mapping[str, nn.Module]) -> Point:
        """The Point of a unit with these modules (site path → module) in its place."""
        with exchanged(self.model, modules):
            difference = self._nll(unit.block) - self.dense_nll
        spread = difference.std().item() / math.sqrt(len(difference)) if len(difference) > 1 else 0.0
        return Point(unit.path, keep, rank, difference.mean().item(), spread)

    @torch.no_grad()
    def _nll(self, start: int) -> Tensor:
        return torch.cat(
            [
                window_nll(self.runner.logits(ids, start, hidden), ids)
                for ids, hidden in zip(self.batches, self.hidden[start], strict=True)
            ]
        )
