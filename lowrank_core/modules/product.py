"""A matrix product laid out in memory as the device reads it fastest. For running a model, not for storing one."""

import functools

import torch
from torch import Tensor, nn

ROWS, COLUMNS, PACKED = "rows", "columns", "packed"
LAYOUTS = (ROWS, COLUMNS, PACKED)
HINT = 256  # rows that the packed layout is made for; it serves one row as well as one that is made for it (measured)


class Product(nn.Module):
    """y = W x + bias, with W (m, n) in one of LAYOUTS.

    `rows`: as nn.Linear has it, the tensor itself. `columns`: the same numbers, column after column. `packed`: in
    oneDNN's blocks for matrix products on a CPU.

    *Limits*: a packed product cannot be moved to another device, nor read back.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, layout: str = ROWS):
        super().__init__()
        self.layout, (self.out_features, self.in_features) = layout, weight.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self._packed: Tensor | None = None
        self.weight: Tensor | None = None
        weight = weight.detach()
        if layout == PACKED:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), HINT)
            self._bytes = weight.numel() * weight.element_size()
        else:
            weight = weight.T.contiguous().T if layout == COLUMNS else weight.contiguous()
            self.weight = nn.Parameter(weight, requires_grad=False)
            self._bytes = 0

    def forward(self, x: Tensor) -> Tensor:
        """(…, n) → (…, m)."""
        if self._packed is None:
            return nn.functional.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")

    @property
    def packed_bytes(self) -> int:
        """Bytes of the weight where it is no parameter."""
        return self._bytes

    def extra_repr(self) -> str:
        return f"{self.in_features} → {self.out_features}, {self.layout}, bias={self.bias is not None}"


@functools.cache
def layouts(device: str, dtype: torch.dtype) -> tuple[str, ...]:
    """Those of LAYOUTS that work on a kind of device in a dtype: tried on a small matrix."""
    if device != "cpu":
        return ROWS, COLUMNS
    x, weight = torch.ones(2, 8, dtype=dtype), torch.ones(16, 8, dtype=dtype)
    try:
        with torch.inference_mode():
            works = torch.equal(Product(weight, None, PACKED)(x), torch.full((2, 16), 8, dtype=dtype))
    except (RuntimeError, AttributeError):  # torch without oneDNN, or a dtype that it lacks on this processor
        works = False
    return LAYOUTS if works else (ROWS, COLUMNS)
