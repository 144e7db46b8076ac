"""A linear layer as two thin ones."""

import torch
from torch import Tensor, nn


class FactoredLinear(nn.Module):
    """y = left (right x) + bias, with `weight` = right (r, d_in) and `weight_u` = left (d_out, r).

    The right factor keeps the dense layer's name on purpose: a process that does not know this library then stops
    with a size mismatch, where other names would make it invent weights.
    """

    def __init__(self, left: Tensor, right: Tensor, bias: Tensor | None = None):
        super().__init__()
        self.weight = nn.Parameter(right, requires_grad=False)
        self.weight_u = nn.Parameter(left, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @staticmethod
    def shapes(d_in: int, d_out: int, rank: int) -> dict[str, tuple[int, ...]]:
        """Name → shape of what is stored, the bias left out."""
        return {"weight": (rank, d_in), "weight_u": (d_out, rank)}

    @classmethod
    def empty(cls, d_in: int, d_out: int, rank: int, bias: bool, device=None, dtype=None) -> "FactoredLinear":
        """A module of these shapes without values, for weights that are about to be loaded."""
        make = {"device": device, "dtype": dtype}
        return cls(
            torch.empty(d_out, rank, **make),
            torch.empty(rank, d_in, **make),
            torch.empty(d_out, **make) if bias else None,
        )

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight_u.shape[0]

    @property
    def rank(self) -> int:
        return self.weight.shape[0]

    def forward(self, x: Tensor, inner: bool = False) -> Tensor:
        """(…, d_in) → (…, d_out); with `inner`, (…, r): what the layers that share the right factor go on from."""
        x = nn.functional.linear(x, self.weight)
        return x if inner else nn.functional.linear(x, self.weight_u, self.bias)

    def product(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """(d_out, d_in) the weight, multiplied out in this dtype."""
        return self.weight_u.detach().to(dtype) @ self.weight.detach().to(dtype)

    def merged(self) -> Tensor:
        """(d_out, d_in) the product, in the factors' dtype."""
        return self.product(torch.promote_types(self.weight.dtype, torch.float32)).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.rank} → {self.out_features}, bias={self.bias is not None}"
