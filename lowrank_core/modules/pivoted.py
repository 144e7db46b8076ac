"""A linear layer of low rank as some of its rows and the coefficients of the others."""

import torch
from torch import Tensor, nn


def packed(pivots: Tensor, d_out: int) -> Tensor:
    """(⌈d_out / 8⌉,) uint8: bit i % 8 of byte i // 8 says whether output i is among the pivots (r,)."""
    kept = torch.zeros(-(-d_out // 8) * 8, dtype=torch.uint8, device=pivots.device)
    kept[pivots] = 1
    return (kept.view(-1, 8) << torch.arange(8, dtype=torch.uint8, device=pivots.device)).sum(1, dtype=torch.uint8)


def unpacked(bits: Tensor) -> Tensor:
    """(8 · len(bits),) bool: whether each output is a pivot."""
    return ((bits[:, None] >> torch.arange(8, dtype=torch.uint8, device=bits.device)) & 1).bool().flatten()


class PivotedLinear(nn.Module):
    """y[pivots] = basis x, the other outputs are coefficients (basis x); then + bias. PIFA, arXiv 2501.19090.

    `weight` = basis (r, d_in), under the dense layer's name for FactoredLinear's reason; `weight_u` = coefficients
    (d_out − r, r); `pivots` (⌈d_out / 8⌉,) uint8, one bit per output. Together r (d_in + d_out) − r² numbers and d_out
    bits for the same matrix: the basis holds its rows in their order, so which they are is a set, and PIFA's r indices
    are not needed.

    *Limits*: rounding to 16 bit costs more than with balanced factors of the same rank. Measured on the bundled model's
    56 layers (SVD, bfloat16 and float16 alike): the weight's rounding error is 2.1 × theirs at ratio 0.3 (1.3 to 2.9 ×
    by layer) and 1.8 × at 0.7 (1.3 to 2.1 ×), that of the outputs 1.9 × and 1.6 ×; in bfloat16, 0.5 % of the weight.
    """

    def __init__(self, basis: Tensor, coefficients: Tensor, pivots: Tensor, bias: Tensor | None = None):
        """`pivots`: the bits of `packed`."""
        super().__init__()
        self.weight = nn.Parameter(basis, requires_grad=False)
        self.weight_u = nn.Parameter(coefficients, requires_grad=False)
        self.register_buffer("pivots", pivots)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self._gathered: tuple[Tensor, Tensor] | None = None  # the pivots an order was made for, and that order

    @staticmethod
    def shapes(d_in: int, d_out: int, rank: int) -> dict[str, tuple[int, ...]]:
        """Name → shape of what is stored, the bias left out."""
        return {"weight": (rank, d_in), "weight_u": (d_out - rank, rank), "pivots": (-(-d_out // 8),)}

    @classmethod
    def empty(cls, d_in: int, d_out: int, rank: int, bias: bool, device=None, dtype=None) -> "PivotedLinear":
        """A module of these shapes without values, for weights that are about to be loaded."""
        make = {"device": device, "dtype": dtype}
        return cls(
            torch.empty(rank, d_in, **make),
            torch.empty(d_out - rank, rank, **make),
            torch.empty(-(-d_out // 8), device=device, dtype=torch.uint8),
            torch.empty(d_out, **make) if bias else None,
        )

    @property
    def in_features(self) -> int:
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        return self.weight.shape[0] + self.weight_u.shape[0]

    @property
    def rank(self) -> int:
        return self.weight.shape[0]

    @property
    def order(self) -> Tensor:
        """(d_out,) where each output stands in [basis x, coefficients (basis x)].

        Not a buffer, but made from the pivots when it is first asked for: every way of loading or moving a model puts
        another tensor in `pivots` (or goes through `_load_from_state_dict`), and none has to know about the order.
        """
        if self._gathered is None or self._gathered[0] is not self.pivots:
            kept = unpacked(self.pivots)[: self.out_features]
            order = torch.where(kept, kept.cumsum(0) - 1, (~kept).cumsum(0) - 1 + self.rank)
            self._gathered = (self.pivots, order)
        return self._gathered[1]

    def sound(self) -> bool:
        """Whether the pivots are r outputs; a damaged file can hold anything."""
        if self.pivots.dtype != torch.uint8:
            return False
        kept = unpacked(self.pivots)
        return int(kept.sum()) == self.rank == int(kept[: self.out_features].sum())

    def forward(self, x: Tensor) -> Tensor:
        """(…, d_in) → (…, d_out)."""
        kept = nn.functional.linear(x, self.weight)
        y = torch.cat([kept, nn.functional.linear(kept, self.weight_u)], -1)[..., self.order]
        return y if self.bias is None else y + self.bias

    def product(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """(d_out, d_in) the weight, multiplied out in this dtype."""
        basis = self.weight.detach().to(dtype)
        return torch.cat([basis, self.weight_u.detach().to(dtype) @ basis])[self.order]

    def merged(self) -> Tensor:
        """(d_out, d_in) the product, in the factors' dtype."""
        return self.product(torch.promote_types(self.weight.dtype, torch.float32)).to(self.weight.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.rank} pivots → {self.out_features}, bias={self.bias is not None}"

    def _load_from_state_dict(self, *args, **kwargs):
        super()._load_from_state_dict(*args, **kwargs)
        self._gathered = None  # the pivots were written over in place
