"""The price of a cut: what a site's compressed output costs, token by token, to second order in the loss.

And its drift, the first order: how the loss on the text goes with the cut, window by window. On average over labels
that the model draws itself it is nothing; on a text it is not, and most of what a measurement on a few windows shows
is this.
"""

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
        self.ways: list[Tensor] = []  # (B, R) what each direction does to a window's loss

    def _parts(self, x: Tensor, g: Tensor) -> Tensor:
        """(B, T, R) what each direction gives along the gradient."""
        kind = self.left.dtype
        inner = x.to(kind) @ self.right.T
        return (g.to(kind) @ self.left).mul_(inner if self.shift is None else inner - self.shift)

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m) at a site; NonFinite, naming it, where these are none."""
        parts = self._parts(x, g).flatten(0, -2)
        self.tokens += len(parts)
        self.sums += _finite(parts.flip(1).cumsum_(1).square_().sum(0), where).double()

    def drift(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add the same of windows with the gradients of their own loss."""
        self.ways.append(_finite(self._parts(x, g).sum(-2), where).double())

    def drifts(self) -> Tensor:
        """(N, R + 1) nats by which each window's loss changes to first order at ranks 0 … R."""
        lost = torch.cat(self.ways).flip(1).cumsum(1)
        return -torch.cat([lost.new_zeros(len(lost), 1), lost], 1).flip(1)

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
        self.ways: list[Tensor] = []  # (B, K)

    def _parts(self, x: Tensor, g: Tensor) -> Tensor:
        """(K, B, T) what each cut takes away along the gradient."""
        x = x.float() if self.mean is None else x.float() - self.mean
        return torch.stack([((x @ rest.T) * g.float()).sum(-1) for rest in self.rests])

    def add(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add inputs x (B, T, n) and gradients g (B, T, m) at a site; NonFinite, naming it, where these are none."""
        self.tokens += x[..., 0].numel()
        self.sums += _finite(self._parts(x, g).square().sum((1, 2)), where).double()

    def drift(self, x: Tensor, g: Tensor, where: str) -> None:
        """Add the same of windows with the gradients of their own loss."""
        self.ways.append(_finite(self._parts(x, g).sum(-1).T, where).double())

    def drifts(self) -> Tensor:
        """(N, K) nats by which each window's loss changes to first order at the ranks."""
        return -torch.cat(self.ways)

    def loss(self) -> Tensor:
        """(K,) nats at the ranks; a greater cut never counts as the cheaper one."""
        return (self.sums / (2 * max(self.tokens, 1))).flip(0).cummax(0).values.flip(0)


def _finite(sums: Tensor, where: str) -> Tensor:
    if not sums.isfinite().all():
        raise NonFinite(f"The gradients at {where} hold NaN or infinity.", "Load the model in float32 or bfloat16.")
    return sums
