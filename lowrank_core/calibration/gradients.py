"""The mean squared loss gradient at every site's output: what an output error costs in nats."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..jobs import Job
from ..models.loading import LoadedModel
from .backward import go_backward


@dataclass
class Squares:
    """A running sum over tokens of one site's squared output gradients; float64."""

    tokens: int
    total: Tensor  # (m,)

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add gradients g (B, T, m)."""
        flat = g.flatten(0, -2).double()
        self.tokens += len(flat)
        self.total += flat.square().sum(0)


def collect_gradients(loaded: LoadedModel, windows: Tensor, seed: int = 0) -> Job[dict[str, Tensor]]:
    """path → (m,) float64 E[g²] per token, g the gradient of the summed token losses at the site's output.

    windows (N, T); see `go_backward`.
    """
    found: dict[str, Tensor] = {}

    def start(site) -> Squares:
        return Squares(0, torch.zeros(site.d_out, dtype=torch.float64, device=loaded.device))

    def keep(site, squares: Squares) -> None:
        found[site.path] = squares.total / squares.tokens

    yield from go_backward(loaded, windows, loaded.anatomy.sites, start, keep, seed)
    return found
