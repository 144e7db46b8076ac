"""A layer whose keys and values are of low rank, so that a cache need keep their latents only."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .pivoted import unpacked


class LatentGroup(NamedTuple):
    """Outputs that share latents."""

    rows: tuple[int, ...]  # first and last + 1 of each run of them, of the keys and values
    rank: int  # latents per token

    @property
    def index(self) -> Tensor:
        """(w,) the outputs' numbers."""
        return indices(self.rows)

    @property
    def width(self) -> int:
        return sum(self.rows[1::2]) - sum(self.rows[::2])

    @property
    def others(self) -> int:
        """Coefficients: outputs that are no pivots × latents."""
        return (self.width - self.rank) * self.rank


def indices(rows: Sequence[int]) -> Tensor:
    """(w,) the numbers in runs that are given by first and last + 1 of each."""
    return torch.cat([torch.arange(*run) for run in zip(rows[::2], rows[1::2], strict=True)])


class LatentLinear(nn.Module):
    """Keys and values y of a block from r latents z: y[pivots] = z, the other outputs are coefficients z; then + bias.

    z = basis x are r of the outputs as they are (PIFA, arXiv 2501.19090, for the rows of W_k over those of W_v): a
    latent costs no more weights than it saves, r (d_in + d) − r² numbers for d · d_in, and rebuilding multiplies by
    (d − r, r) only. `weight` = (1, lead + r, d_in): the first `lead` rows are outputs that are no key or value (the
    queries of a fused layer), and the extra dimension makes a process that does not know this library stop with a
    size mismatch, whatever r is. `weight_u` = coefficients (d − r, r), `pivots` one bit per key and value output.
    With several `groups` of outputs, each has latents of its own, its rows follow the last group's in `weight`, and
    `weight_u` is all groups' coefficients on end, (Σ (w − r) r,): what would be zero between them is not there.
    `shown`: how many outputs the layer itself gives; what follows them belongs to the `LatentRest` beside it.
    """

    def __init__(
        self,
        basis: Tensor,
        coefficients: Tensor,
        pivots: Tensor,
        bias: Tensor | None = None,
        lead: int = 0,
        shown: int | None = None,
        groups: Sequence[LatentGroup] = (),
    ):
        """basis (lead + r, d_in), coefficients (d − r, r), pivots the bits of `packed`, bias (lead + d,).

        `groups`: none for all outputs in one; else coefficients (Σ (w − r) r,).
        """
        super().__init__()
        self.weight = nn.Parameter(basis[None], requires_grad=False)
        self.weight_u = nn.Parameter(coefficients, requires_grad=False)
        self.register_buffer("pivots", pivots)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.lead = lead
        rank = basis.shape[0] - lead
        self.groups = tuple(groups) or (LatentGroup((0, coefficients.shape[0] + rank), rank),)
        self.shown = lead + self.width if shown is None else shown
        self._gathered: tuple[Tensor, Tensor] | None = None  # the pivots an order was made for, and that order

    @staticmethod
    def shapes(
        d_in: int, width: int, rank: int, lead: int = 0, groups: Sequence[LatentGroup] = ()
    ) -> dict[str, tuple[int, ...]]:
        """Name → shape of what is stored, the bias left out; `width`: keys and values together."""
        return {
            "weight": (1, lead + rank, d_in),
            "weight_u": (sum(g.others for g in groups),) if groups else (width - rank, rank),
            "pivots": (-(-width // 8),),
        }

    @classmethod
    def empty(
        cls,
        d_in: int,
        width: int,
        rank: int,
        lead: int,
        shown: int,
        device=None,
        dtype=None,
        bias: bool = True,
        groups: Sequence[LatentGroup] = (),
    ) -> "LatentLinear":
        """A module of these shapes without values, for weights that are about to be loaded."""
        make = {"device": device, "dtype": dtype}
        shapes = cls.shapes(d_in, width, rank, lead, groups)
        return cls(
            torch.empty(shapes["weight"][1:], **make),
            torch.empty(shapes["weight_u"], **make),
            torch.empty(shapes["pivots"], device=device, dtype=torch.uint8),
            torch.empty(lead + width, **make) if bias else None,
            lead,
            shown,
            groups,
        )

    @property
    def in_features(self) -> int:
        return self.weight.shape[2]

    @property
    def out_features(self) -> int:
        return self.shown

    @property
    def rank(self) -> int:
        """Latents per token."""
        return self.weight.shape[1] - self.lead

    @property
    def width(self) -> int:
        """Keys and values per token, those of the rest included."""
        return sum(g.width for g in self.groups)

    @property
    def coefficients(self) -> list[Tensor]:
        """(w − r, r) of each group."""
        if self.weight_u.dim() == 2:
            return [self.weight_u]
        parts = self.weight_u.split([g.others for g in self.groups])
        return [part.view(g.width - g.rank, g.rank) for part, g in zip(parts, self.groups, strict=True)]

    @property
    def order(self) -> Tensor:
        """(d,) where each key and value stands in [z, coefficients z]; made from the pivots when first asked for."""
        if self._gathered is None or self._gathered[0] is not self.pivots:
            with torch.inference_mode(False):  # a tensor made in that mode could not be used in training later
                kept, order = unpacked(self.pivots)[: self.width], torch.empty(self.width, dtype=torch.long)
                order, latent, other = order.to(kept.device), 0, self.rank
                for group in self.groups:
                    index = group.index.to(kept.device)
                    own = kept[index]
                    order[index] = torch.where(own, own.cumsum(0) - 1 + latent, (~own).cumsum(0) - 1 + other)
                    latent, other = latent + group.rank, other + group.width - group.rank
            self._gathered = (self.pivots, order)
        return self._gathered[1]

    def sound(self) -> bool:
        """Whether the pivots are r outputs of each group; a damaged file can hold anything."""
        if self.pivots.dtype != torch.uint8:
            return False
        kept = unpacked(self.pivots)
        own = [int(kept[g.index.to(kept.device)].sum()) for g in self.groups]
        return own == [g.rank for g in self.groups] and int(kept.sum()) == self.rank

    def latents(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, r): what a cache keeps of a token."""
        return nn.functional.linear(x, self.weight[0, self.lead :])

    def rebuilt(self, latents: Tensor) -> Tensor:
        """(…, r) → (…, d): keys, then values, with their bias."""
        parts = latents.split([g.rank for g in self.groups], -1) if len(self.groups) > 1 else (latents,)
        others = [nn.functional.linear(z, u) for z, u in zip(parts, self.coefficients, strict=True)]
        y = torch.cat([latents, *others], -1)[..., self.order]
        return y if self.bias is None else y + self.bias[self.lead :]

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, shown)."""
        inner = nn.functional.linear(x, self.weight[0])
        y = self.rebuilt(inner[..., self.lead :])[..., : self.shown - self.lead]
        if not self.lead:
            return y
        first = inner[..., : self.lead]
        return torch.cat([first if self.bias is None else first + self.bias[: self.lead], y], -1)

    def rest(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d − shown): the outputs that the layer itself does not give."""
        return self.rebuilt(self.latents(x))[..., self.shown - self.lead :]

    def product(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """(lead + d, d_in) the weight, multiplied out in this dtype; the rest's rows are its last."""
        first, basis = self.weight[0].detach().to(dtype).split([self.lead, self.rank])
        parts = zip(self.coefficients, basis.split([g.rank for g in self.groups]), strict=True)
        return torch.cat([first, torch.cat([basis, *(u.detach().to(dtype) @ b for u, b in parts)])[self.order]])

    def extra_repr(self) -> str:
        groups = f" in {len(self.groups)} groups" if len(self.groups) > 1 else ""
        return f"{self.in_features} → {self.rank} latents{groups} → {self.width}, lead={self.lead}, shown={self.shown}"

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._gathered = None  # the pivots were written over in place


class LatentRest(nn.Module):
    """The values of a block whose keys and values share their latents; all weights are its `source`'s."""

    def __init__(self, source: LatentLinear):
        super().__init__()
        self._source = (source,)  # in a tuple, where nn.Module does not register it: it is stored and counted once

    @property
    def source(self) -> LatentLinear:
        """The layer that makes the latents."""
        return self._source[0]

    @property
    def in_features(self) -> int:
        return self.source.in_features

    @property
    def out_features(self) -> int:
        return self.source.lead + self.source.width - self.source.shown

    @property
    def rank(self) -> int:
        return self.source.rank

    @property
    def bias(self) -> Tensor | None:
        """(d,) its part of the source's."""
        return None if self.source.bias is None else self.source.bias[self.source.shown :]

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        return self.source.rest(x)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.rank} latents (shared) → {self.out_features}"
