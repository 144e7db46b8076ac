"""A linear layer that uses another one's right factor."""

import torch
from torch import Tensor, nn

from .factored import FactoredLinear


class JointLinear(nn.Module):
    """y = left (right x) + bias, with `weight` = left (d_out, r) and the right factor (r, d_in) of `source`.

    For sites that read one input (arXiv 2402.16319): all but the first hold a left factor only. The source is no
    submodule, so that its weights are stored, counted and moved once; a copy of the model points at the copied source.
    The left factor has the dense layer's name for FactoredLinear's reason: r is another size than d_in.
    """

    def __init__(self, left: Tensor, source: FactoredLinear, bias: Tensor | None = None):
        super().__init__()
        self.weight = nn.Parameter(left, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._source = (source,)  # in a tuple, where nn.Module does not register it

    @staticmethod
    def shapes(d_in: int, d_out: int, rank: int) -> dict[str, tuple[int, ...]]:
        """Name → shape of what is stored, the bias left out."""
        return {"weight": (d_out, rank)}

    @classmethod
    def empty(cls, d_out: int, source: FactoredLinear, bias: bool, device=None, dtype=None) -> "JointLinear":
        """A module of these shapes without values, for weights that are about to be loaded."""
        make = {"device": device, "dtype": dtype}
        return cls(torch.empty(d_out, source.rank, **make), source, torch.empty(d_out, **make) if bias else None)

    @property
    def source(self) -> FactoredLinear:
        """The layer whose right factor this one uses."""
        return self._source[0]

    @property
    def in_features(self) -> int:
        return self.source.in_features

    @property
    def out_features(self) -> int:
        return self.weight.shape[0]

    @property
    def rank(self) -> int:
        return self.weight.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        # `forward`, not a call: no observer of the source sees a second input, but accelerate, which wraps forward,
        # still brings an offloaded right factor in, wherever it lies
        inner = self.source.forward(x, inner=True)
        return nn.functional.linear(inner.to(self.weight.device), self.weight, self.bias)

    def product(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """(d_out, d_in) the weight, multiplied out in this dtype."""
        return self.weight.detach().to(dtype) @ self.source.weight.detach().to(self.weight.device, dtype)

    def merged(self) -> Tensor:
        """(d_out, d_in) the product, in the factors' dtype."""
        return self.product(torch.promote_types(self.weight.dtype, torch.float32)).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.rank} (shared) → {self.out_features}, bias={self.bias is not None}"
