"""The price of a cut: what a site's compressed output costs, token by token, to second order in the loss."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import NonFinite


class Prices:
    """Running sums over tokens for one site's sliceable factors: the price of every rank.

    ½ E[(gᵀ Δ x)²] with Δ = left[:, r:] right[r:], in nats. Unlike ½ tr(Δᵀ G Δ C) it knows that loud tokens may have
    faint gradients.
    """

    def __init__(self, left: Tensor, right: Tensor, mean: Tensor | None = None):
        kind = torch.promote_types(left.dtype, torch.float32)  # half precision sums too coarsely
        self.left, self.right = left.to(kind), right.to(kind)  # (m, R), (R, n)
        self.shift = None if mean is None else self.right @ mean.to(kind)  # with centring the bias makes good Δ mean
        self.tokens = 0
        self.sums = torch.zeros(left.shape[1], dtype=torch.float64, device=left.device)

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m) at a site; NonFinite, naming it, where these are none."""
        kind = self.left.dtype
        inner = x.flatten(0, -2).to(kind) @ self.right.T
        parts = (g.flatten(0, -2).to(kind) @ self.left).mul_(inner if self.shift is None else inner - self.shift)
        self.tokens += len(parts)
        self.sums += _finite(parts.flip(1).cumsum_(1).square_().sum(0), where).double()

    def loss(self) -> Tensor:
        """(R + 1,) nats at ranks 0 … R; a greater cut never counts as the cheaper one."""
        whole = torch.cat([self.sums.new_zeros(1), self.sums]) / (2 * max(self.tokens, 1))
        return whole.cummax(0).values.flip(0)


class CutPrices:
    """The same for factors that are made rank by rank: the price of the ranks at hand.

    rests: W − Ŵ (m, n) at each of them, rank rising.
    """

    def __init__(self, rests: Sequence[Tensor], mean: Tensor | None = None):
        self.rests = [r.float() for r in rests]
        self.mean = None if mean is None else mean.float()
        self.tokens = 0
        self.sums = torch.zeros(len(rests), dtype=torch.float64, device=rests[0].device)

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m) at a site; NonFinite, naming it, where these are none."""
        x, g = x.flatten(0, -2).float(), g.flatten(0, -2).float()
        x = x if self.mean is None else x - self.mean
        self.tokens += len(x)
        prices = [((x @ rest.T) * g).sum(1).square().sum() for rest in self.rests]
        self.sums += _finite(torch.stack(prices), where).double()

    def loss(self) -> Tensor:
        """(K,) nats at the ranks; a greater cut never counts as the cheaper one."""
        return (self.sums / (2 * max(self.tokens, 1))).flip(0).cummax(0).values.flip(0)


def _finite(sums: Tensor, where: str) -> Tensor:
    if not sums.isfinite().all():
        raise NonFinite(f"The gradients at {where} hold NaN or infinity.", "Load the model in float32 or bfloat16.")
    return sums
